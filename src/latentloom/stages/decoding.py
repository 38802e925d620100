"""The last stage: latents to frames, a few at a time: memory does not grow with the clip (paper, Sec. 3.1.1)."""

from collections.abc import Callable, Iterable, Iterator

from jaxtyping import Float, UInt8
from torch import Tensor

from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.shapes import to_pixels
from latentloom.stages.request import MAX_FRAMES, check_count


def decode_frames(
    autoencoder: VideoAutoencoder, latents: Float[Tensor, "1 t c h w"], chunk_size: int = 8
) -> Iterator[UInt8[Tensor, "h w 3"]]:
    """The frames of one clip in order, uint8 on the CPU; ``chunk_size`` of them are decoded at once.

    Raises:
        ValueError: ``chunk_size`` is not a whole number of at least 1 (raised at the call, not at the first frame).
    """
    check_count("decode_chunk_size", chunk_size, MAX_FRAMES)
    return stream_frames(autoencoder, latents.split(chunk_size, dim=1))


def stream_frames(
    autoencoder: VideoAutoencoder,
    pieces: Iterable[Float[Tensor, "1 _ c h w"]],
    before: Callable[[], None] = lambda: None,
) -> Iterator[UInt8[Tensor, "h w 3"]]:
    """The frames of a clip whose latents come in pieces, uint8 on the CPU, each as soon as it can be made.

    ``before`` is called each time the decoder is about to work.
    """
    for frames in autoencoder.decode_stream(pieces, before):
        yield from to_pixels(frames[0]).cpu()
