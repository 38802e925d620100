"""The kernel distance between two sets of features (KID, Binkowski et al. 2018): unbiased, so that it suits small sets.

The squared maximum mean discrepancy with the kernel ``(x . y / d + 1)^3``, in float64. It needs no Gaussian and no
covariance; its expectation does not depend on how many vectors there are, where a Frechet distance's does.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.evaluation.feature_sets import check_widths, in_order, seeded

SUBSETS = 100
SUBSET_SIZE = 1000


@dataclass(frozen=True, kw_only=True)
class KernelDistance:
    """Mean and standard deviation over ``subsets`` draws of ``subset_size`` vectors from each set."""

    mean: float
    deviation: float
    subsets: int
    subset_size: int


def squared_mmd(ours: Float[Tensor, "n d"], theirs: Float[Tensor, "m e"]) -> float:
    """The unbiased estimate: mean kernel within each set, without the diagonal, less twice that between them.

    May be negative, where both sets come from one distribution.

    Raises:
        ValueError: fewer than two vectors, vectors of two networks, or values that are not finite.
    """
    if min(len(ours), len(theirs)) < 2:
        raise ValueError(f"{len(ours)} and {len(theirs)} feature vectors: a kernel distance needs at least 2 of each")
    check_widths(ours, theirs)
    return _squared_mmd(in_order(ours), in_order(theirs))


def kernel_distance(
    ours: Float[Tensor, "n d"],
    theirs: Float[Tensor, "m e"],
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> KernelDistance:
    """``squared_mmd`` of seeded subsets, drawn without replacement; the same for any order of the vectors.

    Subsets of the whole sets are all alike: their deviation of 0 says nothing.

    Raises:
        ValueError: sets smaller than a subset, counts out of range, vectors of two networks, or not finite ones.
    """
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"{subsets} subsets of {subset_size}: expected at least 1, of at least 2 vectors")
    if min(len(ours), len(theirs)) < subset_size:
        raise ValueError(
            f"subsets of {subset_size} were asked of {len(ours)} and {len(theirs)} vectors; ask for smaller ones"
        )
    check_widths(ours, theirs)
    ours, theirs = in_order(ours), in_order(theirs)
    generator = seeded(seed)
    distances = list[float]()
    for _ in range(subsets):
        chosen = [torch.randperm(len(rows), generator=generator)[:subset_size] for rows in (ours, theirs)]
        distances.append(_squared_mmd(ours[chosen[0]], theirs[chosen[1]]))
    values = torch.tensor(distances, dtype=torch.float64)
    return KernelDistance(
        mean=values.mean().item(),
        deviation=values.std(correction=0).item(),
        subsets=subsets,
        subset_size=subset_size,
    )


def _squared_mmd(ours: Tensor, theirs: Tensor) -> float:
    return (_within(ours) + _within(theirs) - 2 * _kernel(ours, theirs).mean()).item()


def _within(rows: Tensor) -> Tensor:
    kernel = _kernel(rows, rows)
    return (kernel.sum() - kernel.trace()) / (len(rows) * (len(rows) - 1))


def _kernel(ours: Tensor, theirs: Tensor) -> Tensor:
    return (ours @ theirs.T / ours.shape[1] + 1) ** 3
