"""The paper's text-to-video stack at full size, without its weights: parameters, shapes, operations and memory.

    python benchmarks/full_size.py -o work/full_size.json

Expected: a table in about a minute of one core and less than 2 GB; no GPU, no download. Every network is built with the
true layout of Stable Diffusion 2.1 and its x4 upscaler and called once at its full size on fake tensors: bfloat16, the
8 key frames of 320x512 with guidance (2 predictions), 13 frames of interpolation, decoding of 8 frames, 8 frames of
1280x2048 through the upscaler. What is alive at once is counted, tensors alone (`plan.LiveBytes`); kernels and the
allocator add to it. A card holds a stage where weights and live bytes fit: resident with all networks on it, or
offloaded with one network at a time. Nothing of this has run on a GPU.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from latentloom.align import TemporalLayers, attach
from latentloom.layers.layer_set import LayerSet
from latentloom.plan import LiveBytes

CARDS = (24, 48, 80)  # GB
PAPER = 4.1e9  # parameters in all
KEYFRAMES, WINDOW, PORTION = 8, 13, 8
SD21 = {
    "sample_size": 64,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
X4 = {
    "in_channels": 7,
    "block_out_channels": (256, 512, 512, 1024),
    "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
    "up_block_types": (*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
    "only_cross_attention": (True, True, True, False),
    "cross_attention_dim": 1024,
    "attention_head_dim": 8,
    "use_linear_projection": True,
    "num_class_embeds": 1000,
}
VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4}
X4_VAE = {"block_out_channels": (128, 256, 512), "layers_per_block": 2, "latent_channels": 4}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One stage: what it holds and what one call takes."""

    stage: str
    parameters: int
    shape: tuple[int, ...]
    operations: float
    live: int

    @property
    def weights(self) -> int:
        return 2 * self.parameters


def parameters(*networks: nn.Module) -> int:
    return sum(parameter.numel() for network in networks for parameter in network.parameters())


def vae(config: dict) -> AutoencoderKL:
    levels = len(config["block_out_channels"])
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
    return AutoencoderKL(**config, **blocks, sample_size=512)


def measured(stage: str, count: int, call: Callable[[], torch.Tensor]) -> Row:
    with torch.no_grad(), LiveBytes() as live, FlopCounterMode(display=False) as counter:
        result = call()
    operations = float(counter.get_total_flops())
    row = Row(stage=stage, parameters=count, shape=tuple(result.shape), operations=operations, live=live.most)
    print(
        f"{stage:14} {count / 1e6:7.0f}M parameters, {row.shape!s:26} {operations / 1e12:7.1f} T operations,"
        f" {live.most / 1e9:6.2f} GB live",
        flush=True,
    )
    return row


def denoiser(stage: str, frames: int, layer_set: LayerSet) -> Row:
    unet = UNet2DConditionModel(**SD21)
    layers = TemporalLayers.for_network(unet, layer_set)
    count = parameters(unet, layers)
    video = attach(unet, layers)
    latents, text = torch.zeros(2, frames, 4, 40, 64), torch.zeros(2, 77, 1024)
    numbers = {name: torch.zeros(2) for name in layers.number_names}
    context = torch.zeros(2, frames, 5, 40, 64) if layer_set.context is not None else None
    step = torch.tensor(1)
    return measured(stage, count, lambda: video(latents, step, text, numbers=numbers, context=context).sample)


def upscaler() -> Row:
    unet = UNet2DConditionModel(**X4)
    layers = TemporalLayers.for_network(unet, LayerSet.text())
    count = parameters(unet, layers, vae(X4_VAE))
    video = attach(unet, layers)
    sample, text = torch.zeros(1, PORTION, 7, 320, 512), torch.zeros(1, 77, 1024)
    labels = torch.zeros(1, dtype=torch.long)
    return measured("upscaler", count, lambda: video(sample, torch.tensor(1), text, class_labels=labels).sample)


def decoding(stage: str, network: AutoencoderKL, shape: tuple[int, ...], count: int) -> Row:
    network.enable_slicing()
    latents = torch.zeros(*shape)
    return measured(stage, count, lambda: network.decode(latents).sample)


def fits(rows: list[Row]) -> dict[str, dict[str, str]]:
    """Card to stage to how it fits."""
    resident = sum(row.weights for row in rows)
    table: dict[str, dict[str, str]] = {}
    for card in CARDS:
        for row in rows:
            room = card * 1e9
            how = "resident" if resident + row.live <= room else "offloaded" if row.weights + row.live <= room else "no"
            table.setdefault(f"{card} GB", {})[row.stage] = how
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    output = parser.parse_args().output
    torch.set_default_dtype(torch.bfloat16)
    with FakeTensorMode(allow_non_fake_inputs=True):
        rows = [
            denoiser("key frames", KEYFRAMES, LayerSet.text()),
            denoiser("interpolation", WINDOW, LayerSet.text().with_context()),
            decoding("decoding", vae(VAE), (8, 4, 40, 64), parameters(vae(VAE))),
            upscaler(),
            decoding("upscaled", vae(X4_VAE), (1, 4, 320, 512), 0),
        ]
    total = sum(row.parameters for row in rows)
    print(f"parameters in all: {total / 1e9:.2f} billion (paper: {PAPER / 1e9:g}), {100 * (total / PAPER - 1):+.1f} %")
    table = fits(rows)
    for card, stages in table.items():
        print(f"{card}: {', '.join(f'{stage} {how}' for stage, how in stages.items())}")
    if output is not None:
        report = {"rows": [asdict(row) for row in rows], "parameters": total, "cards": table}
        output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
