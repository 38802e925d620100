"""SVD's temporal layers are the paper's: on copied weights ours compute what diffusers' network does."""

from collections.abc import Iterator

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from tests.stable_diffusion import stable_diffusion
from torch import nn

from latentloom.align import attach
from latentloom.models.svd import image_network, svd_layers, temporal_tensors


@pytest.fixture(scope="module")
def svd() -> UNetSpatioTemporalConditionModel:
    """Two levels with attention, one without; every parameter random, also those that start at zero."""
    torch.manual_seed(0)
    unet = UNetSpatioTemporalConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=4,
        block_out_channels=(32, 64, 64),
        layers_per_block=2,
        down_block_types=(
            "CrossAttnDownBlockSpatioTemporal",
            "CrossAttnDownBlockSpatioTemporal",
            "DownBlockSpatioTemporal",
        ),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        cross_attention_dim=24,
        num_attention_heads=(2, 4, 4),
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
    ).eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return unet


@pytest.fixture(params=["1e-5", "its own"])
def epsilon(request, svd) -> Iterator[str]:
    """diffusers builds SVD's first res blocks with an epsilon of 1e-6, all others with Stable Diffusion's 1e-5."""
    norms = [x for name, x in svd.named_modules() if isinstance(x, nn.GroupNorm) and "res_block" in name]
    other = [norm for norm in norms if norm.eps == 1e-6]
    assert other
    for norm in other:
        norm.eps = 1e-5 if request.param == "1e-5" else 1e-6
    yield request.param
    for norm in other:
        norm.eps = 1e-6


@torch.no_grad()
def test_on_copied_weights_ours_compute_what_diffusers_does(svd, epsilon):
    network = image_network(svd)
    video = attach(network, svd_layers(svd.state_dict(), network))
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(2, 5, 8, 8, 8, generator=generator)
    image = torch.randn(2, 1, 24, generator=generator)
    numbers = torch.tensor([[6.0, 127.0, 0.02], [24.0, 30.0, 0.1]])
    labels = svd.add_time_proj(numbers.flatten()).view(2, -1)
    theirs = svd(sample, 300, image, added_time_ids=numbers).sample
    ours = video(sample, 300, image, class_labels=labels).sample
    close = 1e-5 if epsilon == "1e-5" else 1e-4
    assert (ours - theirs).abs().max() <= close * theirs.abs().max()
    still = video(sample, 300, image, class_labels=labels, alpha=1.0).sample
    assert (still - theirs).abs().max() > 1e-2 * theirs.abs().max(), "the temporal layers had nothing to do"


def test_every_tensor_of_svd_goes_to_one_of_the_two(svd):
    network = image_network(svd)
    layers = svd_layers(svd.state_dict(), network)
    numbers = (sum(x.numel() for x in part.state_dict().values()) for part in (network, layers))
    assert sum(numbers) == sum(x.numel() for x in svd.state_dict().values())


def test_its_layers_fit_other_networks_of_the_same_sites_and_no_others(svd):
    other = image_network(svd)
    other.load_state_dict({name: torch.randn_like(x) for name, x in other.state_dict().items()})
    assert (
        svd_layers(svd.state_dict(), other).fingerprint == svd_layers(svd.state_dict(), image_network(svd)).fingerprint
    )
    with pytest.raises(ValueError, match=r"at the site .*attentions.* cross_attention.key_value.weight is .*32.* here"):
        svd_layers(svd.state_dict(), stable_diffusion("1.5").unet)
    with pytest.raises(KeyError):
        temporal_tensors(svd.state_dict(), "down_blocks.7.resnets.0")
