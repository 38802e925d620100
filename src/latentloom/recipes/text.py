"""The paper's text-to-video stack at full size: layouts of Stable Diffusion 1.4 and 2.1, of its x4 upscaler, and sizes.

Configurations for diffusers' ``UNet2DConditionModel`` and ``AutoencoderKL`` (paper, Sec. 4.2 and appendix); their
weights are public and not here. Nothing is trained by this recipe yet: benchmarks and tests count and time with it.
"""

from typing import Any

from latentloom.stages.cascade import CascadeRequest
from latentloom.stages.request import ClipRequest

SIZE, UPSAMPLED_SIZE = (320, 512), (1280, 2048)
LATENT_SIZE = (40, 64)  # of SIZE at f = 8
KEYFRAMES, FRAMES = 8, 113  # 8 -> 29 -> 113 by two interpolations
TRAINED_FRAMES = 16
TEXT_TOKENS = 77
UPSAMPLED_AT_ONCE = 8  # frames (paper, Sec. 3.4)


def stable_diffusion_1_4() -> dict[str, Any]:
    """The UNet of Stable Diffusion 1.4, 860M parameters: 649.69M of temporal layers."""
    return {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}


def stable_diffusion_2_1() -> dict[str, Any]:
    """The UNet of Stable Diffusion 2.1, 866M parameters: 656.08M of temporal layers."""
    return {
        "sample_size": 64,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    }


def upscaler() -> dict[str, Any]:
    """The UNet of Stable Diffusion's x4 upscaler: noisy latents at f = 4 beside the small frame, its noise a class."""
    return {
        "sample_size": 128,
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


def autoencoder() -> dict[str, Any]:
    """Stable Diffusion's autoencoder, f = 8."""
    return _autoencoder((128, 256, 512, 512), scaling_factor=0.18215)


def upscaler_autoencoder() -> dict[str, Any]:
    """That of the x4 upscaler, f = 4."""
    return _autoencoder((128, 256, 512), scaling_factor=0.08333)


def _autoencoder(widths: tuple[int, ...], *, scaling_factor: float) -> dict[str, Any]:
    return {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 512,
        "scaling_factor": scaling_factor,
    }


def video(prompt: str = "", *, guidance_scale: float = 7.5) -> CascadeRequest:
    """The paper's longest clip from 8 key frames: 113 frames of 320x512 before upsampling, 50 steps a window."""
    height, width = SIZE
    clip = ClipRequest(
        prompt=prompt,
        num_frames=KEYFRAMES,
        height=height,
        width=width,
        num_inference_steps=50,
        guidance_scale=guidance_scale,
    )
    return CascadeRequest(clip=clip, num_frames=FRAMES, passes=2)
