"""The kernel distance between two sets of features (KID, Binkowski et al. 2018): unbiased, so that it suits small sets.

The squared maximum mean discrepancy with the kernel ``(x . y / d + 1)^3``, in float64. It needs no Gaussian and no
covariance; its expectation does not depend on how many vectors there are, where a Frechet distance's does. Vectors of
one video are alike: given video by video, such pairs do not count, else clips that hold together would seem far.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from latentloom.evaluation.feature_sets import check_widths, in_order, seeded, videos_in_order

SUBSETS = 100
SUBSET_SIZE = 1000
FeatureSet = Float[Tensor, "_n _d"] | Sequence[Float[Tensor, "_n _d"]]
"""Vectors, or those of each video: a set of videos."""


@dataclass(frozen=True, kw_only=True)
class KernelDistance:
    """Mean and standard deviation over ``subsets`` draws of ``subset_size`` videos, or vectors, from each set."""

    mean: float
    deviation: float
    subsets: int
    subset_size: int


def squared_mmd(ours: FeatureSet, theirs: FeatureSet) -> float:
    """The unbiased estimate: mean kernel within each set, of different videos, less twice that between them.

    May be negative, where both sets come from one distribution.

    Raises:
        ValueError: fewer than two videos (or vectors), vectors of two networks, or values that are not finite.
    """
    return _squared_mmd(_Videos.of(ours), _Videos.of(theirs))


def kernel_distance(
    ours: FeatureSet, theirs: FeatureSet, *, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 0
) -> KernelDistance:
    """``squared_mmd`` of seeded subsets, drawn without replacement; the same for any order of videos and vectors.

    Subsets of the whole sets are all alike: their deviation of 0 says nothing.

    Raises:
        ValueError: sets smaller than a subset, counts out of range, vectors of two networks, or not finite ones.
    """
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"{subsets} subsets of {subset_size}: expected at least 1, of at least 2 vectors")
    sides = _Videos.of(ours), _Videos.of(theirs)
    if min(map(len, sides)) < subset_size:
        raise ValueError(
            f"subsets of {subset_size} were asked of {len(sides[0])} and {len(sides[1])}; ask for smaller ones"
        )
    generator = seeded(seed)
    distances = list[float]()
    for _ in range(subsets):
        drawn = [side.drawn(torch.randperm(len(side), generator=generator)[:subset_size]) for side in sides]
        distances.append(_squared_mmd(*drawn))
    values = torch.tensor(distances, dtype=torch.float64)
    return KernelDistance(
        mean=values.mean().item(),
        deviation=values.std(correction=0).item(),
        subsets=subsets,
        subset_size=subset_size,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Videos:
    """Vectors in an order of their own, those of a video one after the other; ``counts`` of each video."""

    rows: Float64[Tensor, "n d"]
    counts: Int64[Tensor, " v"]

    @classmethod
    def of(cls, features: FeatureSet) -> "_Videos":
        if isinstance(features, Tensor):
            rows = in_order(features)
            found = cls(rows=rows, counts=torch.ones(len(rows), dtype=torch.int64))
        else:
            videos = videos_in_order(features)
            rows = torch.cat(videos) if videos else torch.zeros(0, 0, dtype=torch.float64)
            found = cls(rows=rows, counts=torch.tensor([len(video) for video in videos]))
        if len(found) < 2:
            raise ValueError(
                f"a kernel distance needs vectors of at least 2 videos on each side, given {len(rows)} of {len(found)}"
            )
        return found

    def __len__(self) -> int:
        return len(self.counts)

    def drawn(self, chosen: Int64[Tensor, " k"]) -> "_Videos":
        videos = self.rows.split(self.counts.tolist())
        return _Videos(rows=torch.cat([videos[place] for place in chosen.tolist()]), counts=self.counts[chosen])

    def within(self) -> Tensor:
        """Mean kernel of two vectors of different videos."""
        of = torch.arange(len(self)).repeat_interleave(self.counts)
        apart = of[:, None] != of
        return (_kernel(self.rows, self.rows) * apart).sum() / apart.sum()


def _squared_mmd(ours: _Videos, theirs: _Videos) -> float:
    check_widths(ours.rows, theirs.rows)
    between = _kernel(ours.rows, theirs.rows).mean()
    return (ours.within() + theirs.within() - 2 * between).item()


def _kernel(ours: Tensor, theirs: Tensor) -> Tensor:
    return (ours @ theirs.T / ours.shape[1] + 1) ** 3
