"""The Frechet distance between two sets of features, each taken as a Gaussian (FID, FVD; paper, Sec. 4).

``|m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))`` in float64. With factors ``F^T F = S`` the last trace is the
sum of the singular values of ``F1 F2^T``: exact also where covariances are singular, which the usual matrix square root
of the product is not. A distance says as much as its features do: name them beside the number. Not here: the features
(``features``, ``fvd``, ``fid``).
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from latentloom.evaluation.feature_sets import check_widths, in_order, seeded, videos_in_order

RESAMPLES = 100
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureStatistics:
    """Mean of ``count`` feature vectors of width d and a factor ``F`` of their covariance ``F^T F``, float64."""

    mean: Float64[Tensor, " d"]
    factor: Float64[Tensor, "r d"]
    count: int

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> Self:
        """Statistics of n vectors, the same in any order; the covariance is that of a sample (n - 1).

        Raises:
            ValueError: fewer than two vectors, or values that are not finite.
        """
        if len(features) < 2:
            raise ValueError(f"{len(features)} feature vectors have no covariance; give at least 2, better thousands")
        features = in_order(features)
        mean = features.mean(0)
        factor = (features - mean) / (len(features) - 1) ** 0.5
        if len(factor) > factor.shape[1]:  # as many rows as columns say the same, and make what follows cheap
            factor = torch.linalg.qr(factor, mode="r").R
        return cls(mean=mean, factor=factor, count=len(features))

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """The covariance of the sample."""
        return self.factor.T @ self.factor


@dataclass(frozen=True, kw_only=True)
class Interval:
    """How a distance varies with the videos: its percentiles over draws of them; their number's bias is in all."""

    low: float
    high: float
    level: float
    resamples: int


def frechet_distance(
    mu1: Float[Tensor, " d"], sigma1: Float[Tensor, "d d"], mu2: Float[Tensor, " e"], sigma2: Float[Tensor, "e e"]
) -> float:
    """The squared 2-Wasserstein distance of two Gaussians; 0 for equal ones, never negative.

    Raises:
        ValueError: shapes that do not go together, or values that are not finite.
    """
    tensors = [tensor.double() for tensor in (mu1, sigma1, mu2, sigma2)]
    check_widths(tensors[0][None], tensors[2][None])
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise ValueError("means and covariances must be finite numbers")
    mean1, covariance1, mean2, covariance2 = tensors
    return _distance(mean1, _root(covariance1), mean2, _root(covariance2))


def frechet_distance_of(ours: Float[Tensor, "n d"], theirs: Float[Tensor, "m e"]) -> float:
    """The distance between two sets of feature vectors; warns where a set is too small for its width.

    Raises:
        ValueError: fewer than two vectors in a set, values that are not finite, or vectors of two networks.
    """
    first, second = FeatureStatistics.of(ours), FeatureStatistics.of(theirs)
    check_widths(ours, theirs)
    width, count = len(first.mean), min(first.count, second.count)
    if count <= width:
        warnings.warn(
            f"a Frechet distance of {count} vectors of {width} numbers is biased upward: compare only with distances of"
            f" equally many, or give more than {width}",
            stacklevel=2,
        )
    return _distance(first.mean, first.factor, second.mean, second.factor)


def bootstrap_interval(
    ours: Sequence[Float[Tensor, "_ d"]],
    theirs: Sequence[Float[Tensor, "_ e"]],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    advance: Callable[[int, int], None] | None = None,
) -> Interval:
    """How much the distance owes to the choice of videos: both sets are drawn anew, with replacement.

    Whole videos are drawn, since windows of one video are alike. A set drawn with replacement holds fewer different
    videos, which makes every redrawn distance too large; therefore their spread around their own mean is laid around
    the distance. It does not tell the bias of small sets: compare distances of equally many videos.

    Args:
        ours, theirs: per video, the vectors of its windows.
        level: share of the redrawn distances within, above 0 and below 1.
        advance: told how many resamples of how many are done.

    Raises:
        ValueError: fewer than two videos with vectors on a side, or arguments out of range.
    """
    if resamples < 2 or not 0 < level < 1:
        raise ValueError(f"{resamples} resamples at level {level}: expected at least 2, and a level between 0 and 1")
    first, second = videos_in_order(ours), videos_in_order(theirs)
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} videos have no interval; give at least 2 of each")
    centre = _distance_of_videos(first, second)
    generator = seeded(seed)
    distances = list[float]()
    for done in range(resamples):
        distances.append(_distance_of_videos(_redrawn(first, generator), _redrawn(second, generator)))
        if advance is not None:
            advance(done + 1, resamples)
    values = torch.tensor(distances, dtype=torch.float64)
    bounds = values.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)) - values.mean()
    low, high = (max(0.0, centre + bound) for bound in bounds.tolist())
    return Interval(low=low, high=high, level=level, resamples=resamples)


def _redrawn(videos: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    return [videos[k] for k in torch.randint(len(videos), (len(videos),), generator=generator).tolist()]


def _distance_of_videos(ours: list[Tensor], theirs: list[Tensor]) -> float:
    first, second = FeatureStatistics.of(torch.cat(ours)), FeatureStatistics.of(torch.cat(theirs))
    check_widths(ours[0], theirs[0])
    return _distance(first.mean, first.factor, second.mean, second.factor)


def _distance(mean1: Tensor, factor1: Tensor, mean2: Tensor, factor2: Tensor) -> float:
    overlap = torch.linalg.svdvals(factor1 @ factor2.T).sum()
    spread = factor1.square().sum() + factor2.square().sum()
    return max(0.0, ((mean1 - mean2).square().sum() + spread - 2 * overlap).item())


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
