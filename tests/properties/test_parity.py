"""Parameter counts the paper states (section 4, appendix): 656M on Stable Diffusion 2.1, 649M on 1.4."""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from latentloom.align import TemporalLayers
from latentloom.layers.layer_set import LayerSet

STABLE_DIFFUSION_2_1 = {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20)}
STABLE_DIFFUSION_1_4 = {"cross_attention_dim": 768, "attention_head_dim": 8}
X4_UPSCALER = {
    "in_channels": 7,
    "block_out_channels": (256, 512, 512, 1024),
    "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
    "up_block_types": (*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
    "only_cross_attention": (True, True, True, False),
    "cross_attention_dim": 1024,
    "num_class_embeds": 1000,
}
VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
X4_VAE = {"block_out_channels": (128, 256, 512), "layers_per_block": 2}


@pytest.mark.parametrize(
    ("config", "millions"), [(STABLE_DIFFUSION_2_1, 656.08), (STABLE_DIFFUSION_1_4, 649.69), (X4_UPSCALER, 437.85)]
)
def test_the_text_set_has_the_papers_parameters_on_22_and_16_sites(config, millions):
    with torch.device("meta"):
        layers = TemporalLayers.for_network(UNet2DConditionModel(**config), LayerSet.text())
    kinds = [site.kind for site in layers.sites.values()]
    assert (kinds.count("res_block"), kinds.count("transformer")) == (22, 16)
    assert round(sum(parameter.numel() for parameter in layers.parameters()) / 1e6, 2) == millions


def test_the_whole_text_to_video_stack_has_the_papers_parameters():
    """Autoencoder, key frames, interpolation with an image network of its own, upscaler with its decoder."""

    def size(*modules: nn.Module) -> int:
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    def video(config: dict, layer_set: LayerSet) -> int:
        unet = UNet2DConditionModel(**config)
        return size(unet, TemporalLayers.for_network(unet, layer_set))

    def autoencoder(config: dict) -> int:
        blocks = {"down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",)}
        levels = len(config["block_out_channels"])
        return size(
            AutoencoderKL(**config, latent_channels=4, **{name: kind * levels for name, kind in blocks.items()})
        )

    with torch.device("meta"):
        parts = [
            autoencoder(VAE),
            video(STABLE_DIFFUSION_2_1, LayerSet.text()),
            video(STABLE_DIFFUSION_2_1, LayerSet.text().with_context()),
            video(X4_UPSCALER, LayerSet.text()) + autoencoder(X4_VAE),
        ]
    paper = [84e6, 1516e6, 1509e6, 977e6]
    assert parts == pytest.approx(paper, rel=0.02)
    assert sum(parts) == pytest.approx(4.1e9, rel=0.01)


def test_given_frames_cost_what_the_paper_leaves_for_them():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**STABLE_DIFFUSION_2_1)
        plain, wider = (
            sum(
                p.numel() for name, p in TemporalLayers.for_network(unet, s).named_parameters() if "numbers" not in name
            )
            for s in (LayerSet.text(), LayerSet.text().with_context())
        )
    assert 0 < wider - plain < 0.8e6


def test_the_driving_set_fits_a_small_network():
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(64, 128, 192),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
        )
        sizes = [
            sum(p.numel() for p in TemporalLayers.for_network(unet, LayerSet.driving(feed_forward=n)).parameters())
            for n in (0, 1, 4)
        ]
    assert [round(size / 1e6, 1) for size in sizes] == [3.1, 3.7, 5.5]
