"""Tiny random networks and a tiny stack for the tests of several rooms. Nothing here is trained."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from latentloom.align import TemporalLayers
from latentloom.diffusion.schedule import PredictionType, noise_scheduler
from latentloom.layers.layer_set import LayerSet
from latentloom.models.text import text_encoder, train_tokenizer
from latentloom.stack import Stack, StackInfo

CAPTIONS = ("a road at night, turning left", "a lake by day", "traffic on the bridge")
TEXT_WIDTH = 32


def tiny_unet(seed: int = 0, heads: int = 4) -> UNet2DConditionModel:
    """Two levels of 32 and 64 channels with cross-attention, 8 latent channels; sizes are multiples of 2 latents."""
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=(4, 8),
        in_channels=8,
        out_channels=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=heads,
    ).eval()


def tiny_vae(seed: int = 0) -> AutoencoderKL:
    """f = 8, 8 latent channels."""
    torch.manual_seed(seed)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        latent_channels=8,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.7,
    ).eval()


def moving_layers(unet: UNet2DConditionModel, layer_set: LayerSet | None = None, seed: int = 0) -> TemporalLayers:
    """Temporal layers that have an effect, as trained ones do: every tensor is drawn anew, small."""
    layers = TemporalLayers.for_network(unet, layer_set or LayerSet.text()).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return layers


def tiny_stack(
    prediction_type: PredictionType = "v_prediction",
    layer_set: LayerSet | None = None,
    sets: tuple[str, ...] = ("keyframes",),
) -> Stack:
    """A stack of random weights for clips of 4 frames of 32x64 pixels, with the temporal layers ``sets``."""
    unet, tokenizer = tiny_unet(), train_tokenizer(CAPTIONS, max_length=12)
    torch.manual_seed(0)
    return Stack(
        StackInfo(name="tiny", size=(32, 64), num_frames=4, fps=6.0, guidance_scale=2.0, num_inference_steps=3),
        unet=unet,
        vae=tiny_vae(),
        text_encoder=text_encoder(len(tokenizer), max_length=12, width=TEXT_WIDTH, num_heads=2).eval(),
        tokenizer=tokenizer,
        scheduler=noise_scheduler(prediction_type, zero_terminal_snr=prediction_type != "epsilon"),
        temporal={name: moving_layers(unet, layer_set, seed) for seed, name in enumerate(sets)},
    )
