"""Figures of a blind pairwise study of people: shares of preference, their intervals, rater agreement (paper, Sec. 4).

The paper shows two videos beside each other, asks which looks more real, and states the share of votes for each method;
several people vote on each pair. Here ties are allowed and count as half a vote for each. Statistics in float64. Not
here: which pairs are shown (``study_design``), the page (``study_page``), files (``cli/study_folder``).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Int

MIN_PAIRS = 10  # of a bootstrap
CONFIDENCE = 0.95
RESAMPLES = 10_000
_RESAMPLES_AT_ONCE = 500  # of 10,000 pairs: 40 MB
FLEISS, KRIPPENDORFF = "Fleiss' kappa", "Krippendorff's alpha"


@dataclass(frozen=True, kw_only=True)
class Vote:
    """One answer: the methods on the left and on the right, the preferred one (None is a tie), the time it took."""

    pair: str
    rater: str
    left: str
    right: str
    preferred: str | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval of a share, and how it was found: ``bootstrap`` or ``hoeffding``."""

    low: float
    high: float
    method: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One method against another.

    Attributes:
        share: of the first method, ties as half; that of the second is 1 minus it.
        pairs_won: pairs in which more raters prefer the first than the second; in ``pairs_split`` equally many do.
        p_value: sign test over the pairs that are not split.
        agreement: the name of the coefficient; it is None where nothing can be said (one rater, or one answer only).
    """

    first: str
    second: str
    num_pairs: int
    votes_first: int
    ties: int
    votes_second: int
    share: float
    interval: Interval
    pairs_won: int
    pairs_split: int
    pairs_lost: int
    p_value: float
    agreement: str
    coefficient: float | None


@dataclass(frozen=True, kw_only=True)
class RaterFigures:
    """One rater: ``shares`` holds, in the order of the comparisons, that of the first method (None: saw no pair).

    ``left_share`` shows who always answers one side (ties as half); ``seconds`` is the median per answer.
    """

    rater: str
    votes: int
    ties: int
    left_share: float
    seconds: float
    shares: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class StudyFigures:
    """All figures of a study."""

    comparisons: tuple[Comparison, ...]
    raters: tuple[RaterFigures, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def study_figures(votes: Sequence[Vote], methods: Sequence[str]) -> StudyFigures:
    """The figures of ``votes``, each two of ``methods`` compared; the order of the votes does not matter.

    Raises:
        ValueError: no votes, or a vote that prefers neither of the two methods it saw.
    """
    if not votes:
        raise ValueError("there are no votes to judge; give at least one file of answers")
    for vote in votes:
        if vote.preferred not in (vote.left, vote.right, None):
            raise ValueError(f"pair {vote.pair} shows {vote.left} and {vote.right}, the vote is for {vote.preferred}")
    couples = [
        (couple, [vote for vote in votes if {vote.left, vote.right} == set(couple)])
        for couple in combinations(methods, 2)
    ]
    couples = [(couple, seen) for couple, seen in couples if seen]
    raters = sorted({vote.rater for vote in votes})
    return StudyFigures(
        comparisons=tuple(_comparison(couple, seen) for couple, seen in couples),
        raters=tuple(_rater(name, [v for v in votes if v.rater == name], couples) for name in raters),
    )


def preference_share(counts: Int[np.ndarray, "n 3"]) -> float:
    """``(first + ties / 2) / all`` of votes counted per pair as (first, tie, second)."""
    return float((counts @ [1.0, 0.5, 0.0]).sum() / counts.sum())


def share_interval(counts: Int[np.ndarray, "n 3"], *, seed: int = 0) -> Interval:
    """The 95 % interval of ``preference_share``: percentiles of 10,000 bootstrap samples of the pairs.

    Pairs are drawn, not votes: raters of one pair saw the same videos, their votes are no independent evidence. Of
    fewer than ``MIN_PAIRS`` pairs, or where all have one share, the bootstrap would claim too much; Hoeffding's bound
    ``sqrt(log(2 / 0.05) / 2n)``, which holds for any independent scores from 0 to 1, takes its place.

    Raises:
        ValueError: a pair without votes.
    """
    _check_counts(counts)
    scores, votes = counts @ [1.0, 0.5, 0.0], counts.sum(1).astype(np.float64)
    num_pairs = len(counts)
    if num_pairs < MIN_PAIRS or np.ptp(scores / votes) == 0:
        share, reach = scores.sum() / votes.sum(), math.sqrt(math.log(2 / (1 - CONFIDENCE)) / (2 * num_pairs))
        return Interval(low=max(0.0, share - reach), high=min(1.0, share + reach), method="hoeffding")
    draw, shares = np.random.default_rng(seed), []
    for _ in range(RESAMPLES // _RESAMPLES_AT_ONCE):
        drawn = draw.integers(num_pairs, size=(_RESAMPLES_AT_ONCE, num_pairs))
        shares.append(scores[drawn].sum(1) / votes[drawn].sum(1))
    low, high = np.quantile(np.concatenate(shares), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(low=float(low), high=float(high), method="bootstrap")


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p value of ``wins`` against ``losses`` under a fair coin: ``2 P(X <= min)``, at most 1.

    Raises:
        ValueError: a negative count.
    """
    if min(wins, losses) < 0:
        raise ValueError(f"{wins} wins and {losses} losses cannot be; counts are 0 or more")
    tosses = wins + losses
    tail = sum(math.comb(tosses, k) for k in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2**tosses)  # whole numbers of any length, rounded once


