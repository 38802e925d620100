"""The last stage: frames made larger, in portions of a few frames and tiles, without seams (paper, Sec. 3.4).

Portions share frames: those already made are known to the next one, as in a rollout, so texture goes on. Tiles are cut
at each evaluation of the network. Where it looks at a neighbourhood they are cut with all of that around them, and the
result is that of the whole frame; where it looks at everything they overlap and what they say is mixed.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from latentloom.align import Aligned, TemporalLayers, attach
from latentloom.diffusion.augmentation import noised
from latentloom.diffusion.known_frames import KnownFrames
from latentloom.diffusion.sampler import clip_noise, num_evaluations
from latentloom.models.upsampling import Upsampler, Upsampling
from latentloom.seeds import Stream, generator_of
from latentloom.shapes import from_pixels
from latentloom.stages.journal import Remember, make_anew
from latentloom.stages.request import UpsamplingRequest

TILE_OVERLAP = 0.25
"""The share of a tile that the next one sees too, where tiles are mixed."""


def upsample_frames(
    upsampler: Upsampler,
    layers: TemporalLayers | None,
    frames: Iterable[UInt8[Tensor, "h w 3"]],
    request: UpsamplingRequest,
    *,
    seed: int = 0,
    remember: Remember = make_anew,
    begin: Callable[[], None] = lambda: None,
) -> Iterator[UInt8[Tensor, "H W 3"]]:
    """The frames, ``factor`` times larger, as they are made; memory is that of a portion.

    Args:
        request: what it leaves open is the upsampler's own (``completed``).
        layers: temporal layers of the upsampler; None makes each frame for itself.
        frames: in order; all of one size, both sides multiples of ``upsampler.size_multiple``.
        remember: called with ("upsampling", i, make) for portion i (``journal``).
        begin: called before each portion: the networks are about to work.

    Raises:
        ValueError: frames of a size the network cannot take, or a result that is not finite.
    """
    request = completed(request, upsampler)
    video = None if layers is None else attach(upsampler.unet, layers)
    overlap = request.overlap if layers is not None else 0  # frames that do not meet need no frame in common
    before: Tensor | None = None
    predict: Upsampling | None = None
    first = 0  # frame of the video that a portion begins with
    try:
        for index, part in enumerate(_portions(frames, request.portion, overlap)):
            _check_size(part, upsampler)
            begin()
            predict = predict or _predicting(upsampler, video, request)
            make = partial(_upsampled, upsampler, predict, part, before, request, seed, first)
            made = remember("upsampling", index, make)
            yield from upsampler.shown(made if before is None else made[overlap:])
            before = made[len(made) - overlap :] if overlap else None
            first += len(part) - overlap
    finally:
        if video is not None:
            video.detach()


def completed(request: UpsamplingRequest, upsampler: Upsampler) -> UpsamplingRequest:
    """The request with the upsampler's own values where it says none.

    Raises:
        ValueError: it asks for guidance or a decoder's reach of an upsampler that has neither text nor decoder.
    """
    if upsampler.receptive_radius is not None and (request.guidance_scale or 1.0) != 1.0:
        raise ValueError("this upsampler works on pixels and reads no text; leave --upsample-guidance out")
    if upsampler.receptive_radius is not None and request.decoder_reach is not None:
        raise ValueError("this upsampler works on pixels and has no decoder; leave --decoder-reach out")
    own = {name: value for name, value in vars(upsampler.defaults).items() if getattr(request, name) is None}
    return replace(request, **own)


def upsampling_steps(upsampler: Upsampler, request: UpsamplingRequest) -> int:
    """How often each portion calls the network."""
    steps = completed(request, upsampler).num_inference_steps
    assert steps is not None
    return num_evaluations(upsampler.scheduler, steps)


@torch.no_grad()
def _predicting(upsampler: Upsampler, video: Aligned | None, request: UpsamplingRequest) -> Upsampling:
    """The upsampler under the request's text, in its tiles."""
    assert request.guidance_scale is not None
    predict = upsampler.guided(video, request.prompt, request.negative_prompt, request.guidance_scale)
    if request.tile is None:
        return predict
    if upsampler.receptive_radius is None:
        return mixed_tiles(predict, request.tile, upsampler.size_multiple)
    return tiled(predict, request.tile, upsampler.receptive_radius, upsampler.size_multiple)


