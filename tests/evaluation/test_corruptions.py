"""Whether corruptions do what they say, in the strength that was asked for, and nothing else."""

import pytest
import torch
from torch import Tensor

from latentloom.data.world import random_scene, render
from latentloom.evaluation import corruptions
from latentloom.evaluation.corruptions import repeating_order, shuffled_order, swapped_order

SPOILING = {
    corruptions.noise: (4, 16),
    corruptions.blur: (0.5, 2),
    corruptions.compression: (50, 95),
    corruptions.flicker: (0.02, 0.2),
    corruptions.jitter: (0.5, 4),
    corruptions.still_warp: (0.5, 4),
    corruptions.moving_warp: (0.5, 4),
    corruptions.repeats: (0.2, 1),
    corruptions.shuffle: (4, 8),
    corruptions.swapped_halves: (1,),
    corruptions.backward: (1,),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def error(clip: Tensor, other: Tensor) -> float:
    return (clip.float() - other.float()).square().mean().sqrt().item()


def counted(num_frames: int) -> Tensor:
    """A clip whose frames say their number."""
    return torch.arange(num_frames, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 4, 4, 3)


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return render(random_scene(3), 8, 6.5, 64, 128).frames


@pytest.mark.parametrize("corrupt", SPOILING, ids=lambda corrupt: corrupt.__name__)
def test_no_strength_changes_nothing_more_spoils_more_and_a_seed_repeats(clip, corrupt):
    assert torch.equal(corrupt(clip, 0, generator()), clip)
    errors = [error(corrupt(clip, strength, generator()), clip) for strength in SPOILING[corrupt]]
    assert errors[0] > 0 and errors == sorted(set(errors))
    strongest = corrupt(clip, SPOILING[corrupt][-1], generator(1))
    assert strongest.shape == clip.shape and strongest.dtype == torch.uint8
    assert torch.equal(corrupt(clip, SPOILING[corrupt][-1], generator(1)), strongest)


def test_noise_has_the_deviation_asked_for():
    grey = torch.full((4, 64, 64, 3), 128, dtype=torch.uint8)
    assert error(corruptions.noise(grey, 12, generator()), grey) == pytest.approx(12, rel=0.05)


def test_blur_keeps_brightness_and_spreads_a_point_by_its_deviation():
    point = torch.zeros(1, 33, 33, 3, dtype=torch.uint8)
    point[0, 16, 16] = 255
    place = torch.arange(33) - 16.0
    spread = corruptions.blur(point, 1.0, generator())[0, ..., 0].float()
    assert spread.sum().item() == pytest.approx(255, rel=0.05)
    assert (spread.sum(0) * place**2).sum() / spread.sum() == pytest.approx(1.0, rel=0.15)


def test_a_still_warp_is_one_of_all_frames_and_a_moving_one_changes(clip):
    standing = clip[:1].expand_as(clip)
    still = corruptions.still_warp(standing, 4, generator())
    assert all(torch.equal(frame, still[0]) for frame in still)
    moving = corruptions.moving_warp(standing, 4, generator())
    steps = [error(moving[k], moving[0]) for k in (1, 2, 4)]
    assert 0 < steps[0] < steps[1] < steps[2]
    assert error(moving[1], standing[1]) > 0.7 * error(moving[0], standing[0])  # as much of it between two fields


def test_jitter_shifts_a_frame_as_a_whole():
    ramp = torch.arange(0, 128, dtype=torch.uint8).view(1, 1, -1, 1).expand(6, 32, -1, 3)
    shifts = (corruptions.jitter(ramp, 3, generator()).float() - ramp.float())[:, :, 20:-20]
    assert shifts.mean((1, 2, 3)).abs().max() > 1
    assert shifts.std((1, 2, 3)).max() < 0.6  # rounding


def test_flicker_changes_each_frame_by_its_own_factor():
    grey = torch.full((6, 8, 8, 3), 100, dtype=torch.uint8)
    flickering = corruptions.flicker(grey, 0.2, generator())
    assert all(len(frame.unique()) == 1 for frame in flickering)
    assert len(flickering[:, 0, 0, 0].unique()) == 6


def test_repeats_show_the_frame_before_never_a_later_one():
    order = repeating_order(400, 0.3, generator())
    assert (order.diff() >= 0).all() and (order <= torch.arange(400)).all()
    assert (order.diff() == 0).float().mean().item() == pytest.approx(0.3, abs=0.07)
    assert repeating_order(9, 1, generator()).tolist() == [0] * 9


def test_frames_are_shuffled_within_their_window_and_none_is_lost():
    order = shuffled_order(10, 4, generator())
    assert sorted(order.tolist()) == list(range(10)) and order.tolist() != list(range(10))
    assert (order // 4 == torch.arange(10) // 4).all()


def test_halves_are_swapped_and_playback_turned():
    assert swapped_order(6).tolist() == [3, 4, 5, 0, 1, 2]
    assert corruptions.swapped_halves(counted(6), 1, generator())[:, 0, 0, 0].tolist() == [3, 4, 5, 0, 1, 2]
    assert corruptions.backward(counted(4), 1, generator())[:, 0, 0, 0].tolist() == [3, 2, 1, 0]


def test_a_chance_spoils_that_share_of_clips_the_same_ones_and_more():
    clip = counted(4)
    spoiled = [
        {seed for seed in range(200) if not torch.equal(corruptions.backward(clip, chance, generator(seed)), clip)}
        for chance in (0.25, 0.75)
    ]
    assert len(spoiled[0]) == pytest.approx(50, abs=20) and len(spoiled[1]) == pytest.approx(150, abs=20)
    assert spoiled[0] < spoiled[1]
