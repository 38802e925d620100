"""How different videos are that should be: those of one prompt, or futures of one start frame (paper, Sec. 4.1).

The mean distance of the videos of a group from each other, in features and in pixels, beside the same among real videos
of different scenes. Nothing tells the right value: 0 is one video many times, and what is as far apart as real videos
of different scenes has left its prompt or its start frame behind. Noise counts as difference; look at the videos too.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MAX_PAIRS = 1000
_NUMBERED = re.compile(r"(.+)-\d+")


@dataclass(frozen=True, kw_only=True, eq=False)
class Described:
    """A video as it is compared: features of its windows, and its frames averaged to a few pixels, 0 to 255."""

    features: Float[Tensor, "n d"]
    small: Float[Tensor, "t p"]


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """Mean distances of pairs of videos.

    Attributes:
        features: root of the mean squared difference of features, over windows of equal place; None where no pair has
            windows.
        pixels: the same of small frames, over frames of equal time, 0 to 255.
        pairs, groups: what the means are over: of a group's pairs first, then of groups.
    """

    features: float | None
    pixels: float
    pairs: int
    groups: int


def groups_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of the form NAME-1, NAME-2, ... by NAME, where there are at least two: as ``generate --rollouts`` names."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        if match := _NUMBERED.fullmatch(name):
            groups.setdefault(match[1], []).append(name)
    return {name: members for name, members in groups.items() if len(members) > 1}


def diversity(groups: Sequence[Sequence[Described]]) -> Diversity:
    """How far the videos of each group are from each other.

    Raises:
        ValueError: no group, or one of fewer than two videos.
    """
    if not groups or min(map(len, groups)) < 2:
        raise ValueError(f"{len(groups)} groups of videos: diversity needs one or more, of at least 2 videos each")
    by_group = [[_distances(*pair) for pair in itertools.combinations(group, 2)] for group in groups]
    return _mean(by_group)


def spread(videos: Sequence[Described], *, seed: int = 0, max_pairs: int = MAX_PAIRS) -> Diversity:
    """How far videos are from each other that need not be alike; of more than ``max_pairs`` pairs, so many drawn.

    Raises:
        ValueError: fewer than two videos.
    """
    if len(videos) < 2:
        raise ValueError(f"{len(videos)} video has no spread; give at least 2")
    chosen = _pairs(len(videos), max_pairs, torch.Generator().manual_seed(seed))
    return _mean([[_distances(videos[first], videos[second]) for first, second in chosen]])


def _pairs(count: int, most: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """All pairs of so many videos, or ``most`` different ones, drawn without a list of all."""
    if count * (count - 1) // 2 <= most:
        return list(itertools.combinations(range(count), 2))
    drawn = set[tuple[int, int]]()
    while len(drawn) < most:
        first, step = (int(torch.randint(high, (), generator=generator)) for high in (count, count - 1))
        second = (first + 1 + step) % count
        drawn.add((min(first, second), max(first, second)))
    return sorted(drawn)


def _distances(first: Described, second: Described) -> tuple[float | None, float]:
    windows = min(len(first.features), len(second.features))
    frames = min(len(first.small), len(second.small))
    features = _apart(first.features[:windows], second.features[:windows]) if windows else None
    return features, _apart(first.small[:frames], second.small[:frames])


def _apart(first: Tensor, second: Tensor) -> float:
    """Mean over rows of the root of the mean squared difference."""
    return (first.double() - second.double()).square().mean(1).sqrt().mean().item()


def _mean(by_group: list[list[tuple[float | None, float]]]) -> Diversity:
    features = [[pair[0] for pair in group if pair[0] is not None] for group in by_group]
    described = [sum(values) / len(values) for values in features if values]
    pixels = [sum(pair[1] for pair in group) / len(group) for group in by_group]
    return Diversity(
        features=sum(described) / len(described) if described else None,
        pixels=sum(pixels) / len(pixels),
        pairs=sum(map(len, by_group)),
        groups=len(by_group),
    )
