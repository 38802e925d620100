"""Stable Video Diffusion taken apart: its temporal layers on our sites, and the image network beneath them.

SVD was made of Stable Diffusion 2.1 by the paper's authors with the paper's layers: each of its tensors is one of ours
under another name (``temporal_tensors`` is the table). So its temporal layers serve any network with the same sites.
What differs is the epsilon of a few norms, 1e-6 where Stable Diffusion has 1e-5: 2e-5 of the output on random weights.
Not here: its image encoder and decoder.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from torch import Tensor, nn

from latentloom.align import TemporalLayers
from latentloom.layers.layer_set import LayerSet
from latentloom.models.imported import fill

_RES_BLOCK = {"norm1": "norm1", "conv1": "conv1", "time": "time_emb_proj", "norm2": "norm2", "conv2": "conv2"}
_FEED_FORWARD = {"feed_forward_in": ("norm_in", "ff_in"), "feed_forward_out": ("norm3", "ff")}
_TEMPORAL = re.compile(r"\.(temporal_res_block|temporal_transformer_blocks|time_mixer|time_pos_embed)\.")


def svd_layers(tensors: Mapping[str, Tensor], network: nn.Module) -> TemporalLayers:
    """SVD's temporal layers for ``network``, a UNet with its sites (Stable Diffusion 2.1, or ``image_network``).

    Args:
        tensors: the state dict of ``UNetSpatioTemporalConditionModel``, or of its file.

    Raises:
        ValueError: names the first site of ``network`` for which SVD has no layer, or one of another shape.
    """
    layers = TemporalLayers.for_network(network, LayerSet.text())
    return fill(layers, lambda site: temporal_tensors(tensors, site), "these weights", "temporal layer")


def temporal_tensors(tensors: Mapping[str, Tensor], site: str) -> dict[str, Tensor]:
    """SVD's tensors at one site under our names, without the site's. Raises ``KeyError`` where there are none."""
    block = re.fullmatch(r"(.+)\.transformer_blocks\.(\d+)", site)
    if block is None:
        return _res_block(tensors, site)
    transformer, last = block.groups()
    return _transformer(tensors, transformer, f"{transformer}.temporal_transformer_blocks.{last}")


def _res_block(tensors: Mapping[str, Tensor], site: str) -> dict[str, Tensor]:
    made = {"mixing.logit": tensors[f"{site}.time_mixer.mix_factor"]}
    for ours, theirs in _RES_BLOCK.items():
        weight = tensors[f"{site}.temporal_res_block.{theirs}.weight"]
        made[f"{ours}.weight"] = weight.squeeze(-1) if weight.ndim == 5 else weight  # (3, 1, 1) over pixels as an axis
        made[f"{ours}.bias"] = tensors[f"{site}.temporal_res_block.{theirs}.bias"]
    return made


def _transformer(tensors: Mapping[str, Tensor], transformer: str, block: str) -> dict[str, Tensor]:
    made = {"mixing.logit": tensors[f"{transformer}.time_mixer.mix_factor"]}

    def take(ours: str, theirs: str, *, bias: bool = True) -> None:
        for kind in ("weight", "bias") if bias else ("weight",):
            made[f"{ours}.{kind}"] = tensors[f"{theirs}.{kind}"]

    def join(ours: str, attention: str, parts: str) -> None:
        made[f"{ours}.weight"] = torch.cat([tensors[f"{block}.{attention}.to_{part}.weight"] for part in parts])

    for number in (1, 2):
        take(f"position.linear{number}", f"{transformer}.time_pos_embed.linear_{number}")
    for ours, (norm, forward) in _FEED_FORWARD.items():
        take(f"{ours}.norm", f"{block}.{norm}")
        take(f"{ours}.proj", f"{block}.{forward}.net.0.proj")
        take(f"{ours}.out", f"{block}.{forward}.net.2")
    for number, ours in ((1, "self_attention"), (2, "cross_attention")):
        take(f"{ours}.norm", f"{block}.norm{number}")
        take(f"{ours}.out", f"{block}.attn{number}.to_out.0")
    join("self_attention.qkv", "attn1", "qkv")
    take("cross_attention.query", f"{block}.attn2.to_q", bias=False)
    join("cross_attention.key_value", "attn2", "kv")
    return made


def image_network(svd: UNetSpatioTemporalConditionModel) -> UNet2DConditionModel:
    """The stock UNet beneath SVD's temporal layers, with its weights.

    What SVD embeds beside the diffusion time (frame rate, motion, noise) enters as ``class_labels``: the sinusoids
    ``svd.add_time_proj`` of the three numbers, ``b 3 d`` flattened to ``b 3d``.

    Raises:
        ValueError: several transformer blocks at a site: each would have a temporal one behind it.
    """
    config = cast(Any, svd.config)
    depth = config["transformer_layers_per_block"]
    if set(depth if isinstance(depth, list | tuple) else [depth]) != {1}:
        raise ValueError(f"transformer_layers_per_block is {depth}; expected 1, as in Stable Video Diffusion")
    network = UNet2DConditionModel(
        sample_size=config["sample_size"],
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        block_out_channels=config["block_out_channels"],
        layers_per_block=config["layers_per_block"],
        down_block_types=tuple(name.replace("SpatioTemporal", "2D") for name in config["down_block_types"]),
        up_block_types=tuple(name.replace("SpatioTemporal", "2D") for name in config["up_block_types"]),
        cross_attention_dim=config["cross_attention_dim"],
        attention_head_dim=config["num_attention_heads"],  # diffusers' name; it is the number of heads
        use_linear_projection=True,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=config["projection_class_embeddings_input_dim"],
    )
    tensors = {
        name.replace(".spatial_res_block.", ".").replace("add_embedding.", "class_embedding."): x
        for name, x in svd.state_dict().items()
        if not _TEMPORAL.search(name)
    }
    network.load_state_dict(tensors, strict=True)
    return network.eval()
