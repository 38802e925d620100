"""The statistics against closed forms and printed tables; the design against what a blind study must be."""

from itertools import combinations, permutations
from math import comb, log, sqrt

import numpy as np
import pytest

from latentloom.evaluation.study import (
    Vote,
    fleiss_kappa,
    krippendorff_alpha,
    preference_share,
    share_interval,
    sign_test,
    study_figures,
)
from latentloom.evaluation.study_design import designed
from latentloom.evaluation.study_page import study_page

# Fleiss' own layout: 10 subjects, 14 raters, 5 categories; the worked example of the literature, kappa 0.210
FLEISS_TABLE = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
# Krippendorff's worked example: three coders, values 1 to 4, 0 is missing; nominal alpha 0.691
KRIPPENDORFF_CODERS = [
    [0, 0, 0, 0, 0, 3, 4, 1, 2, 1, 1, 3, 3, 0, 3],
    [1, 0, 2, 1, 3, 3, 4, 3, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 2, 1, 3, 4, 4, 0, 2, 1, 1, 3, 3, 0, 4],
]


def vote(pair, rater, preferred, left="a", right="b", seconds=1.0):
    return Vote(pair=pair, rater=rater, left=left, right=right, preferred=preferred, seconds=seconds)


def names(count, start=0):
    return {f"{k:03}.mp4": f"{k:x}" for k in range(start, start + count)}


def test_kappa_of_the_printed_table():
    assert fleiss_kappa(np.array(FLEISS_TABLE)) == pytest.approx(0.210, abs=5e-4)


def test_alpha_of_the_printed_table():
    coders = np.array(KRIPPENDORFF_CODERS)
    counts = np.stack([(coders == value).sum(0) for value in (1, 2, 3, 4)], 1)
    counts = counts[counts.sum(1) > 0]
    assert krippendorff_alpha(counts) == pytest.approx(0.691, abs=5e-4)


def test_agreement_is_one_when_all_agree_and_zero_in_expectation_when_nobody_knows():
    assert fleiss_kappa(np.array([[4, 0, 0], [0, 4, 0], [0, 0, 4]])) == pytest.approx(1)
    assert krippendorff_alpha(np.array([[4, 0, 0], [0, 3, 0], [0, 0, 2]])) == pytest.approx(1)
    assert fleiss_kappa(np.array([[1, 1], [1, 1]])) == pytest.approx(-1)
    chance = np.random.default_rng(0).multinomial(4, [0.5, 0.2, 0.3], size=20_000)
    assert abs(fleiss_kappa(chance)) < 0.01 and abs(krippendorff_alpha(chance)) < 0.01


def test_alpha_is_kappa_but_for_its_correction_of_small_samples():
    counts = np.random.default_rng(1).multinomial(4, [0.6, 0.1, 0.3], size=30)
    total = counts.sum()
    assert krippendorff_alpha(counts) == pytest.approx(1 - (1 - fleiss_kappa(counts)) * (total - 1) / total)


def test_agreement_is_not_defined_for_one_rater_or_one_answer():
    assert fleiss_kappa(np.array([[4, 0, 0], [4, 0, 0]])) is None
    assert fleiss_kappa(np.array([[1, 0, 0], [0, 0, 1]])) is None
    assert krippendorff_alpha(np.array([[1, 0, 0], [0, 0, 1]])) is None
    assert krippendorff_alpha(np.array([[3, 0, 0], [2, 0, 0], [0, 1, 0]])) is None
    with pytest.raises(ValueError, match="kappa needs equal numbers"):
        fleiss_kappa(np.array([[4, 0, 0], [0, 0, 3]]))
    with pytest.raises(ValueError, match="without votes"):
        krippendorff_alpha(np.array([[4, 0, 0], [0, 0, 0]]))


