"""AnimateDiff's motion modules as a layer type: on copied weights ours compute what diffusers' network does."""

from collections.abc import Iterator

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from tests.stable_diffusion import stable_diffusion

from latentloom.align import TemporalLayers, attach
from latentloom.layers.layer_set import LayerSet
from latentloom.models.animatediff import motion_layers


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return stable_diffusion("1.5").unet.eval()


def adapter_for(unet: UNet2DConditionModel, *, middle: bool) -> MotionAdapter:
    torch.manual_seed(1)
    adapter = MotionAdapter(
        block_out_channels=tuple(unet.config["block_out_channels"]),
        motion_layers_per_block=2,
        motion_num_attention_heads=8,
        motion_norm_num_groups=32,
        use_motion_mid_block=middle,
    )
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return adapter.eval()


def inputs() -> tuple[torch.Tensor, int, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 5, 4, 8, 8, generator=generator), 300, torch.randn(2, 7, 32, generator=generator)


def block_names(middle: bool) -> Iterator[str]:
    """Behind each transformer, or each ResBlock where a block has none: 8 down, 1 in the middle, 12 up."""
    for i in range(4):
        yield from (f"down_blocks.{i}.{'resnets' if i == 3 else 'attentions'}.{j}" for j in range(2))
    yield from ["mid_block.attentions.0"] * middle
    for i in range(4):
        yield from (f"up_blocks.{i}.{'resnets' if i == 0 else 'attentions'}.{j}" for j in range(3))


@torch.no_grad()
@pytest.mark.parametrize("middle", [True, False])
def test_on_copied_weights_ours_compute_what_diffusers_does(unet, middle):
    adapter = adapter_for(unet, middle=middle)
    theirs = UNetMotionModel.from_unet2d(unet, adapter).eval()
    sample, step, text = inputs()
    expected = theirs(sample.transpose(1, 2), step, text.repeat_interleave(5, 0)).sample.transpose(1, 2)
    still = unet(sample.flatten(0, 1), step, text.repeat_interleave(5, 0)).sample.view_as(expected)
    video = attach(unet, motion_layers(adapter.state_dict(), unet))
    try:
        ours = video(sample, step, text).sample
        assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()
        assert torch.equal(video(sample, step, text, alpha=1.0).sample, still), "alpha 1 is the image model"
        assert not torch.allclose(ours, still, atol=1e-2)
        assert [row.site for row in video.table()] == list(block_names(middle)) and video.table()[0].alpha == 0
    finally:
        video.detach()


def test_every_tensor_of_the_adapter_has_a_place(unet):
    adapter = adapter_for(unet, middle=True)
    layers = motion_layers(adapter.state_dict(), unet)
    theirs = {name: x for name, x in adapter.state_dict().items() if "pos_embed" not in name}
    assert sum(x.numel() for x in layers.state_dict().values()) == sum(x.numel() for x in theirs.values())


def test_new_modules_change_nothing_and_saved_ones_load(unet, tmp_path):
    layers = TemporalLayers.for_network(unet, LayerSet.motion_modules())
    sample, step, text = inputs()
    video = attach(unet, layers)
    with torch.no_grad():
        assert torch.equal(video(sample, step, text).sample, video(sample, step, text, alpha=1.0).sample)
    video.detach()
    filled = motion_layers(adapter_for(unet, middle=False).state_dict(), unet)
    filled.save_pretrained(tmp_path / "layers")
    again = TemporalLayers.from_pretrained(tmp_path / "layers")
    assert again.fingerprint == filled.fingerprint != layers.fingerprint
    assert all(torch.equal(x, again.state_dict()[name]) for name, x in filled.state_dict().items())


def test_an_adapter_of_another_width_is_refused_at_its_first_site(unet):
    other = MotionAdapter(block_out_channels=(32, 32, 64, 64), motion_num_attention_heads=8)
    with pytest.raises(ValueError, match=r"at the site down_blocks.1.attentions.0 .* in this adapter"):
        motion_layers(other.state_dict(), unet)
    fewer = {name: x for name, x in other.state_dict().items() if not name.startswith("down_blocks.0.")}
    with pytest.raises(ValueError, match=r"no motion module for the site down_blocks.0.attentions.0"):
        motion_layers(fewer, unet)


def test_gradients_reach_every_module(unet):
    layers = TemporalLayers.for_network(unet, LayerSet.motion_modules())
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    sample, step, text = inputs()
    video = attach(unet, layers)
    video(sample, step, text).sample.square().mean().backward()
    video.detach()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in layers.parameters())
