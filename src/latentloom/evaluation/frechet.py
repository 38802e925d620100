"""The Frechet distance between two sets of features, each taken as a Gaussian (FID, FVD; paper, Sec. 4).

``|m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))`` in float64. A distance says as much as its features do: name
them beside the number. Not here: the features (``features``).
"""

import warnings
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureStatistics:
    """Mean and covariance of ``count`` feature vectors of width d, float64."""

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]
    count: int

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> Self:
        """Statistics of n vectors; the covariance is that of a sample (n - 1).

        Raises:
            ValueError: fewer than two vectors, or values that are not finite.
        """
        if len(features) < 2:
            raise ValueError(f"{len(features)} feature vectors have no covariance; give at least 2, better thousands")
        if not bool(features.isfinite().all()):
            raise ValueError("features are not finite; look at the frames they come from")
        features = features.double()
        mean = features.mean(0)
        centred = features - mean
        return cls(mean=mean, covariance=centred.T @ centred / (len(features) - 1), count=len(features))


def frechet_distance(
    mu1: Float[Tensor, " d"], sigma1: Float[Tensor, "d d"], mu2: Float[Tensor, " e"], sigma2: Float[Tensor, "e e"]
) -> float:
    """The squared 2-Wasserstein distance of two Gaussians; 0 for equal ones, never negative.

    ``tr((S1 S2)^(1/2))`` is the sum of the singular values of ``S1^(1/2) S2^(1/2)``, which stays exact where
    covariances are singular: the usual matrix square root of the product does not.

    Raises:
        ValueError: shapes that do not go together, or values that are not finite.
    """
    tensors = [tensor.double() for tensor in (mu1, sigma1, mu2, sigma2)]
    if tensors[0].shape != tensors[2].shape or tensors[1].shape != tensors[3].shape:
        raise ValueError(f"features of {len(mu1)} and of {len(mu2)} numbers are compared; use one network for both")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise ValueError("means and covariances must be finite numbers")
    mean1, covariance1, mean2, covariance2 = tensors
    overlap = torch.linalg.svdvals(_root(covariance1) @ _root(covariance2)).sum()
    distance = (mean1 - mean2).square().sum() + covariance1.trace() + covariance2.trace() - 2 * overlap
    return max(0.0, distance.item())


def frechet_distance_of(ours: Float[Tensor, "n d"], theirs: Float[Tensor, "m e"]) -> float:
    """The distance between two sets of feature vectors; warns where a set is too small for its width.

    Raises:
        ValueError: what ``FeatureStatistics.of`` and ``frechet_distance`` raise.
    """
    first, second = FeatureStatistics.of(ours), FeatureStatistics.of(theirs)
    width, count = len(first.mean), min(first.count, second.count)
    if count <= width:
        warnings.warn(
            f"a Frechet distance of {count} vectors of {width} numbers is biased upward: compare only with distances of"
            f" equally many, or give more than {width}",
            stacklevel=2,
        )
    return frechet_distance(first.mean, first.covariance, second.mean, second.covariance)


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
