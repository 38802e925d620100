"""Sets of feature vectors: checked, and put in an order that does not depend on how they came.

Sums in floating point and seeded draws depend on the order of their terms. Here the order is that of the vectors' own
sums, so that a set judged in one process, in two, or backwards gives the same number to the last bit.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def in_order(features: Float[Tensor, "n d"]) -> Float64[Tensor, "n d"]:
    """The vectors in float64, sorted by their sums.

    Raises:
        ValueError: values that are not finite.
    """
    if not bool(features.isfinite().all()):
        raise ValueError("features are not finite; look at the frames they come from")
    features = features.double().cpu()
    return features[features.sum(1).argsort(stable=True)]


def videos_in_order(videos: Sequence[Float[Tensor, "_ d"]]) -> list[Float64[Tensor, "_ d"]]:
    """The vectors of each video in float64, videos sorted by their sums; videos without a vector are left out.

    Raises:
        ValueError: values that are not finite.
    """
    return sorted((in_order(rows) for rows in videos if len(rows)), key=lambda rows: rows.sum().item())


def check_widths(ours: Float[Tensor, "n d"], theirs: Float[Tensor, "m e"]) -> None:
    """Refuse vectors of two networks. Raises ``ValueError``."""
    if ours.shape[1] != theirs.shape[1]:
        raise ValueError(
            f"features of {ours.shape[1]} and of {theirs.shape[1]} numbers are compared; use one network for both"
        )


def seeded(seed: int) -> torch.Generator:
    """The one source of randomness of a figure."""
    return torch.Generator().manual_seed(seed)
