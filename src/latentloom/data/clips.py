"""Which frames make a training clip: windows of evenly spaced frames at a wanted rate.

Where the source is even, a clip takes every ``stride``-th frame; the rate that results is stored with it and told to
the model (`fps`), instead of resampling, which would repeat or skip single frames. Where the source is uneven (phones,
logs of drives), the frames nearest to evenly spaced moments are taken, and a clip never reaches over a gap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latentloom.data.manifest import ClipRecord, Dataset

TOLERANCE = 0.25
"""How far, in clip frames, a frame may lie from its moment."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Frames ``indices`` of one record, in order; ``fps`` is the clip's own rate."""

    record: int
    indices: Sequence[int]
    fps: float
    caption: str

    @property
    def first(self) -> int:
        """The frame of the record it begins with."""
        return self.indices[0]

    @property
    def num_frames(self) -> int:
        """Length of the clip."""
        return len(self.indices)


def stride_for(source_fps: float, fps: float) -> int:
    """The stride whose rate ``source_fps / stride`` is nearest to ``fps`` in ratio."""
    return min(range(1, 65), key=lambda stride: max(source_fps / stride / fps, fps * stride / source_fps))


def clip_windows(dataset: Dataset, num_frames: int, fps: float, *, split: str = "train", step: int = 1) -> list[Window]:
    """Every window of ``num_frames`` at about ``fps`` frames per second, one each ``step`` source frames.

    Raises:
        ValueError: no clip of the split is long enough.
    """
    windows = []
    for index, record in enumerate(dataset.records):
        if record.split == split and record.contiguous:
            windows += _windows_of(index, record, num_frames, fps, step)
    if not windows:
        longest = max((r.num_frames for r in dataset.records if r.split == split and r.contiguous), default=0)
        raise ValueError(
            f"no clip of split {split!r} in {dataset.root} holds {num_frames} frames at {fps:g} fps "
            f"(the longest has {longest} frames); lower the number of frames or add longer videos"
        )
    return windows


def _windows_of(index: int, record: ClipRecord, num_frames: int, fps: float, step: int) -> list[Window]:
    stride = stride_for(record.fps, fps)
    windows = []
    for first in range(0, record.num_frames - num_frames + 1, step):
        chosen = _even_frames(record, first, stride, num_frames)
        if chosen is not None:
            caption = record.caption(first, chosen[-1])
            windows.append(Window(record=index, indices=chosen, fps=record.fps / stride, caption=caption))
    return windows


def _even_frames(record: ClipRecord, first: int, stride: int, num_frames: int) -> Sequence[int] | None:
    """``num_frames`` frames from ``first`` on at the record's rate over ``stride``, or None where there are none."""
    if record.times is None:
        last = first + stride * (num_frames - 1)
        return range(first, last + 1, stride) if last < record.num_frames else None
    spacing = stride / record.fps
    known = np.asarray(record.times[first : first + 2 * stride * num_frames + 1])
    wanted = known[0] + spacing * np.arange(num_frames)
    after = np.searchsorted(known, wanted).clip(1, len(known) - 1) if len(known) > 1 else np.zeros(num_frames, int)
    before = (after - 1).clip(0)
    nearest = np.where(wanted - known[before] <= known[after] - wanted, before, after)
    if np.abs(known[nearest] - wanted).max() > TOLERANCE * spacing or (np.diff(nearest) <= 0).any():
        return None
    return tuple(int(number) + first for number in nearest)


def spread(total: int, count: int) -> list[int]:
    """At most ``count`` of the numbers 0..total-1, evenly spread, each once, the first and the last among them."""
    count = min(count, total)
    return [round(i * (total - 1) / max(1, count - 1)) for i in range(count)]


def image_items(dataset: Dataset, *, split: str = "train") -> list[tuple[int, int]]:
    """``(record, frame)`` of every frame of the split.

    Raises:
        ValueError: the split is empty.
    """
    items = [
        (index, frame)
        for index, record in enumerate(dataset.records)
        if record.split == split
        for frame in range(record.num_frames)
    ]
    if not items:
        raise ValueError(f"{dataset.root} holds no frame of split {split!r}")
    return items


def held_out_split(dataset: Dataset) -> str:
    """``"val"``, or the training split where nothing is held out."""
    return "val" if any(record.split == "val" for record in dataset.records) else "train"


def draw_weights(dataset: Dataset, records: Sequence[int], weights: Mapping[str, float]) -> list[float] | None:
    """``source_weights``, or None, every item alike, where none are given."""
    return source_weights(dataset, records, dict(weights)) if weights else None


def source_weights(dataset: Dataset, records: Sequence[int], weights: dict[str, float]) -> list[float]:
    """A sampling weight per item, given the record of each: weights name id prefixes, the rest weighs 1 an item.

    ``{"world": 0.3, "highway": 0.1}`` gives the items whose record id begins with "world" 30 % of all draws and those
    of "highway" 10 %; what no prefix names shares the remainder evenly.

    Raises:
        ValueError: weights are negative or exceed 1 in sum, or a prefix names no item.
    """
    if any(weight < 0 for weight in weights.values()) or sum(weights.values()) > 1 + 1e-9:
        raise ValueError(f"source weights {weights}: expected fractions >= 0 with a sum of at most 1")
    groups = [_group(dataset.records[record].id, weights) for record in records]
    counts = {name: groups.count(name) for name in {*weights, None}}
    missing = [name for name in weights if not counts[name]]
    if missing:
        raise ValueError(f"source weights name {missing}, but no clip id of {dataset.root} begins so")
    shares = {**weights, None: 1 - sum(weights.values())}
    return [shares[group] / counts[group] for group in groups]


def _group(record_id: str, weights: dict[str, float]) -> str | None:
    return next((name for name in weights if record_id.startswith(name)), None)
