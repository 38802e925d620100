"""Which frame is shown when: the rules on their own, in exact fractions."""

import itertools
from fractions import Fraction as F

import pytest

from latentloom.data.timing import MAX_UNTIMED, exact_rate, presentation_times, resampled


def times(stamps, step=F(1, 10)):
    return [float(moment) for moment, _ in presentation_times(((s, None) for s in stamps), step)]


def test_times_start_at_zero_and_keep_uneven_spacing():
    assert times([F(5), F(6), F(9)]) == [0, 1, 4]


def test_missing_and_late_stamps_are_spread_between_good_ones():
    assert times([F(0), None, None, F(3)]) == [0, 1, 2, 3]
    assert times([F(0), F(-1), F(2)]) == [0, 1, 2]
    assert times([F(0), F(0), F(2)]) == [0, 1, 2]


def test_missing_stamps_at_the_ends_are_a_step_apart():
    assert times([None, None, F(1), F(2), None, None], F(1, 2)) == [0, 0.5, 1, 2, 2.5, 3]
    assert times([None, None, None], F(1, 2)) == [0, 0.5, 1]


def test_frames_keep_their_order_whatever_their_stamps():
    frames = [frame for _, frame in presentation_times(zip([F(3), None, F(1), F(4)], "abcd", strict=True), F(1))]
    assert frames == list("abcd")


def test_a_video_without_usable_stamps_is_refused_before_it_fills_the_memory():
    endless = ((None, index) for index in itertools.count())
    with pytest.raises(ValueError, match="no usable timestamp"):
        list(presentation_times(endless, F(1)))
    broken = [(F(1000), 0), *((F(index), index) for index in range(MAX_UNTIMED + 2))]
    with pytest.raises(ValueError, match="no usable timestamp"):
        list(presentation_times(broken, F(1)))


def picked(moments, rate):
    timed = ((F(moment), index) for index, moment in enumerate(moments))
    return [index for _, index in resampled(timed, F(rate), F(1, 10))]


def test_of_two_frames_equally_near_the_earlier_is_taken():
    assert picked([F(0), F(1, 5), F(2, 5), F(3, 5)], 10) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert picked([F(k, 25) for k in range(10)], 10) == [0, 2, 5, 7]


def test_the_own_rate_changes_nothing_even_with_rounded_stamps():
    rounded = [F(round(1001000 * k / 24000), 1000) for k in range(1000)]
    assert picked(rounded, F(24000, 1001)) == list(range(1000))


def test_a_single_frame_lasts_one_step():
    assert picked([F(0)], 10) == [0]
    assert picked([F(0)], 40) == [0, 0, 0]


def test_a_pause_is_not_filled_with_endless_copies():
    assert len(picked([F(0), F(1), F(61)], 1)) == 62 + 15  # the last lasts half of the mean spacing of 30.5 s
    with pytest.raises(ValueError, match=r"1000000 s without a frame after 1.00 s"):
        picked([F(0), F(1), F(1000001)], 1)


def test_no_frames_give_no_frames():
    assert picked([], 10) == []


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(23.976, F(2997, 125)), (30000 / 1001, F(30000, 1001)), (24, F(24)), (12.5, F(25, 2)), (14.24, F(356, 25))],
)
def test_rates_become_the_fractions_they_stand_for(fps, rate):
    assert exact_rate(fps) == rate


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e9])
def test_rates_out_of_range_are_refused(fps):
    with pytest.raises(ValueError, match="fps is"):
        exact_rate(fps)