def fleiss_kappa(counts: Int[np.ndarray, "n k"]) -> float | None:
    """Agreement beyond chance, of n items with votes counted in k categories: ``(P - Pe) / (1 - Pe)`` (Fleiss, 1971).

    None where all votes are of one category (0 / 0) or there is one vote per item.

    Raises:
        ValueError: items without votes, or with unequal numbers of them (that is for ``krippendorff_alpha``).
    """
    _check_counts(counts)
    per_item = counts.sum(1)
    if np.ptp(per_item) != 0:
        raise ValueError(f"items have {per_item.min()} to {per_item.max()} votes; kappa needs equal numbers")
    raters = int(per_item[0])
    expected = float(np.square(counts.sum(0) / counts.sum()).sum())
    if raters < 2 or np.count_nonzero(counts.sum(0)) < 2:
        return None
    observed = float(((np.square(counts).sum(1) - raters) / (raters * (raters - 1))).mean())
    return (observed - expected) / (1 - expected)


def krippendorff_alpha(counts: Int[np.ndarray, "n k"]) -> float | None:
    """Nominal alpha, ``1 - Do / De``: agreement where items have unequal numbers of votes (Krippendorff, 2004).

    Items with one vote say nothing and are left out; None where no others are there or all votes are of one category.

    Raises:
        ValueError: items without votes.
    """
    _check_counts(counts)
    counts = counts[counts.sum(1) > 1].astype(np.float64)
    per_item, per_category, total = counts.sum(1), counts.sum(0), counts.sum()
    if np.count_nonzero(per_category) < 2:
        return None
    observed = ((per_item**2 - np.square(counts).sum(1)) / (per_item - 1)).sum() / total
    expected = (total**2 - np.square(per_category).sum()) / (total * (total - 1))
    return float(1 - observed / expected)


def agreement(counts: Int[np.ndarray, "n k"]) -> tuple[str, float | None]:
    """The coefficient that suits the counts, by name: kappa for equal numbers of votes, otherwise alpha."""
    if np.ptp(counts.sum(1)) == 0:
        return FLEISS, fleiss_kappa(counts)
    return KRIPPENDORFF, krippendorff_alpha(counts)


def _check_counts(counts: np.ndarray) -> None:
    if not len(counts) or (counts.sum(1) < 1).any():
        raise ValueError("there are items without votes; leave them out")


def _comparison(couple: tuple[str, str], votes: Sequence[Vote]) -> Comparison:
    first, second = couple
    rows: dict[str, list[int]] = {pair: [0, 0, 0] for pair in sorted({vote.pair for vote in votes})}
    for vote in votes:
        rows[vote.pair][(first, None, second).index(vote.preferred)] += 1
    counts = np.array(list(rows.values()), dtype=np.int64)
    lead = counts[:, 0] - counts[:, 2]
    won, split, lost = (int(n) for n in ((lead > 0).sum(), (lead == 0).sum(), (lead < 0).sum()))
    name, coefficient = agreement(counts)
    votes_first, ties, votes_second = (int(n) for n in counts.sum(0))
    return Comparison(
        first=first,
        second=second,
        num_pairs=len(counts),
        votes_first=votes_first,
        ties=ties,
        votes_second=votes_second,
        share=preference_share(counts),
        interval=share_interval(counts),
        pairs_won=won,
        pairs_split=split,
        pairs_lost=lost,
        p_value=sign_test(won, lost),
        agreement=name,
        coefficient=coefficient,
    )


def _rater(name: str, votes: Sequence[Vote], couples: Sequence[tuple[tuple[str, str], list[Vote]]]) -> RaterFigures:
    own = [[_score(vote, first) for vote in seen if vote.rater == name] for (first, _), seen in couples]
    return RaterFigures(
        rater=name,
        votes=len(votes),
        ties=sum(vote.preferred is None for vote in votes),
        left_share=float(np.mean([_score(vote, vote.left) for vote in votes])),
        seconds=float(np.median([vote.seconds for vote in votes])),
        shares=tuple(float(np.mean(scores)) if scores else None for scores in own),
    )


def _score(vote: Vote, method: str) -> float:
    return 0.5 if vote.preferred is None else float(vote.preferred == method)
