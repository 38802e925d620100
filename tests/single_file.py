"""Stable Diffusion 1.x in one file: diffusers' names turned back into those of the latent-diffusion code."""

import re

from diffusers import StableDiffusionPipeline
from torch import Tensor

RES_BLOCK = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
MIDDLE = {"resnets.0": "middle_block.0", "attentions.0": "middle_block.1", "resnets.1": "middle_block.2"}
VAE_NAMES = {
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def single_file(pipeline: StableDiffusionPipeline) -> dict[str, Tensor]:
    """The whole checkpoint of a pipeline with two (encoder) and three (decoder) blocks a level."""
    tensors = {f"model.diffusion_model.{unet_name(name)}": x for name, x in pipeline.unet.state_dict().items()}
    for name, x in pipeline.vae.state_dict().items():
        linear = "attentions" in name and name.endswith("weight") and x.ndim == 2
        tensors[f"first_stage_model.{vae_name(name)}"] = x[:, :, None, None] if linear else x
    text = pipeline.text_encoder.state_dict()
    prefix = "cond_stage_model.transformer."
    tensors |= {
        prefix + (name if name.startswith("text_model.") else f"text_model.{name}"): x for name, x in text.items()
    }
    return {name: x.contiguous() for name, x in tensors.items()}


def unet_name(name: str) -> str:
    for theirs, ldm in ENDS.items():
        if name.startswith(f"{theirs}."):
            return ldm + name.removeprefix(theirs)
    if name.startswith("mid_block."):
        kind, index, rest = re.fullmatch(r"mid_block\.(\w+)\.(\d)\.(.+)", name).groups()
        return f"{MIDDLE[f'{kind}.{index}']}.{_within(kind, rest)}"
    side, level, kind, index, rest = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", name).groups()
    level, index = int(level), int(index)
    if kind == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}.{rest}"
    block = f"input_blocks.{3 * level + index + 1}" if side == "down" else f"output_blocks.{3 * level + index}"
    return f"{block}.{int(kind == 'attentions')}.{_within(kind, rest)}"


def _within(kind: str, rest: str) -> str:
    first, dot, later = rest.partition(".")
    return RES_BLOCK[first] + dot + later if kind == "resnets" else rest


def vae_name(name: str) -> str:
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", name)
    for theirs, ldm in VAE_NAMES.items():
        name = name.replace(theirs, ldm)
    return name
