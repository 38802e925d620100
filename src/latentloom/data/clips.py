"""Which frames make a training clip: windows of evenly spaced frames at a wanted rate.

A clip takes every ``stride``-th frame of its source, so that motion stays even; the rate that results is stored with
it and told to the model (`fps`), instead of resampling by time, which would repeat or skip single frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from latentloom.data.manifest import ClipRecord, Dataset


@dataclass(frozen=True, kw_only=True)
class Window:
    """``num_frames`` frames of one record, ``stride`` apart, from ``first`` on; ``fps`` is the clip's own rate."""

    record: int
    first: int
    stride: int
    num_frames: int
    fps: float
    caption: str

    @property
    def indices(self) -> range:
        """The frames of the record, in order."""
        return range(self.first, self.first + self.stride * (self.num_frames - 1) + 1, self.stride)


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
    span = stride * (num_frames - 1)
    return [
        Window(
            record=index,
            first=first,
            stride=stride,
            num_frames=num_frames,
            fps=record.fps / stride,
            caption=record.caption(first, first + span),
        )
        for first in range(0, record.num_frames - span, step)
    ]


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
