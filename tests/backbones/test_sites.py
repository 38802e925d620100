"""Sites of stock networks: how many, in which order, with which facts."""

import pytest
import torch
from diffusers import UNet2DConditionModel, UNet3DConditionModel
from tests.small_networks import small_unet, small_vae

from latentloom.backbones.find import find_sites
from latentloom.backbones.unet import matmul_attention


def test_every_res_block_and_transformer_is_a_site_and_nothing_else():
    unet = small_unet()
    sites = {site.name: site.kind for site in find_sites(unet)}
    res_blocks = [name for name, module in unet.named_modules() if type(module).__name__ == "ResnetBlock2D"]
    blocks = [name for name, module in unet.named_modules() if type(module).__name__ == "BasicTransformerBlock"]
    assert sorted(sites) == sorted(res_blocks + blocks)
    assert {sites[name] for name in res_blocks} == {"res_block"}
    assert {sites[name] for name in blocks} == {"transformer"}


def test_sites_carry_the_facts_of_their_layer():
    sites = {site.name: site for site in find_sites(small_unet())}
    res_block = sites["down_blocks.1.resnets.0"]
    assert (res_block.channels, res_block.num_groups, res_block.time_width) == (40, 8, 64)
    transformer = sites["mid_block.attentions.0.transformer_blocks.0"]
    assert (transformer.channels, transformer.num_heads, transformer.context_width) == (40, 2, 24)


def test_a_deep_transformer_is_one_site_after_its_last_block():
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(32, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 3),  # as SDXL
        )
    names = [site.name for site in find_sites(unet) if site.kind == "transformer"]
    assert len(names) == 6
    assert all(name.endswith("transformer_blocks.2") for name in names)


def test_the_decoder_has_its_res_blocks_and_its_end_and_the_encoder_nothing():
    sites = find_sites(small_vae())
    assert [site.kind for site in sites] == ["res_block"] * 6 + ["output"]
    assert all(site.name.startswith("decoder.") for site in sites)
    assert sites[-1].channels == 3
    assert {site.time_width for site in sites} == {None}


def test_other_networks_are_refused_by_class():
    with torch.device("meta"):
        video_unet = UNet3DConditionModel(block_out_channels=(32, 64, 64, 64))
    with pytest.raises(ValueError, match="UNet3DConditionModel: expected diffusers' UNet2DConditionModel"):
        find_sites(video_unet)


def test_matmul_attention_gives_the_same_image_up_to_rounding():
    unet = small_unet()
    inputs = torch.randn(2, 4, 8, 8), torch.tensor(5), torch.randn(2, 5, 24)
    before = unet(*inputs).sample
    with matmul_attention(unet, True):
        after = unet(*inputs).sample
        assert {type(p).__name__ for p in unet.attn_processors.values()} == {"AttnProcessor"}
    with matmul_attention(unet, False):
        assert torch.equal(unet(*inputs).sample, before)
    assert {type(p).__name__ for p in unet.attn_processors.values()} == {"AttnProcessor2_0"}
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)
