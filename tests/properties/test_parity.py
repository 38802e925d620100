"""Parameter counts the paper states (section 4, appendix): 656M on Stable Diffusion 2.1, 649M on 1.4."""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from latentloom.align import TemporalLayers
from latentloom.layers.layer_set import LayerSet
from latentloom.recipes import text


@pytest.mark.parametrize(
    ("config", "millions"),
    [(text.stable_diffusion_2_1(), 656.08), (text.stable_diffusion_1_4(), 649.69), (text.upscaler(), 437.85)],
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

    with torch.device("meta"):
        parts = [
            size(AutoencoderKL(**text.autoencoder())),
            video(text.stable_diffusion_2_1(), LayerSet.text()),
            video(text.stable_diffusion_2_1(), LayerSet.text().with_context()),
            video(text.upscaler(), LayerSet.text()) + size(AutoencoderKL(**text.upscaler_autoencoder())),
        ]
    paper = [84e6, 1516e6, 1509e6, 977e6]
    assert parts == pytest.approx(paper, rel=0.02)
    assert sum(parts) == pytest.approx(4.1e9, rel=0.01)


def test_given_frames_cost_what_the_paper_leaves_for_them():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**text.stable_diffusion_2_1())
        plain, wider = (
            sum(
                p.numel() for name, p in TemporalLayers.for_network(unet, s).named_parameters() if "numbers" not in name
            )
            for s in (LayerSet.text(), LayerSet.text().with_context())
        )
    assert 0 < wider - plain < 0.8e6


def test_the_full_size_layouts_are_those_of_stable_diffusion():
    """Parameters of the image networks, and the sizes that their autoencoders make of each other."""
    with torch.device("meta"):
        unets = [UNet2DConditionModel(**c) for c in (text.stable_diffusion_1_4(), text.stable_diffusion_2_1())]
    assert [sum(p.numel() for p in unet.parameters()) for unet in unets] == [859_520_964, 865_910_724]
    small, large = (tuple(side // f for side in size) for f, size in ((8, text.SIZE), (32, text.UPSAMPLED_SIZE)))
    assert small == large == text.LATENT_SIZE
    stages = text.video().stages(from_frame=False)
    assert [(stage.window.num_frames, stage.num_windows) for stage in stages] == [(8, 1), (13, 3), (13, 10)]


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
