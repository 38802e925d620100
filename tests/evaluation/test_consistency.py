import itertools

import pytest
import torch

from latentloom.data.world import random_scene, render
from latentloom.evaluation.consistency import estimated_flow, flicker, flicker_power, warp_error
from latentloom.evaluation.drift import drift


def clip(num_frames: int = 6, seed: int = 3):
    return render(random_scene(seed, place="country road"), num_frames, 8, 64, 128, flow=True)


def noisy(frames: torch.Tensor, sigma: float, *, still: bool = False) -> torch.Tensor:
    shape = (1, *frames.shape[1:]) if still else frames.shape
    noise = sigma * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return (frames + noise).clamp(0, 255).to(torch.uint8)


def test_an_error_that_stands_still_does_not_flicker_and_one_that_changes_does():
    frames = clip().frames.clamp(60, 190)
    assert flicker(frames, frames) == 0
    assert flicker(frames + 20, frames) == 0
    alternating = frames.clone()
    alternating[::2] += 20
    assert flicker(alternating, frames) == pytest.approx(20.0)
    assert flicker(noisy(frames, 20), frames) > 10 * flicker(noisy(frames, 20, still=True), frames)


def test_flicker_of_different_clips_or_single_frames_is_refused():
    frames = clip(2).frames
    with pytest.raises(ValueError, match="expected the same"):
        flicker(frames, frames[:1])
    with pytest.raises(ValueError, match="at least 2 frames"):
        flicker(frames[:1], frames[:1])


@pytest.mark.parametrize("amplitude", [1, 5, 20])
def test_what_alternates_counts_its_amplitude_squared_and_noise_three_eighths_of_its_variance(amplitude):
    picture = torch.full((40, 64, 64, 3), 120, dtype=torch.uint8)
    whole, chequered = picture.clone(), picture.clone()
    whole[::2] += 2 * amplitude
    chequered[::2, :32] += 2 * amplitude
    chequered[1::2, 32:] += 2 * amplitude
    pulsing, local = flicker_power(whole), flicker_power(chequered)
    assert pulsing.brightness == pytest.approx(amplitude**2) and pulsing.pixels == pytest.approx(amplitude**2)
    assert local.brightness == pytest.approx(0, abs=1e-9) and local.pixels == pytest.approx(amplitude**2)
    grey = torch.randn((40, 64, 64, 1), generator=torch.Generator().manual_seed(0)) * 2 * amplitude
    noise = flicker_power((picture + grey).round().to(torch.uint8))
    rounding = 1 / 12
    assert noise.pixels == pytest.approx(0.375 * (4 * amplitude**2 + rounding), rel=0.03)


def test_half_of_the_highest_frequency_counts_a_quarter_and_what_stands_or_fades_nothing():
    times = torch.arange(60).view(-1, 1, 1, 1)
    slow = (120 + 40 * torch.cos(torch.pi / 2 * times)).round().to(torch.uint8).expand(-1, 8, 8, 3)
    power = flicker_power(slow)
    assert power.brightness == pytest.approx(40**2 / 2 * 0.25, rel=0.02)
    fading = (3 * times).to(torch.uint8).expand(-1, 8, 8, 3)
    for frames in (fading, fading[:1].expand(60, -1, -1, -1)):
        assert flicker_power(frames).pixels == pytest.approx(0, abs=1e-12)


def test_more_of_a_planted_flicker_has_more_power_and_motion_hardly_moves_the_brightness():
    frames = clip(12).frames.clamp(40, 200)
    pulse = torch.randn(12, generator=torch.Generator().manual_seed(1)).view(-1, 1, 1, 1)
    powers = [flicker_power((frames + a * pulse).clamp(0, 255).to(torch.uint8)) for a in (0, 2, 4, 8)]
    assert all(less.brightness < more.brightness for less, more in itertools.pairwise(powers))
    assert all(less.pixels < more.pixels for less, more in itertools.pairwise(powers))
    assert powers[0].brightness < powers[0].pixels / 20, "motion alone"
    assert powers[1].brightness > 5 * powers[0].brightness, "two levels of 255"
    assert flicker_power(frames.unflatten(0, (2, 6)).transpose(0, 1).flatten(0, 1)).pixels > 1.5 * powers[0].pixels
    with pytest.raises(ValueError, match="at least 3 frames"):
        flicker_power(frames[:2])


def test_the_true_flow_explains_motion_and_a_wrong_one_does_not():
    world = clip()
    assert world.flow is not None and world.flow_valid is not None
    right = warp_error(world.frames, world.flow, world.flow_valid)
    still = warp_error(world.frames, torch.zeros_like(world.flow), world.flow_valid)
    turned = warp_error(world.frames, -world.flow, world.flow_valid)
    assert right < 0.7 * still < turned
    assert warp_error(noisy(world.frames, 20), world.flow, world.flow_valid) > 2 * right


def test_a_shift_by_whole_pixels_is_explained_exactly():
    picture = torch.randint(0, 256, (20, 40, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    frames = torch.stack([picture.roll(3 * k, 1) for k in range(3)])
    flow = torch.zeros(2, 20, 40, 2)
    flow[..., 0] = 3
    assert warp_error(frames, flow) < 1e-9


def test_flow_is_estimated_where_none_is_given():
    world = clip()
    assert world.flow is not None and world.flow_valid is not None
    estimated = estimated_flow(world.frames)
    assert estimated.shape == world.flow.shape
    error = (estimated - world.flow).norm(dim=-1)[world.flow_valid].median()
    assert error < 1.0
    assert warp_error(noisy(world.frames, 25)) > 1.5 * warp_error(world.frames)


def test_a_warp_error_without_a_point_or_with_another_flow_is_refused():
    world = clip(2)
    with pytest.raises(ValueError, match="expected t-1 h w 2"):
        warp_error(world.frames, torch.zeros(1, 3, 4, 2))
    with pytest.raises(ValueError, match="valid nowhere"):
        warp_error(world.frames, torch.full((1, 64, 128, 2), 1000.0))


def test_drift_is_the_slope_per_hundred_frames():
    picture = clip(1).frames[0].clamp(40, 120)
    steady = picture.repeat(11, 1, 1, 1)
    brighter = torch.stack([picture + k for k in range(11)])
    assert drift(steady).brightness == pytest.approx(0, abs=1e-9)
    assert drift(brighter).brightness == pytest.approx(100.0)
    assert drift(brighter).saturation == pytest.approx(0, abs=1e-9)
    assert drift(brighter).sharpness == pytest.approx(0, abs=1e-9)


def test_drift_tells_colour_and_sharpness_apart():
    picture = clip(1).frames[0].float()
    grey, flat = picture.mean(-1, keepdim=True), picture.mean((0, 1), keepdim=True)
    fading = torch.stack([torch.lerp(picture, grey.expand_as(picture), k / 20) for k in range(11)]).to(torch.uint8)
    softer = torch.stack([torch.lerp(picture, flat, k / 20) for k in range(11)]).to(torch.uint8)
    assert drift(fading).saturation < -10 and abs(drift(fading).brightness) < 30
    assert drift(softer).sharpness < -5 and abs(drift(softer).brightness) < 3
    with pytest.raises(ValueError, match="at least 2 frames"):
        drift(fading[:1])
