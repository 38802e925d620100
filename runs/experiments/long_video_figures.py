"""What a long video becomes: drift with its uncertainty, whether it goes on, how far it gets from real footage.

Measures of ``long_video`` (spec, section 12, third question). Properties are those of ``evaluation.drift``, looked at
in every tenth frame; motion, joins and features need frames one after the other and are looked at in stretches at the
start, in the middle and at the end. Not here: how videos are made.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file
from torch import Tensor

from latentloom.data.clips import clip_windows
from latentloom.data.manifest import Dataset
from latentloom.evaluation.drift import properties, slopes
from latentloom.evaluation.motion import frame_difference, join_ratio
from latentloom.files import save_tensors

WINDOW = 16
RESAMPLES = 500
SPOILED = "city_gif"  # few colours
PROPERTIES = ("brightness", "saturation", "sharpness")

Read = Callable[[Sequence[int]], Tensor]
"""Frames, ``n h w 3`` uint8, of the given numbers."""

Features = Callable[[Tensor], Tensor]
"""One vector for each clip of ``n t h w 3``."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is looked at.

    Attributes:
        every: frames between two whose properties are taken.
        stretch: frames one after the other at start, middle and end; a multiple of ``WINDOW``.
        span: frames over which a beginning and an end are averaged, and over which a bootstrap keeps neighbours.
    """

    every: int = 10
    stretch: int = 64
    span: int = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Footage:
    """The frames of one video of ``num_frames`` that are looked at.

    Attributes:
        sampled: each ``look.every``-th frame, ``n h w 3``.
        stretches: start, middle and end, ``3 look.stretch h w 3``.
    """

    num_frames: int
    look: Look
    sampled: Tensor
    stretches: Tensor

    @classmethod
    def seen(cls, num_frames: int, look: Look, read: Read) -> Self:
        stretches = [read(range(first, first + look.stretch)) for first in firsts(num_frames, look)]
        sampled = read(range(0, num_frames, look.every))
        return cls(num_frames=num_frames, look=look, sampled=sampled, stretches=torch.stack(stretches))

    @classmethod
    def kept(cls, path: Path, num_frames: int, look: Look, read: Callable[[], Read]) -> Self:
        """From the file, where it was seen before."""
        if not path.is_file():
            footage = cls.seen(num_frames, look, read())
            save_tensors(path, {"sampled": footage.sampled.contiguous(), "stretches": footage.stretches})
        return cls(num_frames=num_frames, look=look, **load_file(path))

    @property
    def clips(self) -> Tensor:
        """The stretches in clips of ``WINDOW`` frames, ``3 m t h w 3``."""
        return self.stretches.unflatten(1, (-1, WINDOW))


def firsts(num_frames: int, look: Look) -> tuple[int, int, int]:
    """The frames with which the stretches begin."""
    last = num_frames - look.stretch
    return 0, last // 2, last


class RealWindows:
    """Held-out windows in the space of some features, each feature in units of its standard deviation there.

    Args:
        clips: ``n t h w 3``; ``tracks``: where each is from, the first word of its record's name.
    """

    def __init__(self, clips: Tensor, tracks: Sequence[str], features: Features) -> None:
        self.features, self.tracks = features, tracks
        found = features(clips).double()
        self.scale = found.std(0).clamp_min(1e-12)
        self.places = found / self.scale

    def place(self, clips: Tensor) -> Tensor:
        return self.features(clips).double() / self.scale

    def distance(self, places: Tensor, apart_from: str) -> float:
        """Mean distance to the nearest window of another track, root of the mean square over features."""
        others = self.places[[track != apart_from for track in self.tracks]]
        return (torch.cdist(places, others).amin(1).mean() / places.shape[1] ** 0.5).item()


def held_out_clips(dataset: Dataset, fps: float, step: int) -> tuple[Tensor, list[str]]:
    """Windows of the held-out drives, one each ``step`` frames, ``n t h w 3``, and the track of each."""
    found = clip_windows(dataset, WINDOW, fps, split="val", step=step)
    shown = [(dataset.records[window.record], window) for window in found]
    shown = [(record, window) for record, window in shown if not record.id.startswith(SPOILED)]
    frames = [dataset.frames(record, window.indices) for record, window in shown]
    return torch.stack(frames), [track_of(record.id) for record, _ in shown]


def track_of(record: str) -> str:
    """Drives on one track are no strangers to each other: the first word of a record's name."""
    return record.split("_")[0]


