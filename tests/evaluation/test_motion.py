import pytest
import torch

from latentloom.evaluation.motion import frame_difference, frame_difference_ratio, join_ratio


def moving_bar(num_frames=6, step=2, height=8, width=32):
    """A white bar of four pixels on black that moves ``step`` pixels a frame."""
    frames = torch.zeros(num_frames, height, width, 3, dtype=torch.uint8)
    for t in range(num_frames):
        frames[t, :, step * t : step * t + 4] = 255
    return frames


def test_the_frame_difference_is_the_mean_over_pixels_of_what_changed():
    expected = 2 * 2 / 32 * 255  # two columns appear and two vanish, of 32
    assert frame_difference(moving_bar()) == pytest.approx(expected)


def test_a_clip_that_stands_still_has_no_frame_difference():
    assert frame_difference(moving_bar(step=0)) == 0


def test_differences_do_not_wrap_around_at_zero_and_255():
    frames = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    frames[0] = 200
    assert frame_difference(frames) == 200
    assert frame_difference(frames.flip(0)) == 200


def test_shuffled_frames_and_added_noise_are_seen_as_more_change():
    real = moving_bar()
    shuffled = real[[0, 3, 1, 4, 2, 5]]
    noise = torch.randint(0, 128, real.shape, generator=torch.Generator().manual_seed(0))
    noisy = (real.int() + noise).clamp(0, 255).to(torch.uint8)
    assert frame_difference_ratio(real[None], real[None]) == 1
    assert frame_difference_ratio(shuffled[None], real[None]) > 1.5
    assert frame_difference_ratio(noisy[None], real[None]) > 1.5


def test_the_ratio_compares_means_of_clips_whatever_their_numbers_and_lengths():
    fake = torch.stack([moving_bar(4, 1), moving_bar(4, 3)])
    assert frame_difference_ratio(fake, moving_bar(8, 2)[None]) == pytest.approx(1)


def test_a_ratio_to_clips_that_stand_still_or_have_another_size_is_refused():
    with pytest.raises(ValueError, match="nothing moves"):
        frame_difference_ratio(moving_bar()[None], moving_bar(step=0)[None])
    with pytest.raises(ValueError, match="resize one"):
        frame_difference_ratio(moving_bar()[None], moving_bar(width=64)[None])


def test_one_frame_has_no_difference():
    with pytest.raises(ValueError, match="at least 2 frames, given 1"):
        frame_difference(moving_bar(1))


def test_a_jump_where_windows_meet_is_seen_and_smooth_joins_are_not():
    smooth = moving_bar(9, 1)
    assert join_ratio(smooth, {3, 6, 100}) == pytest.approx(1)
    jumping = torch.cat([smooth[:3], smooth[4:7], smooth[8:]])
    assert join_ratio(jumping, {3, 6}) == pytest.approx(2)
    for joins in ((), (20,), range(9)):
        with pytest.raises(ValueError, match="expected some"):
            join_ratio(smooth, joins)
