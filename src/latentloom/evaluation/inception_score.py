"""The inception score (Salimans et al. 2016): ``exp(E KL(p(y|x) || p(y)))`` of a classifier's probabilities.

From 1 (every picture looks the same to the classifier) to the number of classes. It never sees real pictures: copies of
one good picture per class reach the top. Of frames by Inception (``fid``); of clips by C3D (``c3d``), which is the
paper's score on UCF-101.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SPLITS = 10


@dataclass(frozen=True, kw_only=True)
class InceptionScore:
    """Mean and standard deviation over ``splits`` parts of the pictures; one part has no deviation."""

    mean: float
    deviation: float | None
    splits: int


def inception_score(probabilities: Float[Tensor, "n k"], splits: int = SPLITS) -> InceptionScore:
    """The score of n pictures over k classes, as the mean over ``splits`` consecutive parts, in float64.

    More splits give smaller scores: compare those of equal splits and equally many pictures. With one split the order
    of the pictures does not matter.

    Args:
        probabilities: rows from 0 to 1 that sum to 1.

    Raises:
        ValueError: fewer pictures than splits, no split, or rows that are no probabilities.
    """
    if not 1 <= splits <= len(probabilities):
        raise ValueError(f"{len(probabilities)} pictures in {splits} splits: expected at least one picture in each")
    rows = probabilities.double()
    if not bool(((rows >= 0) & (rows <= 1)).all()) or not bool(((rows.sum(1) - 1).abs() < 1e-3).all()):
        raise ValueError("class probabilities are from 0 to 1 and sum to 1; these do not: give the output of a softmax")
    bounds = [len(rows) * part // splits for part in range(splits + 1)]
    parts = [rows[bounds[part] : bounds[part + 1]] for part in range(splits)]
    scores = torch.stack([_score(part) for part in parts])
    deviation = scores.std(correction=0).item() if splits > 1 else None
    return InceptionScore(mean=scores.mean().item(), deviation=deviation, splits=splits)


def _score(rows: Tensor) -> Tensor:
    """``exp`` of the marginal's entropy less the mean entropy; ``0 log 0`` is 0."""
    marginal = rows.mean(0)
    divergence = torch.special.xlogy(rows, rows).sum(1).mean() - torch.special.xlogy(marginal, marginal).sum()
    return divergence.exp()