def figures_of(
    footage: Footage, joins: Collection[int], real: Mapping[str, RealWindows], *, drive: str
) -> dict[str, float]:
    """All figures of one video; without joins there is none of them.

    ``drive``: the record it is of, or began with; it is not compared with drives on the same track, made or real.
    """
    look, series = footage.look, properties(footage.sampled)
    found = {}
    for name, values in zip(PROPERTIES, series, strict=True):
        found |= {f"{name} {what}": value for what, value in wandering(values, look).items()}
    found["sharpness, first frame"] = series[2, 0].item()
    found["frames held"] = float(min(footage.num_frames, frames_held(series, look)))
    changes = [frame_difference(stretch) for stretch in footage.stretches]
    found["frame difference, first"] = changes[0]
    found["frame difference, last/first"] = changes[-1] / changes[0] if changes[0] else 1.0
    for name, windows in real.items():
        places = [windows.place(clips) for clips in footage.clips]
        distances = [windows.distance(place, track_of(drive)) for place in places]
        found |= {f"{name}, {when}": d for when, d in zip(("start", "middle", "end"), distances, strict=True)}
        away = (places[-1] - places[0][:1]).square().mean(1).sqrt().mean().item()
        found[f"{name}, end from first window"] = away
    if ratios := join_ratios(footage, joins):
        found["joins over elsewhere"] = sum(ratios) / len(ratios)
    return found


def join_ratios(footage: Footage, joins: Collection[int]) -> list[float]:
    """Of each stretch that has joins."""
    look, ratios = footage.look, list[float]()
    for first, frames in zip(firsts(footage.num_frames, look), footage.stretches, strict=True):
        within = [join - first for join in joins if 0 < join - first < look.stretch]
        ratios += [join_ratio(frames, within)] if within else []
    return ratios


def wandering(values: Tensor, look: Look) -> dict[str, float]:
    """One property of the sampled frames: slopes per 100 frames, of all and of the halves; the first and last span."""
    scale, half, span = 100 / look.every, len(values) // 2, max(1, look.span // look.every)
    first, last = values[:span].mean().item(), values[-span:].mean().item()
    return {
        "per 100": scale * slopes(values).item(),
        "per 100, half of its interval": scale * slope_uncertainty(values, span),
        "per 100, first half": scale * slopes(values[:half]).item(),
        "per 100, last half": scale * slopes(values[half:]).item(),
        "first": first,
        "last": last,
        "last/first": last / first,
    }


def slope_uncertainty(values: Tensor, block: int) -> float:
    """Half of the slope's 95 % interval by a bootstrap of the residuals in blocks of neighbours.

    Neighbours are alike, so that a bootstrap of single values would promise too much. Blocks wrap around.
    """
    count = len(values)
    steps = torch.arange(count, dtype=values.dtype) - (count - 1) / 2
    residuals = values - values.mean() - slopes(values) * steps
    generator = torch.Generator().manual_seed(0)
    begins = torch.randint(count, (RESAMPLES, -(-count // block)), generator=generator)
    places = (begins[..., None] + torch.arange(block)).flatten(1)[:, :count] % count
    return (1.96 * slopes(residuals[places]).std()).item()


def frames_held(series: Tensor, look: Look) -> int:
    """Frames until a property, averaged over ``span``, leaves half to twice its first average; all where none does."""
    span = max(1, look.span // look.every)
    averages = series.unfold(1, span, 1).mean(-1)
    left = ((averages < averages[:, :1] / 2) | (averages > averages[:, :1] * 2)).any(0)
    first = int(left.int().argmax()) if bool(left.any()) else series.shape[1]
    return first * look.every
