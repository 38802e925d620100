"""The paper's text-to-video stack at full size, without its weights: parameters, shapes, operations and memory.

    python benchmarks/full_size.py -o work/full_size.json

Expected: a table in about a minute of one core and less than 2 GB; no GPU, no download. Every network is built with the
true layout of Stable Diffusion 2.1 and its x4 upscaler and called once at its full size on fake tensors: bfloat16, the
8 key frames of 320x512 with guidance (2 predictions), 13 frames of interpolation, decoding of 8 frames, 8 frames of
1280x2048 through the upscaler. What is alive at once is counted, tensors alone (`operations.LiveBytes`); kernels and
the allocator add to it. A card holds a stage where weights and live bytes fit: resident with all networks on it, or
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

from latentloom.align import TemporalLayers, attach
from latentloom.layers.layer_set import LayerSet
from latentloom.models.autoencoder import decode_images
from latentloom.operations import operations_and_memory
from latentloom.recipes import text

CARDS = (24, 48, 80)  # GB
PAPER = 4.1e9  # parameters in all
WINDOW = text.video().interpolated.num_frames


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


def measured(stage: str, count: int, call: Callable[[], torch.Tensor]) -> Row:
    made = list[torch.Tensor]()
    with torch.no_grad():
        operations, live = operations_and_memory(lambda: made.append(call()))
    row = Row(stage=stage, parameters=count, shape=tuple(made[0].shape), operations=operations, live=live)
    print(
        f"{stage:14} {count / 1e6:7.0f}M parameters, {row.shape!s:26} {operations / 1e12:7.1f} T operations,"
        f" {live / 1e9:6.2f} GB live",
        flush=True,
    )
    return row


def denoiser(stage: str, frames: int, layer_set: LayerSet) -> Row:
    unet = UNet2DConditionModel(**text.stable_diffusion_2_1())
    layers = TemporalLayers.for_network(unet, layer_set)
    count = parameters(unet, layers)
    video = attach(unet, layers)
    latents, words = torch.zeros(2, frames, 4, *text.LATENT_SIZE), torch.zeros(2, text.TEXT_TOKENS, 1024)
    numbers = {name: torch.zeros(2) for name in layers.number_names}
    context = torch.zeros(2, frames, 5, *text.LATENT_SIZE) if layer_set.context is not None else None
    step = torch.tensor(1)
    return measured(stage, count, lambda: video(latents, step, words, numbers=numbers, context=context).sample)


def upscaler() -> Row:
    unet = UNet2DConditionModel(**text.upscaler())
    layers = TemporalLayers.for_network(unet, LayerSet.text())
    count = parameters(unet, layers, AutoencoderKL(**text.upscaler_autoencoder()))
    video = attach(unet, layers)
    sample = torch.zeros(1, text.UPSAMPLED_AT_ONCE, 7, *text.SIZE)
    words = torch.zeros(1, text.TEXT_TOKENS, 1024)
    labels = torch.zeros(1, dtype=torch.long)
    return measured("upscaler", count, lambda: video(sample, torch.tensor(1), words, class_labels=labels).sample)


def decoding(stage: str, network: AutoencoderKL, shape: tuple[int, ...], count: int) -> Row:
    network.enable_slicing()
    latents = torch.zeros(*shape)
    return measured(stage, count, lambda: decode_images(network, latents))


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
        vae = AutoencoderKL(**text.autoencoder())
        rows = [
            denoiser("key frames", text.KEYFRAMES, LayerSet.text()),
            denoiser("interpolation", WINDOW, LayerSet.text().with_context()),
            decoding("decoding", vae, (text.UPSAMPLED_AT_ONCE, 4, *text.LATENT_SIZE), parameters(vae)),
            upscaler(),
            decoding("upscaled", AutoencoderKL(**text.upscaler_autoencoder()), (1, 4, *text.SIZE), 0),
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
