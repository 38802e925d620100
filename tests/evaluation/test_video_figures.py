import pytest
import torch

from latentloom.data.world import random_scene, render
from latentloom.evaluation.consistency import flicker_power, warp_error
from latentloom.evaluation.drift import drift, properties
from latentloom.evaluation.motion import frame_difference
from latentloom.evaluation.video_figures import CURVES, Windows, video_figures


@pytest.fixture(scope="module")
def frames():
    return render(random_scene(3), 9, 8, 32, 64).frames


def figures(frames, **changes):
    return video_figures(frames, **{"windows": Windows(length=4), "warp": False, "networks": {}, **changes})


def test_they_are_the_numbers_of_the_rooms_that_define_them(frames):
    found = figures(frames, warp=True)
    assert found.frame_difference == pytest.approx(frame_difference(frames))
    assert found.warp_error == warp_error(frames)
    power, wander = flicker_power(frames), drift(frames)
    assert (found.brightness_flicker, found.pixel_flicker) == (power.brightness, power.pixels)
    assert (found.brightness_drift, found.sharpness_drift) == (wander.brightness, wander.sharpness)


def test_the_curves_hold_each_frame(frames):
    curves = figures(frames).curves
    assert curves.shape == (len(CURVES), 9)
    torch.testing.assert_close(curves[:3], properties(frames))
    assert curves[3, 5].item() == pytest.approx(frame_difference(frames[4:6]))
    assert curves[3, 0] == curves[3, 1]


def test_networks_are_given_windows_and_a_video_without_one_has_no_features(frames):
    networks = {"count": lambda windows: windows.flatten(1).double().mean(1, keepdim=True)}
    found = figures(frames, networks=networks)
    assert found.windows == 2
    torch.testing.assert_close(found.features["count"][1, 0], frames[4:8].double().mean())
    short = figures(frames[:3], networks=networks)
    assert (short.windows, short.features) == (0, {})


def test_what_nothing_needs_is_not_kept_and_two_frames_have_no_flicker(frames):
    two = figures(frames[:2])
    assert two.small is None and two.text_similarity is None and two.warp_error is None
    assert two.brightness_flicker is None and two.pixel_flicker is None
    kept = figures(frames, small=True, similarity=lambda all_frames: float(len(all_frames)))
    assert kept.small.shape == (9, 1536) and kept.text_similarity == 9


def test_a_picture_is_no_video(frames):
    with pytest.raises(ValueError, match="1 frame is a picture, not a video"):
        figures(frames[:1])