@pytest.mark.parametrize(
    ("wins", "losses", "expected"),
    [(0, 0, 1), (5, 5, 1), (10, 0, 2 / 1024), (8, 2, 2 * (1 + 10 + 45) / 1024), (9, 1, 22 / 1024), (1, 0, 1)],
)
def test_the_sign_test_is_exact_and_two_sided(wins, losses, expected):
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-12)
    assert sign_test(losses, wins) == sign_test(wins, losses)


def test_the_sign_test_takes_thousands_of_pairs():
    assert sign_test(3000, 3000) == 1
    assert sign_test(3000, 2900) == pytest.approx(2 * sum(comb(5900, k) for k in range(2901)) / 2**5900)
    assert 0 <= sign_test(6000, 0) < 1e-300


def test_ties_count_as_half_a_vote():
    assert preference_share(np.array([[3, 0, 1], [0, 4, 0]])) == pytest.approx((3 + 2) / 8)
    assert preference_share(np.array([[0, 4, 0]])) == 0.5


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Pairs differ in how they are judged, and raters of a pair agree: what makes votes no independent evidence."""
    draw, covered, naive = np.random.default_rng(0), 0, 0
    for _ in range(200):
        liking = draw.beta(1.2, 0.8, size=50)  # its mean is 0.6
        first = draw.binomial(4, liking)
        counts = np.stack([first, np.zeros_like(first), 4 - first], 1)
        interval, share = share_interval(counts), preference_share(counts)
        assert interval.method == "bootstrap" and interval.low < share < interval.high
        covered += interval.low <= 0.6 <= interval.high
        naive += abs(share - 0.6) <= 1.96 * sqrt(share * (1 - share) / 200)
    assert 0.89 <= covered / 200 <= 0.99
    assert naive / 200 < 0.89, "votes taken as independent: the interval this test must tell from ours"


def test_pairs_that_are_all_alike_make_nobody_certain():
    interval = share_interval(np.array([[4, 0, 0]] * 50))
    assert interval.method == "hoeffding" and interval.high == 1
    assert interval.low == pytest.approx(1 - sqrt(log(40) / 100))
    split = share_interval(np.array([[2, 0, 2]] * 8))
    assert split.low == pytest.approx(0.5 - sqrt(log(40) / 16)) and split.high == pytest.approx(1 - split.low)


def test_figures_of_a_small_study_by_hand():
    votes = [
        *(vote("p", rater, "a") for rater in "xyz"),
        vote("p", "w", "b", left="b", right="a"),
        *(vote("q", rater, None) for rater in "xyzw"),
        *(vote("r", rater, "b", seconds=9.0) for rater in "xyzw"),
    ]
    figures = study_figures(votes, ("a", "b"))
    (comparison,) = figures.comparisons
    assert (comparison.votes_first, comparison.ties, comparison.votes_second) == (3, 4, 5)
    assert (comparison.pairs_won, comparison.pairs_split, comparison.pairs_lost) == (1, 1, 1)
    assert comparison.share == pytest.approx(5 / 12) and comparison.p_value == 1
    assert comparison.agreement == "Fleiss' kappa"
    observed, expected = (0.5 + 1 + 1) / 3, (9 + 16 + 25) / 144
    assert comparison.coefficient == pytest.approx((observed - expected) / (1 - expected))
    rater = figures.raters[0]
    assert (rater.rater, rater.votes, rater.ties, rater.seconds) == ("w", 3, 1, 1)
    assert rater.shares == (pytest.approx(0.5 / 3),) and rater.left_share == pytest.approx(0.5)


def test_unequal_numbers_of_votes_are_judged_by_alpha():
    votes = [vote("p", "x", "a"), vote("p", "y", "a"), vote("q", "x", "b"), vote("q", "y", "b"), vote("r", "x", None)]
    (comparison,) = study_figures(votes, ("a", "b")).comparisons
    assert comparison.agreement == "Krippendorff's alpha" and comparison.coefficient == pytest.approx(1)


def test_neither_the_order_of_votes_nor_that_of_methods_changes_what_is_found():
    draw = np.random.default_rng(2)
    methods = ("a", "b", "c")
    couples = [("a", "b"), ("b", "c"), ("c", "a")]
    votes = []
    for number in range(30):
        left, right = couples[number % 3]
        for rater in "wxyz":
            preferred = (left, right, None)[draw.integers(3)]
            votes.append(vote(f"p{number:02}", rater, preferred, left, right))
    found = study_figures(votes, methods)
    assert len(found.comparisons) == 3
    shuffled = [votes[k] for k in draw.permutation(len(votes))]
    assert study_figures(shuffled, methods) == found
    share = {(each.first, each.second): each for each in found.comparisons}
    for order in permutations(methods):
        for each in study_figures(votes, order).comparisons:
            other = share.get((each.first, each.second))
            if other is None:
                other = share[each.second, each.first]
                assert each.share == pytest.approx(1 - other.share)
                assert each.interval.low == pytest.approx(1 - other.interval.high)
            assert each.p_value == other.p_value and each.coefficient == pytest.approx(other.coefficient)


def test_votes_for_a_video_that_was_not_shown_are_refused():
    with pytest.raises(ValueError, match="the vote is for c"):
        study_figures([vote("p", "x", "c")], ("a", "b"))
    with pytest.raises(ValueError, match="no votes"):
        study_figures([], ("a", "b"))


def test_equal_names_meet_and_no_video_twice():
    study = designed({"a": names(8), "b": names(8, start=3)}, question="Which?", num_pairs=6, seed=0)
    assert len(study.pairs) == 6 and study.num_matched == 5
    for method in ("a", "b"):
        sources = [video.source for pair in study.pairs for video in pair.videos if video.method == method]
        assert len(set(sources)) == 6
    assert designed({"a": names(5), "b": names(5, start=5)}, question="Which?", num_pairs=5).num_matched == 0


def test_each_two_methods_meet_in_an_order_that_says_nothing_and_each_is_first_in_half():
    study = designed({name: names(40) for name in "abc"}, question="Which?", num_pairs=40)
    assert len(study.pairs) == 120
    couples = [tuple(video.method for video in pair.videos) for pair in study.pairs]
    assert {couples.count(("a", "b")) + couples.count(("b", "a"))} == {40}
    assert {couples.count(couple) for couple in combinations("abc", 2)} == {20}
    assert 5 < couples[:60].count(("a", "b")) < 15, "the order of pairs tells the side"
    assert len({tuple(sorted(couple)) for couple in couples[:10]}) > 1, "the order of pairs tells the methods"


def test_the_same_seed_and_videos_give_the_same_study_and_others_another():
    ask = {"question": "Which?", "num_pairs": 3}
    study = designed({"a": names(4), "b": names(4)}, seed=0, **ask)
    assert designed({"a": names(4), "b": names(4)}, seed=0, **ask) == study
    assert designed({"a": names(4), "b": names(4)}, seed=1, **ask).id != study.id
    other = designed({"a": names(4), "b": names(4) | {"000.mp4": "changed"}}, seed=0, **ask)
    assert not {p.id for p in other.pairs} & {p.id for p in study.pairs}


def test_a_study_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="two methods or more"):
        designed({"a": names(4)}, question="Which?")
    with pytest.raises(ValueError, match=r"b has 3 videos.*--pairs 3 or fewer"):
        designed({"a": names(4), "b": names(3)}, question="Which?", num_pairs=4)
    with pytest.raises(ValueError, match="--pairs is 0"):
        designed({"a": names(4), "b": names(3)}, question="Which?", num_pairs=0)


def test_the_page_names_no_method_loads_nothing_and_shows_any_question():
    folders = {"our_method": names(4), "their_method": names(4)}
    study = designed(folders, question="</script><b>Which?</b>", num_pairs=4)
    page = study_page(study)
    assert "_method" not in page and "000.mp4" not in page and "http" not in page.replace("http-equiv", "")
    assert "<b>" not in page and "&lt;b&gt;Which?" in page
    assert all(video.id in page for pair in study.pairs for video in pair.videos)
