"""The mix: alpha = sigmoid(w), forced alpha, strength."""

import pytest
import torch

from latentloom.layers.base import Clip
from latentloom.layers.mixing import Mixing


def test_alpha_starts_at_one_half():
    assert Mixing().alpha.item() == 0.5
    assert repr(Mixing()) == "Mixing(alpha=0.500)"


@pytest.mark.parametrize(
    ("alpha", "strength", "share"), [(None, 1.0, 0.25), (None, 0.5, 0.125), (0.0, 1.0, 1.0), (0.4, 0.5, 0.3)]
)
def test_the_temporal_share_is_strength_times_one_minus_alpha(alpha, strength, share):
    mixing = Mixing()
    torch.nn.init.constant_(mixing.logit, torch.tensor(0.75).logit().item())
    clip = Clip(num_frames=2, alpha=alpha, strength=strength)
    assert mixing.temporal_share(clip).item() == pytest.approx(share)


def test_only_alpha_one_or_strength_zero_is_the_image_model():
    assert Clip(num_frames=1, alpha=1.0).is_image
    assert Clip(num_frames=1, strength=0.0).is_image
    assert not Clip(num_frames=1).is_image
    assert not Clip(num_frames=1, alpha=0.999).is_image


@pytest.mark.parametrize("given", [{"alpha": 1.5}, {"alpha": -0.1}, {"strength": 2.0}, {"alpha": float("nan")}])
def test_shares_outside_zero_to_one_are_refused(given):
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        Clip(num_frames=1, **given)
