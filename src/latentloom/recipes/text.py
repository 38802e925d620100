"""The paper's text-to-video stack: layouts of Stable Diffusion and its x4 upscaler, sizes, and how they are trained.

Configurations are for diffusers' ``UNet2DConditionModel`` and ``AutoencoderKL`` (paper, Sec. 4.2 and appendix); their
weights are public and not here: benchmarks and tests count and time with them. The settings of trainings are for models
that know much already: small steps by AdamW. They have run at tiny size only; no Stable Diffusion was at hand.
"""

from dataclasses import replace
from typing import Any

from latentloom.models.image_ldm import DenoiserSpec
from latentloom.stages.cascade import CascadeRequest
from latentloom.stages.request import ClipRequest
from latentloom.training.decoder import DecoderTraining
from latentloom.training.image import ImageTraining
from latentloom.training.loop import LoopConfig
from latentloom.training.optimizer import OptimizerConfig
from latentloom.training.temporal import GivenFrames, TemporalTraining
from latentloom.training.upsampler import UpsamplerTraining

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


def image() -> ImageTraining:
    """The spatial layers on single frames of the footage at its size, before they are frozen (paper, Sec. 4.2)."""
    spec = DenoiserSpec(widths=(320, 640, 1280, 1280), attention=(True, True, True, False), layers_per_block=2)
    return ImageTraining(loop=_loop(2000, 4), spec=spec, optimizer=_adamw(1e-5))


def dreambooth() -> ImageTraining:
    """One subject: 800 steps at 1e-6 (paper, Sec. 4.2.1), a photo and a picture of its class in each."""
    return replace(image(), loop=_loop(800, 2), optimizer=_adamw(1e-6), caption_dropout=0.0)


def temporal() -> TemporalTraining:
    """Key frames: clips of 8 frames at about 2 a second (paper: 1.875), from noise alone."""
    return TemporalTraining(loop=_loop(20_000, 2), num_frames=KEYFRAMES, fps=1.875, optimizer=_adamw(1e-4))


def prediction() -> TemporalTraining:
    """The next frames after the first none, one or two, at the rate of the key frames."""
    return replace(temporal(), given=GivenFrames(first=(0, 1, 2)))


def interpolation() -> TemporalTraining:
    """Three frames between each two, from 1.875 to 7.5 a second and from those to 30 (paper, Sec. 3.3)."""
    return replace(temporal(), num_frames=13, fps=7.5, fine_fps=30.0, given=GivenFrames(every=4))


def decoder() -> DecoderTraining:
    """Temporal layers of the decoder on crops of clips."""
    return DecoderTraining(loop=_loop(5000, 2), optimizer=_adamw(1e-4), adversarial_start=2000)


def upsampler() -> UpsamplerTraining:
    """Temporal layers of the x4 upscaler, whose image network is trained already, on patches of 8 frames at 8 fps."""
    return UpsamplerTraining(
        loop=_loop(5000, 2), patch=(256, 256), num_frames=UPSAMPLED_AT_ONCE, fps=8.0, optimizer=_adamw(1e-4)
    )


def _loop(steps: int, batch_size: int) -> LoopConfig:
    return LoopConfig(steps=steps, batch_size=batch_size, ema_decay=0.999, warmup_steps=100, preview_steps=500)


def _adamw(rate: float) -> OptimizerConfig:
    return OptimizerConfig(kind="adamw", learning_rate=rate)
