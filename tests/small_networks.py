"""Stock networks small enough for tests: mixed levels with and without attention, widths not all multiples of 32."""

from typing import TypeVar

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from latentloom.align import Aligned, TemporalLayers, attach
from latentloom.layers.layer_set import LayerSet
from latentloom.models.upsampler import PixelUpsampler

TEXT_WIDTH = 24


def small_unet(*, seed: int = 0, widths: tuple[int, int] = (16, 40), context: int = TEXT_WIDTH) -> UNet2DConditionModel:
    """Two levels, attention on the lower one and in the middle; frozen, in eval mode."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=context,
        attention_head_dim=2,
    )
    return unet.eval().requires_grad_(False)


def small_vae(seed: int = 0) -> AutoencoderKL:
    """Two levels, latents at half the size; frozen, in eval mode."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        block_out_channels=(16, 24),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
        latent_channels=4,
    )
    return vae.eval().requires_grad_(False)


Network = TypeVar("Network", bound=nn.Module)


def awake(network: Network, seed: int = 1) -> Network:
    """Layers as after training: the zero-initialised ends, and alphas, are random."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network


def small_upsampler(factor: int = 2) -> PixelUpsampler:
    """Two levels; frozen, in eval mode."""
    torch.manual_seed(0)
    return awake(PixelUpsampler(factor, (8, 16), groups=2)).eval().requires_grad_(False)


def awake_video(layer_set: LayerSet | None = None, seed: int = 0) -> Aligned:
    """A small video model whose temporal layers act."""
    unet = small_unet(seed=seed)
    return attach(unet, awake(TemporalLayers.for_network(unet, layer_set or LayerSet.text())))


def clip_inputs(batch: int = 2, num_frames: int = 3, seed: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """(noisy latents ``b t c h w``, one time step per clip, text ``b n d``)."""
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(batch, num_frames, 4, 4, 8, generator=generator)
    return sample, torch.arange(batch) * 300 + 100, torch.randn(batch, 5, TEXT_WIDTH, generator=generator)
