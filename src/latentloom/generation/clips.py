"""One clip of key frames: sampled with progress shown, and written. What ``demo`` and ``animate`` compare."""

from collections.abc import Callable, Iterable, Iterator

from jaxtyping import Float
from torch import Tensor

from latentloom.diffusion.sampler import num_evaluations
from latentloom.generation.files import DECODED_AT_ONCE, VideoFiles, write_video_files
from latentloom.generation.progress import Show, show_nothing
from latentloom.stack import Stack
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import ClipRequest, seeded_generator


def sample(
    stack: Stack,
    request: ClipRequest,
    *,
    seed: int = 0,
    noise: Float[Tensor, "1 t c h w"] | None = None,
    title: str = "sampling",
    show: Show = show_nothing,
) -> Float[Tensor, "1 t c h w"]:
    """The latents of one clip, with progress shown.

    Raises:
        ValueError: what ``generate_keyframes`` refuses.
    """
    total = num_evaluations(stack.scheduler, request.num_inference_steps)
    with show(title) as advance:

        def callback(step: int, timestep: Tensor, latents: Tensor) -> None:
            advance(step + 1, total)

        advance(0, total)
        return generate_keyframes(
            stack,
            request,
            generator=seeded_generator(seed),
            latents=noise,
            callback_on_step_end=callback,
        )


def write_clip(
    stack: Stack, request: ClipRequest, latents: Tensor, files: VideoFiles, *, seed: int, show: Show = show_nothing
) -> None:
    """One clip to its files, decoded a few frames at a time, with progress shown."""
    with show("decoding") as advance:
        pieces = _counted(latents.split(DECODED_AT_ONCE, 1), request.num_frames, advance)
        write_video_files(stack, request, pieces, files, seed=seed, fps=request.fps or stack.info.fps)


def _counted(pieces: Iterable[Tensor], total: int, advance: Callable[[int, int], None]) -> Iterator[Tensor]:
    done = 0
    for piece in pieces:
        yield piece
        done += piece.shape[1]
        advance(done, total)
