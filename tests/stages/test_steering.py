import pytest

from latentloom.stages.steering import WORDS, steering_of

LEFT, STRAIGHT, RIGHT = WORDS["left"], WORDS["straight"], WORDS["right"]


def test_a_drive_is_a_value_per_frame_and_the_last_one_holds():
    assert steering_of("left:2s,straight:1s", 2, 8) == [LEFT] * 4 + [STRAIGHT] * 4
    assert steering_of("right:10s", 2, 3) == [RIGHT] * 3
    assert steering_of("-0.25:1, 0.5:1.5s", 2, 6) == [-0.25] * 2 + [0.5] * 4


def test_short_manoeuvres_are_rounded_together_not_each_by_itself():
    assert len({len(steering_of("left:0.3s,right:0.3s," * k + "straight:1s", 6.5, 200)) for k in (1, 5)}) == 1
    assert steering_of("left:0.1s,right:0.1s,straight:0.8s", 5, 5) == [RIGHT] + [STRAIGHT] * 4
    assert steering_of("left:0.01s", 5, 2) == [LEFT] * 2


def test_left_is_negative_as_in_the_labels():
    assert LEFT < STRAIGHT == 0 < RIGHT


@pytest.mark.parametrize("text", ["", "left", "left:", "up:2s", "left:-1s", "left:0s", "1.5:2s", "nan:2s", "left:nans"])
def test_what_is_no_drive_is_refused(text):
    with pytest.raises(ValueError, match="expected DIRECTION:SECONDS"):
        steering_of(text, 5, 10)
