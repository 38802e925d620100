"""AnimateDiff's motion modules on our sites: the table of names, tested against diffusers on copied weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from latentloom.align import TemporalLayers
from latentloom.layers.layer_set import LayerSet
from latentloom.models.imported import fill


def motion_layers(tensors: Mapping[str, Tensor], network: nn.Module) -> TemporalLayers:
    """The motion modules of an adapter for ``network``, a UNet with its sites (Stable Diffusion 1.5).

    Args:
        tensors: the state dict of diffusers' ``MotionAdapter``, or of its file.

    Raises:
        ValueError: names the first site of ``network`` for which there is no module, or one of another shape.
    """
    middle = "mid_block.motion_modules.0.norm.weight" in tensors
    layers = TemporalLayers.for_network(network, LayerSet.motion_modules(middle=middle))
    return fill(layers, lambda site: motion_tensors(tensors, site), "this adapter", "motion module")


def motion_tensors(tensors: Mapping[str, Tensor], site: str) -> dict[str, Tensor]:
    """An adapter's tensors at one site, under our names. Raises ``KeyError`` where one is missing."""
    block, _, index = site.rsplit(".", 2)
    prefix = f"{block}.motion_modules.{index}"
    made = {
        f"{name}.{kind}": tensors[f"{prefix}.{name}.{kind}"]
        for name in ("norm", "proj_in", "proj_out")
        for kind in ("weight", "bias")
    }
    inner = f"{prefix}.transformer_blocks.0"
    for number in (1, 2):
        ours, attention = f"blocks.0.attention{number}", f"{inner}.attn{number}"
        made[f"{ours}.qkv.weight"] = torch.cat([tensors[f"{attention}.to_{part}.weight"] for part in "qkv"])
        for kind in ("weight", "bias"):
            made[f"{ours}.norm.{kind}"] = tensors[f"{inner}.norm{number}.{kind}"]
            made[f"{ours}.out.{kind}"] = tensors[f"{attention}.to_out.0.{kind}"]
    for ours, theirs in (("norm", "norm3"), ("proj", "ff.net.0.proj"), ("out", "ff.net.2")):
        for kind in ("weight", "bias"):
            made[f"blocks.0.feed_forward.{ours}.{kind}"] = tensors[f"{inner}.{theirs}.{kind}"]
    return made
