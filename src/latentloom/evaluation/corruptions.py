"""Known faults in any strength: what a figure must see and rank before it is believed (docs/results/corruptions.md).

Every function takes a clip, a strength and a generator, and returns a clip of the same size; strength 0 (of windows 1)
changes nothing. One seed with growing strengths spoils the same places more. Of looks: noise, blur, still warps,
compression. Of time: frames repeated, in wrong order, swapped, played backward, shaking, flickering, warps that move.
Not here: what is measured on them (``runs/experiments/corruptions.py``).
"""

import io

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

Clip = UInt8[Tensor, "t h w 3"]
WARP_CELL = 32
"""Pixels over which a warp changes its mind."""
WARP_FRAMES = 4
"""Frames in which a moving warp becomes another."""


def noise(clip: Clip, deviation: float, generator: torch.Generator) -> Clip:
    """Gaussian noise, new in each frame; deviation in grey levels, 0 to 255."""
    return _pixels(clip + deviation * torch.randn(clip.shape, generator=generator))


def blur(clip: Clip, deviation: float, generator: torch.Generator) -> Clip:
    """A Gaussian blur; deviation in pixels."""
    if not deviation:
        return clip
    reach = max(1, round(3 * deviation))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    frames = F.pad(_planes(clip), (reach,) * 4, mode="replicate")
    frames = F.conv2d(F.conv2d(frames, taps, groups=3), taps.mT, groups=3)
    return _pixels(frames.movedim(1, -1))


def compression(clip: Clip, loss: float, generator: torch.Generator) -> Clip:
    """JPEG, frame by frame; the quality is 100 less the loss."""
    return torch.stack([_jpeg(frame, round(100 - loss)) for frame in clip]) if loss else clip


def flicker(clip: Clip, deviation: float, generator: torch.Generator) -> Clip:
    """Each frame brighter or darker than it is, by a factor ``e^x``, x Gaussian of this deviation."""
    gains = torch.exp(deviation * torch.randn(len(clip), 1, 1, 1, generator=generator))
    return _pixels(clip * gains)


def jitter(clip: Clip, deviation: float, generator: torch.Generator) -> Clip:
    """Each frame shifted as a whole, Gaussian of this deviation in pixels along both axes; edges are repeated."""
    shifts = deviation * torch.randn(len(clip), 2, 1, 1, generator=generator)
    return _displaced(clip, shifts.expand(-1, -1, *clip.shape[1:3]))


def still_warp(clip: Clip, deviation: float, generator: torch.Generator) -> Clip:
    """A smooth local warp, the same in all frames; its deviation in pixels along both axes."""
    fields = _smooth_fields(1, clip, generator)
    return _displaced(clip, deviation * fields.expand(len(clip), -1, -1, -1))


def moving_warp(clip: Clip, deviation: float, generator: torch.Generator) -> Clip:
    """A smooth local warp that becomes another every ``WARP_FRAMES`` frames: things change their shape."""
    fields = _smooth_fields(-(-len(clip) // WARP_FRAMES) + 1, clip, generator)
    moments = torch.arange(len(clip)) / WARP_FRAMES
    before, share = moments.long(), (moments % 1).view(-1, 1, 1, 1)
    mixed = (1 - share) * fields[before] + share * fields[before + 1]
    weight = ((1 - share) ** 2 + share**2).sqrt()  # a mean of two is smaller than either
    return _displaced(clip, deviation * mixed / weight)


def repeats(clip: Clip, share: float, generator: torch.Generator) -> Clip:
    """This share of frames shows the one before once more; 1 is a still picture."""
    return clip[repeating_order(len(clip), share, generator)]


def shuffle(clip: Clip, window: float, generator: torch.Generator) -> Clip:
    """Frames in random order within windows of so many."""
    return clip[shuffled_order(len(clip), round(window), generator)]


def swapped_halves(clip: Clip, chance: float, generator: torch.Generator) -> Clip:
    """The second half before the first; whether a clip is spoiled is drawn with this chance."""
    return clip[swapped_order(len(clip))] if _drawn(chance, generator) else clip


def backward(clip: Clip, chance: float, generator: torch.Generator) -> Clip:
    """Played backward, with this chance."""
    return clip.flip(0) if _drawn(chance, generator) else clip


def repeating_order(num_frames: int, share: float, generator: torch.Generator) -> Int[Tensor, " t"]:
    """Which frame is shown when a ``share`` of all but the first show the one before."""
    fresh = torch.rand(num_frames, generator=generator) >= share
    fresh[0] = True
    return torch.where(fresh, torch.arange(num_frames), 0).cummax(0).values


def shuffled_order(num_frames: int, window: int, generator: torch.Generator) -> Int[Tensor, " t"]:
    """A random order within each window of so many frames."""
    places = torch.arange(num_frames) // max(1, window) + torch.rand(num_frames, generator=generator)
    return places.argsort()


def swapped_order(num_frames: int) -> Int[Tensor, " t"]:
    """The second half, then the first."""
    return torch.arange(num_frames).roll(num_frames // 2)


def _drawn(chance: float, generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < chance)


def _planes(clip: Tensor) -> Float[Tensor, "t 3 h w"]:
    return clip.movedim(-1, 1).float()


def _pixels(frames: Float[Tensor, "t h w 3"]) -> Clip:
    return frames.round().clamp(0, 255).to(torch.uint8)


def _jpeg(frame: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(frame.numpy()).save(file, format="jpeg", quality=quality)
    return torch.from_numpy(np.array(Image.open(file)))


def _smooth_fields(count: int, clip: Tensor, generator: torch.Generator) -> Float[Tensor, "n 2 h w"]:
    """Random displacements that vary over ``WARP_CELL`` pixels, each of deviation 1."""
    size = clip.shape[1:3]
    coarse = torch.randn(count, 2, *(side // WARP_CELL + 2 for side in size), generator=generator)
    fields = F.interpolate(coarse, size=size, mode="bicubic", align_corners=True)
    return fields / fields.std((1, 2, 3), correction=0, keepdim=True)


def _displaced(clip: Clip, field: Float[Tensor, "t 2 h w"]) -> Clip:
    """Frames sampled ``field`` pixels (right, down) away, edges repeated."""
    if not bool(field.any()):
        return clip
    height, width = clip.shape[1:3]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x = 2 * (columns + field[:, 0]) / max(1, width - 1) - 1
    y = 2 * (rows + field[:, 1]) / max(1, height - 1) - 1
    grid = torch.stack([x, y], -1)
    return _pixels(F.grid_sample(_planes(clip), grid, padding_mode="border", align_corners=True).movedim(1, -1))
