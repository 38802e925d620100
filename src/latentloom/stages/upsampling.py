"""The last stage: frames made larger, in portions of a few frames and tiles, without seams (paper, Sec. 3.4).

Portions share frames: those already made are known to the next one, as in a rollout, so texture goes on. Tiles are cut
at each evaluation of the network, with as much around them as it looks at: the result is that of the whole frame.
"""

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from jaxtyping import UInt8
from torch import Tensor

from latentloom.align import TemporalLayers, attach
from latentloom.diffusion.augmentation import augmented
from latentloom.diffusion.known_frames import KnownFrames
from latentloom.diffusion.sampler import clip_noise, last_prediction
from latentloom.models.upsampler import PixelUpsampler, Upsampling, from_cells, to_cells
from latentloom.seeds import Stream, generator_of
from latentloom.shapes import from_pixels, to_pixels
from latentloom.stages.journal import Remember, make_anew
from latentloom.stages.request import UpsamplingRequest


def upsample_frames(
    upsampler: PixelUpsampler,
    layers: TemporalLayers | None,
    frames: Iterable[UInt8[Tensor, "h w 3"]],
    request: UpsamplingRequest,
    *,
    seed: int = 0,
    remember: Remember = make_anew,
) -> Iterator[UInt8[Tensor, "H W 3"]]:
    """The frames, ``factor`` times larger, as they are made; memory is that of a portion.

    Args:
        layers: temporal layers of the upsampler; None makes each frame for itself.
        frames: in order; all of one size, both sides multiples of ``upsampler.size_multiple``.
        remember: called with ("upsampling", i, make) for portion i (``journal``).

    Raises:
        ValueError: frames of a size the network cannot take.
    """
    video = None if layers is None else attach(upsampler.unet, layers)
    predict = partial(upsampler.predict, video=video)
    if request.tile is not None:
        predict = tiled(predict, request.tile, upsampler.receptive_radius, upsampler.size_multiple)
    overlap = request.overlap if layers is not None else 0  # frames that do not meet need no frame in common
    before: Tensor | None = None
    try:
        for index, part in enumerate(_portions(frames, request.portion, overlap)):
            _check_size(part, upsampler)
            generator = generator_of(seed, Stream.UPSAMPLING, index)
            make = partial(_upsampled, upsampler, predict, part, before, request, generator)
            made = remember("upsampling", index, make)
            yield from made if before is None else made[overlap:]
            before = made[len(made) - overlap :] if overlap else None
    finally:
        if video is not None:
            video.detach()


@torch.no_grad()
def _upsampled(
    upsampler: PixelUpsampler,
    predict: Upsampling,
    frames: UInt8[Tensor, "t h w 3"],
    before: UInt8[Tensor, "o H W 3"] | None,
    request: UpsamplingRequest,
    generator: torch.Generator,
) -> UInt8[Tensor, "t H W 3"]:
    device, dtype, factor = upsampler.device, upsampler.dtype, upsampler.factor
    small = from_pixels(frames)[None].to(device, dtype)
    levels = torch.tensor([request.noise_level], device=device)
    small = augmented(small, levels, upsampler.schedule, generator)
    shape = (1, len(frames), 3 * factor**2, *small.shape[3:])
    noise = clip_noise(shape, generator, device, dtype)

    def shown(cells: Tensor, timestep: Tensor, /) -> Tensor:
        return predict(cells, timestep, small, levels)

    if before is not None:
        made = to_cells(from_pixels(before)[None].to(noise), factor)
        known = KnownFrames.at(range(len(before)), made, len(frames))
        shown = known.keeping(shown, noise, upsampler.scheduler)
    cells = last_prediction(shown, noise, upsampler.scheduler, request.num_inference_steps)
    large = to_pixels(from_cells(cells, factor)[0]).cpu()
    return large if before is None else torch.cat([before, large[len(before) :]])


def rounded_tile(tile: tuple[int, int], multiple: int) -> tuple[int, int]:
    """The tile that is cut where ``tile`` is asked for: both sides multiples of ``multiple``."""
    rows, columns = (max(multiple, side // multiple * multiple) for side in tile)
    return rows, columns


def tiled(predict: Upsampling, tile: tuple[int, int], radius: int, multiple: int) -> Upsampling:
    """``predict`` by tiles of about ``tile`` small pixels, each seen with ``radius`` pixels around it."""
    rows, columns = rounded_tile(tile, multiple)

    def by_tiles(cells: Tensor, timestep: Tensor, small: Tensor, levels: Tensor) -> Tensor:
        result = torch.empty_like(cells)
        height, width = cells.shape[3:]
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                bottom, right = min(top + rows, height), min(left + columns, width)
                up, start = max(0, top - radius), max(0, left - radius)
                seen = slice(up, min(bottom + radius, height)), slice(start, min(right + radius, width))
                made = predict(cells[..., seen[0], seen[1]], timestep, small[..., seen[0], seen[1]], levels)
                inner = made[..., top - up : bottom - up, left - start : right - start]
                result[..., top:bottom, left:right] = inner
        return result

    return by_tiles


def _portions(frames: Iterable[Tensor], size: int, overlap: int) -> Iterator[Tensor]:
    """Runs of at most ``size`` frames, each beginning with the last ``overlap`` of the one before."""
    held: list[Tensor] = []
    fresh = 0
    for frame in frames:
        held.append(frame)
        fresh += 1
        if len(held) == size:
            yield torch.stack(held)
            held, fresh = held[size - overlap :], 0
    if fresh:
        yield torch.stack(held)


def _check_size(frames: Tensor, upsampler: PixelUpsampler) -> None:
    step = upsampler.size_multiple
    if any(side % step for side in frames.shape[1:3]):
        raise ValueError(
            f"frames of {frames.shape[1]}x{frames.shape[2]}: both sides must be multiples of {step} pixels"
        )
