"""Whether the shipped network is what it says, and sees faults of time and looks on rendered drives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentloom.data.world import random_scene, render
from latentloom.evaluation import corruptions, video_network
from latentloom.evaluation.frechet import frechet_distance_of
from latentloom.evaluation.kernel import squared_mmd
from latentloom.evaluation.video_network import (
    MIN_FRAMES,
    NUM_FEATURES,
    SHA256,
    VideoNetwork,
    load_video_network,
    prepared,
    video_features,
)

pytestmark = pytest.mark.filterwarnings("ignore:a Frechet distance of")
SEED = 70_000  # scenes that nothing was trained on


@pytest.fixture(scope="module")
def clips() -> Tensor:
    """Ten clips of eight frames: five scenes, of each two parts."""
    whole = torch.stack([render(random_scene(SEED + number), 16, 6.5, 64, 128).frames for number in range(5)])
    return torch.cat([whole[:, :8], whole[:, 8:]])


@pytest.fixture(scope="module")
def clean(clips) -> Tensor:
    return video_features(clips)


def spoiled(clips: Tensor, corrupt: Callable, strength: float) -> Tensor:
    generators = [torch.Generator().manual_seed(number) for number in range(len(clips))]
    return torch.stack([corrupt(clip, strength, generators[k]) for k, clip in enumerate(clips)])


def test_a_feature_is_one_vector_per_clip_the_same_alone_and_in_any_batch(clips, clean):
    assert clean.shape == (10, NUM_FEATURES) and clean.dtype == torch.float32
    torch.testing.assert_close(video_features(clips[5:6]), clean[5:6], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(video_features(clips, batch_size=3), clean, rtol=1e-4, atol=1e-4)


def test_the_distance_is_the_same_in_any_order_and_batch(clips, clean):
    other = video_features(spoiled(clips, corruptions.noise, 16))
    distance = frechet_distance_of(other, clean)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    assert frechet_distance_of(other[order], clean.flip(0)) == distance
    shuffled = spoiled(clips, corruptions.noise, 16)[order]
    assert frechet_distance_of(video_features(shuffled, batch_size=5), clean) == pytest.approx(distance, rel=1e-4)


@pytest.mark.parametrize(("num_frames", "size"), [(MIN_FRAMES, (64, 128)), (7, (90, 50)), (16, (32, 64))])
def test_clips_of_any_size_and_length_have_features(num_frames, size):
    clips = torch.randint(256, (2, num_frames, *size, 3), dtype=torch.uint8)
    features = video_features(clips)
    assert features.shape == (2, NUM_FEATURES) and bool(features.isfinite().all())


def test_larger_frames_are_averaged_down_first(clips, clean):
    larger = clips[:2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(video_features(larger), clean[:2], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("corrupt", "strengths"),
    [
        (corruptions.shuffle, (2, 4, 8)),
        (corruptions.repeats, (0.25, 0.5, 1)),
        (corruptions.swapped_halves, (0.4, 0.7, 1)),
        (corruptions.backward, (0.4, 0.7, 1)),
        (corruptions.noise, (8, 16, 32)),
        (corruptions.blur, (1, 2, 4)),
        (corruptions.moving_warp, (1, 2, 4)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_more_of_a_fault_is_farther_away_from_the_same_clips(clips, clean, corrupt, strengths):
    distances = [frechet_distance_of(video_features(spoiled(clips, corrupt, s)), clean) for s in strengths]
    between_parts = frechet_distance_of(clean[:5], clean[5:])  # above zero alone, rounding would do
    assert 0 < distances[0] < distances[1] < distances[2] > 0.3 * between_parts


def test_it_learned_to_tell_other_clips_played_backward_which_no_untrained_network_does(clips):
    torch.manual_seed(0)
    backward = spoiled(clips, corruptions.backward, 1.0)
    seen = {}
    for name, network in (("trained", load_video_network()), ("untrained", VideoNetwork().eval())):
        with torch.no_grad():
            clean, turned = network(prepared(clips)), network(prepared(backward))
        deals = [torch.randperm(10, generator=torch.Generator().manual_seed(deal)).split(5) for deal in range(20)]
        chance = max(squared_mmd(clean[first], clean[second]) for first, second in deals)
        seen[name] = sum(squared_mmd(clean[first], turned[second]) > chance for first, second in deals)
    assert seen == {"trained": 20, "untrained": 0}


def test_features_of_training_clips_are_about_in_units_of_their_deviation(clean):
    assert 0.2 < clean.std(0).median() < 2
    assert clean.mean(0).abs().median() < 1.5


def test_weights_that_are_not_the_shipped_ones_are_refused(monkeypatch):
    monkeypatch.setattr(video_network, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match=f"{SHA256}, expected 0000"):
        load_video_network.__wrapped__()


def test_the_network_is_small_and_does_not_learn_when_it_judges():
    network = load_video_network()
    assert sum(weight.numel() for weight in network.parameters()) < 2_000_000
    assert not network.training and not any(weight.requires_grad for weight in network.parameters())


def test_a_still_clip_has_no_edge_in_the_first_layer():
    network = VideoNetwork()
    still = torch.rand(1, 1, 3, 64, 128).expand(1, 6, -1, -1, -1)
    seen = list[Tensor]()
    network.stem.register_forward_hook(lambda module, given, out: seen.append(out))
    network(still)
    torch.testing.assert_close(seen[0], seen[0][:1].expand_as(seen[0]))


def test_no_clip_and_too_short_ones_are_refused():
    with pytest.raises(ValueError, match="no clip"):
        video_features(torch.zeros(0, 8, 64, 128, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="have 3 frames"):
        video_features(torch.zeros(1, 3, 64, 128, 3, dtype=torch.uint8))
