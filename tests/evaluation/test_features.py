"""Whether the features see the faults that video models make: on rendered drives, corrupted in known ways."""

import pytest
import torch
import torch.nn.functional as F

from latentloom.data.world import random_scene, render
from latentloom.evaluation.features import NUM_FEATURES, clip_features, frame_features
from latentloom.evaluation.frechet import frechet_distance_of

pytestmark = pytest.mark.filterwarnings("ignore:a Frechet distance of")


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    """Eight clips of eight 64x128 frames: four scenes, of each two parts."""
    whole = torch.stack([render(random_scene(seed), 16, 8, 64, 128).frames for seed in range(4)])
    return torch.cat([whole[:, :8], whole[:, 8:]])


def noisy(clips: torch.Tensor, sigma: float, *, still: bool = False) -> torch.Tensor:
    shape = (*clips.shape[:1], 1, *clips.shape[2:]) if still else clips.shape
    noise = sigma * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return (clips + noise).clamp(0, 255).to(torch.uint8)


def blurred(clips: torch.Tensor, size: int) -> torch.Tensor:
    images = clips.flatten(0, 1).movedim(-1, 1).float()
    images = F.avg_pool2d(images, size, 1, size // 2, count_include_pad=False)[..., :64, :128]
    return images.movedim(1, -1).to(torch.uint8).unflatten(0, clips.shape[:2])


def distance(fake: torch.Tensor, real: torch.Tensor) -> float:
    return frechet_distance_of(clip_features(fake), clip_features(real))


def test_a_feature_is_one_vector_per_clip_the_same_alone_and_in_a_batch(clips):
    features = clip_features(clips)
    assert features.shape == (8, NUM_FEATURES)
    torch.testing.assert_close(clip_features(clips[3:4]), features[3:4], atol=1e-5, rtol=1e-4)
    assert torch.equal(clip_features(clips), features)
    assert frame_features(clips[0]).shape == (8, NUM_FEATURES)


def test_larger_frames_are_averaged_down_first(clips):
    larger = clips[:1].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(clip_features(larger), clip_features(clips[:1]), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("spoil", [lambda c, k: noisy(c, 12 * k), lambda c, k: blurred(c, 2 * k + 1)])
def test_more_of_a_corruption_is_farther_away(clips, spoil):
    distances = [distance(spoil(clips, strength), clips) for strength in (1, 2, 3)]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_flicker_is_farther_than_noise_that_stands_still(clips):
    assert distance(noisy(clips, 25), clips) > 1.3 * distance(noisy(clips, 25, still=True), clips)


def test_a_frozen_clip_and_frames_in_wrong_order_are_farther_than_the_same_pictures_in_motion(clips):
    backward = distance(clips.flip(1), clips)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    assert distance(clips[:, order], clips) > 2 * backward
    assert distance(clips[:, :1].expand_as(clips), clips) > 10 * backward


def test_no_clip_has_no_features():
    with pytest.raises(ValueError, match="no clip"):
        clip_features(torch.zeros(0, 4, 64, 128, 3, dtype=torch.uint8))
