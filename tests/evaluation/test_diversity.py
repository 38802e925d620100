import itertools

import pytest
import torch

from latentloom.evaluation import diversity as diversity_room
from latentloom.evaluation.diversity import Described, diversity, groups_of, spread


def described(feature: float, pixel: float, windows: int = 2, frames: int = 5) -> Described:
    return Described(features=torch.full((windows, 4), float(feature)), small=torch.full((frames, 6), float(pixel)))


def test_names_of_futures_are_grouped_as_generate_gives_them():
    names = ["out-1", "out-2", "out-10", "alone-1", "drive", "a/out-1", "a/out-2", "-1"]
    assert groups_of(names) == {"out": ["out-1", "out-10", "out-2"], "a/out": ["a/out-1", "a/out-2"]}


def test_distances_are_those_of_pairs_within_groups_then_of_groups():
    close = [described(0, 10), described(1, 12), described(2, 14)]  # pairs 1, 2, 1 apart in features; 2, 4, 2 in pixels
    far = [described(0, 0), described(10, 30)]
    found = diversity([close, far])
    assert found.features == pytest.approx((4 / 3 + 10) / 2) and found.pixels == pytest.approx((8 / 3 + 30) / 2)
    assert (found.pairs, found.groups) == (4, 2)


def test_one_video_many_times_has_no_diversity_and_more_spread_has_more():
    assert diversity([[described(3, 50)] * 4]).pixels == 0
    draw = torch.Generator().manual_seed(0)
    base = torch.rand(8, 6, generator=draw) * 100
    noise = [torch.randn(8, 6, generator=draw) for _ in range(4)]
    groups = [[Described(features=base + s * n, small=base + s * n) for n in noise] for s in (0.5, 1, 2, 4)]
    values = [diversity([group]) for group in groups]
    for less, more in itertools.pairwise(values):
        assert more.features == pytest.approx(2 * less.features) and more.pixels == pytest.approx(2 * less.pixels)


def test_videos_of_other_lengths_are_compared_as_far_as_both_go():
    first, second = described(0, 0, windows=3, frames=9), described(2, 5, windows=1, frames=4)
    assert diversity([[first, second]]).features == pytest.approx(2)
    assert diversity([[first, described(1, 1, windows=0)]]).features is None


def test_the_spread_is_over_all_pairs_or_over_so_many_drawn_by_seed():
    videos = [described(k, 10 * k) for k in range(4)]
    assert spread(videos).features == pytest.approx((3 * 1 + 2 * 2 + 1 * 3) / 6) and spread(videos).pairs == 6
    few = [spread(videos, seed=seed, max_pairs=2) for seed in (0, 0, 1, 2, 3)]
    assert few[0] == few[1] and len({one.pixels for one in few}) > 1 and few[0].pairs == 2


def test_pairs_of_very_many_videos_are_drawn_without_a_list_of_all():
    drawn = diversity_room._pairs(10**9, 50, torch.Generator().manual_seed(0))
    assert len(set(drawn)) == 50 and all(0 <= first < second < 10**9 for first, second in drawn)


def test_what_has_no_pair_is_refused():
    with pytest.raises(ValueError, match="at least 2 videos each"):
        diversity([])
    with pytest.raises(ValueError, match="at least 2 videos each"):
        diversity([[described(0, 0)]])
    with pytest.raises(ValueError, match="give at least 2"):
        spread([described(0, 0)])
