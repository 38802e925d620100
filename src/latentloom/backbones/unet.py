"""Sites of ``UNet2DConditionModel``: Stable Diffusion 1 and 2, SDXL, the x4 upscaler, and small ones of that class.

After every ResBlock, and after the last block inside every spatial transformer, before its ``proj_out`` (paper, section
3.1; 22 + 16 sites on Stable Diffusion). Nothing after conv_in, conv_out, down- or upsampling.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from latentloom.backbones.site import Site


def unet_sites(unet: UNet2DConditionModel) -> list[Site]:
    """All sites, from the input to the output of the network."""
    last = len(unet.down_blocks) - 1  # every block but the last halves its output; up blocks run the other way
    stages = [(f"down_blocks.{i}", block, i) for i, block in enumerate(unet.down_blocks)]
    stages += [("mid_block", unet.mid_block, last)] if unet.mid_block is not None else []
    stages += [(f"up_blocks.{i}", block, last - i) for i, block in enumerate(unet.up_blocks)]
    return [site for name, block, level in stages for site in _block_sites(name, block, level)]


def block_sites(unet: UNet2DConditionModel) -> list[Site]:
    """Where AnimateDiff's motion modules act: behind each transformer, or each ResBlock where a block has none."""
    stages = [(f"down_blocks.{i}", block) for i, block in enumerate(unet.down_blocks)]
    stages += [("mid_block", unet.mid_block)] if unet.mid_block is not None else []
    stages += [(f"up_blocks.{i}", block) for i, block in enumerate(unet.up_blocks)]
    sites = []
    for name, block in stages:
        resnets, transformers = (cast(nn.ModuleList, getattr(block, kind, ())) for kind in ("resnets", "attentions"))
        kind = "attentions" if len(transformers) else "resnets"
        for index in range(len(transformers or resnets)):
            site = res_block_site(f"{name}.{kind}.{index}", cast(ResnetBlock2D, resnets[index]))
            sites.append(replace(site, kind="block", time_width=None))
    return sites


def _block_sites(name: str, block: nn.Module, level: int) -> Iterator[Site]:
    for i, resnet in enumerate(cast(nn.ModuleList, getattr(block, "resnets", ()))):
        yield replace(res_block_site(f"{name}.resnets.{i}", cast(ResnetBlock2D, resnet)), level=level)
    for i, transformer in enumerate(cast(nn.ModuleList, getattr(block, "attentions", ()))):
        if isinstance(transformer, Transformer2DModel):
            yield _transformer_site(f"{name}.attentions.{i}", transformer)


def res_block_site(name: str, resnet: ResnetBlock2D) -> Site:
    """The site after one ResBlock; also used by the decoder, whose ResBlocks have no time embedding."""
    time = resnet.time_emb_proj
    return Site(
        name=name,
        kind="res_block",
        channels=resnet.out_channels,
        num_groups=resnet.norm2.num_groups,
        time_width=None if time is None else time.in_features,
    )


def _transformer_site(name: str, transformer: Transformer2DModel) -> Site:
    last = len(transformer.transformer_blocks) - 1
    block = cast(BasicTransformerBlock, transformer.transformer_blocks[last])
    spatial, text = cast(Attention, block.attn1), cast(Attention | None, block.attn2)
    return Site(
        name=f"{name}.transformer_blocks.{last}",
        kind="transformer",
        channels=spatial.query_dim,
        num_heads=spatial.heads,
        context_width=None if text is None else text.cross_attention_dim,
    )


def text_projections(network: nn.Module) -> list[nn.Module]:
    """What makes keys and values of the text in every spatial cross-attention."""
    attentions = (x for x in network.modules() if isinstance(x, Attention) and x.is_cross_attention)
    return [cast(nn.Module, projection) for attention in attentions for projection in (attention.to_k, attention.to_v)]


def use_matmul_attention(unet: UNet2DConditionModel) -> None:
    """Let the spatial attention multiply plainly instead of through SDPA; undone by ``set_default_attn_processor``.

    For training in bf16 on a CPU, where the backward of SDPA costs twice what its products cost (a sixth of a training
    step; benchmarks/results). Nothing is won in fp32. Results change by rounding; scores of pixels^2 are kept.
    """
    unet.set_attn_processor(AttnProcessor())


@contextmanager
def matmul_attention(unet: UNet2DConditionModel, wanted: bool) -> Iterator[None]:
    """``use_matmul_attention`` while the block runs, where ``wanted``; the processors of before come back."""
    before = unet.attn_processors
    if wanted:
        use_matmul_attention(unet)
    try:
        yield
    finally:
        unet.set_attn_processor(before)
