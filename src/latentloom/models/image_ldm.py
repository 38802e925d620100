"""The image latent diffusion model as one value: the five stock parts that a diffusers folder holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class DenoiserSpec:
    """The shape of an image UNet: one entry per level, finest first.

    ``attention`` says at which levels spatial transformers stand. At the finest one they cost a fifth of a training
    step at 16x32 latents and were worth 2.5 times as many steps (docs/log.md).
    """

    widths: tuple[int, ...]
    attention: tuple[bool, ...]
    layers_per_block: int = 1
    num_heads: int = 4
    norm_groups: int = 16

    def build(self, latent_size: tuple[int, int], latent_channels: int, text_width: int) -> UNet2DConditionModel:
        """A freshly initialised UNet for latents of ``latent_size`` (height, width).

        Raises:
            ValueError: ``attention`` does not have one entry per level.
        """
        if len(self.attention) != len(self.widths):
            raise ValueError(
                f"{len(self.attention)} attention entries for {len(self.widths)} levels; give one per level"
            )
        return UNet2DConditionModel(
            sample_size=latent_size,  # pyright: ignore[reportArgumentType]  a pair is accepted and used by pipelines
            in_channels=latent_channels,
            out_channels=latent_channels,
            down_block_types=_block_types(self.attention, "Down"),
            up_block_types=_block_types(self.attention[::-1], "Up"),
            block_out_channels=self.widths,
            layers_per_block=self.layers_per_block,
            cross_attention_dim=text_width,
            attention_head_dim=self.num_heads,  # diffusers' name; it is the number of heads
            norm_num_groups=self.norm_groups,
        )


def _block_types(attention: Sequence[bool], direction: str) -> tuple[str, ...]:
    return tuple(f"{'CrossAttn' if has else ''}{direction}Block2D" for has in attention)


@dataclass(frozen=True, kw_only=True)
class ImageLDM:
    """Networks, tokenizer and noise schedule of an image model, all of stock classes."""

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: PreTrainedTokenizerBase
    scheduler: Any  # of diffusers, with a noise schedule: ``NoiseSchedule.from_scheduler``

    def freeze(self) -> None:
        """No weight of it learns."""
        for network in (self.vae, self.unet, self.text_encoder):
            network.requires_grad_(False).eval()

    def to(self, device: torch.device | str) -> None:
        """Move all networks, in place."""
        for network in (self.vae, self.unet, self.text_encoder):
            network.to(device)  # pyright: ignore[reportArgumentType]