def num_portions(num_frames: int, request: UpsamplingRequest, *, together: bool) -> int:
    """How often the upsampler runs for a video; ``together`` where temporal layers let portions share frames."""
    overlap = request.overlap if together else 0
    return 1 + max(0, -(-(num_frames - request.portion) // (request.portion - overlap)))


def _noises(upsampler: Upsampler, seed: int, first: int, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Of the small frames, ``1 t 3 h w``, and of the state, ``1 t c h w``: a function of seed and frame alone.

    So a portion of another length gives a frame the same noise.
    """
    shapes = [(1, 1, channels, *frames.shape[1:3]) for channels in (3, upsampler.channels)]
    drawn = list[tuple[Tensor, Tensor]]()
    for frame in range(first, first + len(frames)):
        generator = generator_of(seed, Stream.UPSAMPLING, frame)
        small, state = (clip_noise(shape, generator, upsampler.device, upsampler.dtype) for shape in shapes)
        drawn.append((small, state))
    small, state = (torch.cat(frames, 1) for frames in zip(*drawn, strict=True))
    return small, state


@torch.no_grad()
def _upsampled(
    upsampler: Upsampler,
    predict: Upsampling,
    frames: UInt8[Tensor, "t h w 3"],
    before: Shaped[Tensor, "o ..."] | None,
    request: UpsamplingRequest,
    seed: int,
    first: int,
) -> Shaped[Tensor, "t ..."]:
    """The portion that begins with frame ``first``, as ``Upsampler.kept``; ``before`` is what is kept of its start."""
    assert request.noise_level is not None and request.num_inference_steps is not None
    small_noise, noise = _noises(upsampler, seed, first, frames)
    small = from_pixels(frames)[None].to(noise)
    levels = torch.tensor([request.noise_level], device=noise.device)
    small = noised(small, small_noise, levels, upsampler.schedule)

    def shown(state: Tensor, timestep: Tensor, /) -> Tensor:
        return predict(state, timestep, small, levels)

    if before is not None:
        known = KnownFrames.at(range(len(before)), upsampler.known(before), len(frames))
        shown = known.keeping(shown, noise, upsampler.scheduler)
    made = upsampler.sample(shown, noise, request.num_inference_steps)
    if not bool(torch.isfinite(made).all()):
        raise ValueError(f"upsampled frames are not finite in {noise.dtype}: damaged weights, or try float32")
    kept = upsampler.kept(made)
    return kept if before is None else torch.cat([before, kept[len(before) :]])


def tiles_of(size: tuple[int, int], tile: tuple[int, int] | None, upsampler: Upsampler) -> tuple[tuple[int, int], int]:
    """What the network sees of small frames of ``size`` at a call, and its calls for one evaluation."""
    if tile is None:
        return size, 1
    radius, sides = upsampler.receptive_radius, rounded_tile(tile, upsampler.size_multiple)
    if radius is None:
        begins = [_overlapping(whole, side, upsampler.size_multiple) for whole, side in zip(size, sides, strict=True)]
        return (min(size[0], sides[0]), min(size[1], sides[1])), len(begins[0]) * len(begins[1])
    rows, columns = (min(whole, side + 2 * radius) for whole, side in zip(size, sides, strict=True))
    return (rows, columns), -(-size[0] // sides[0]) * -(-size[1] // sides[1])


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


def mixed_tiles(predict: Upsampling, tile: tuple[int, int], multiple: int) -> Upsampling:
    """``predict`` by tiles of about ``tile`` small pixels that overlap, their answers mixed.

    Toward its edge a tile counts less and less: no seam, but for a network that looks at the whole frame not the same
    as the frame at once.
    """
    rows, columns = rounded_tile(tile, multiple)

    def by_tiles(state: Tensor, timestep: Tensor, small: Tensor, levels: Tensor) -> Tensor:
        height, width = state.shape[3:]
        total = torch.zeros(state.shape, device=state.device)  # float32: narrower shares would end in 0 at an edge
        weight = torch.zeros_like(total[:1, :1, :1])
        for top, bottom in _overlapping(height, rows, multiple):
            for left, right in _overlapping(width, columns, multiple):
                seen = (..., slice(top, bottom), slice(left, right))
                share = _share(bottom - top, total)[:, None] * _share(right - left, total)
                total[seen] += share * predict(state[seen], timestep, small[seen], levels)
                weight[seen] += share
        return (total / weight).to(state.dtype)

    return by_tiles


def _overlapping(whole: int, side: int, multiple: int) -> list[tuple[int, int]]:
    """Where tiles of ``side`` begin and end, spread evenly over ``whole``, at multiples of ``multiple``."""
    if side >= whole:
        return [(0, whole)]
    count = -(-(whole - side) // max(multiple, int(side * (1 - TILE_OVERLAP)))) + 1
    begins = [round(i * (whole - side) / (count - 1) / multiple) * multiple for i in range(count)]
    return [(begin, min(begin + side, whole)) for begin in begins]


def _share(length: int, like: Tensor) -> Tensor:
    """How much each position of a tile counts: a triangle, above 0 everywhere."""
    places = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    return torch.minimum(places, length - places) / length


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


def _check_size(frames: Tensor, upsampler: Upsampler) -> None:
    step = upsampler.size_multiple
    if any(side % step for side in frames.shape[1:3]):
        raise ValueError(
            f"frames of {frames.shape[1]}x{frames.shape[2]}: both sides must be multiples of {step} pixels"
        )
