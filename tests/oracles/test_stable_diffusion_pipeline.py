"""Without its temporal layers the video model is the image model: diffusers' own pipeline, on the same noise."""

import copy

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)
from tests.tiny import tiny_stack
from torch import nn

from latentloom.pipeline import VideoLDMPipeline
from latentloom.stack import Stack
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import ClipRequest
from latentloom.stages.start_frame import generate_start_frame

FRAMES, STEPS = 4, 4
SCHEDULERS = [DDIMScheduler, PNDMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler]
PROMPT, NEGATIVE = "a road at night", "a lake"


@pytest.fixture(scope="module")
def epsilon_stack() -> Stack:
    """Not every scheduler knows zero terminal SNR, all know Stable Diffusion's own schedule."""
    return tiny_stack("epsilon")


def stock(stack: Stack) -> StableDiffusionPipeline:
    members = {name: getattr(stack, name) for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")}
    nothing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = StableDiffusionPipeline(**members, **nothing)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def in_dtype(stack: Stack, dtype: torch.dtype) -> Stack:
    """Copies of the networks in ``dtype``."""
    names = ("unet", "vae", "text_encoder")
    networks = {name: nn.Module.to(copy.deepcopy(getattr(stack, name)), dtype) for name in names}
    layers = {name: nn.Module.to(copy.deepcopy(layers), dtype) for name, layers in stack.temporal.items()}
    return stack.replace(**networks, temporal=layers)


def noise_of(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(1, FRAMES, 8, 4, 8, generator=torch.Generator().manual_seed(3)).to(dtype)


def images(stack: Stack, noise: torch.Tensor, guidance: float, output_type: str = "latent"):
    return stock(stack)(
        PROMPT,
        negative_prompt=NEGATIVE,
        height=32,
        width=64,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        num_images_per_prompt=len(noise),
        latents=noise,
        output_type=output_type,
    ).images


def request(guidance: float, **changes: float) -> ClipRequest:
    return ClipRequest(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        num_frames=FRAMES,
        height=32,
        width=64,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        **changes,
    )


def keyframes(stack: Stack, noise: torch.Tensor, guidance: float, strength: float) -> torch.Tensor:
    return generate_keyframes(stack, request(guidance, temporal_strength=strength), latents=noise)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("guidance", [1.0, 6.0])
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_alpha_one_is_the_image_pipeline_bit_for_bit_at_equal_batch(epsilon_stack, kind, guidance, dtype):
    stack = in_dtype(epsilon_stack, dtype).replace(scheduler=kind.from_config(epsilon_stack.scheduler.config))
    noise = noise_of(dtype)
    ours = keyframes(stack, noise, guidance, strength=0.0)
    assert ours.dtype == dtype
    assert torch.equal(ours[0], images(stack, noise[0], guidance))
    assert not torch.equal(keyframes(stack, noise, guidance, strength=1.0), ours), (
        "the layers had nothing to switch off"
    )


@pytest.mark.parametrize("guidance", [1.0, 6.0])
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_alpha_one_is_the_image_pipeline_frame_by_frame(epsilon_stack, kind, guidance):
    stack = epsilon_stack.replace(scheduler=kind.from_config(epsilon_stack.scheduler.config))
    noise = noise_of()
    ours = keyframes(stack, noise, guidance, strength=0.0)[0]
    theirs = torch.cat([images(stack, frame[None], guidance) for frame in noise[0]])
    assert (ours - theirs).abs().max() < 1e-5 * max(1.0, theirs.abs().max())


@pytest.mark.parametrize("guidance", [1.0, 6.0])
def test_velocity_with_zero_terminal_snr_is_sampled_as_the_image_pipeline_does(stack, guidance):
    noise = noise_of()
    assert torch.equal(keyframes(stack, noise, guidance, strength=0.0)[0], images(stack, noise[0], guidance))


def test_decoded_frames_are_the_image_pipelines_pictures(stack):
    members = {name: getattr(stack, name) for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")}
    video = VideoLDMPipeline(**members, temporal=stack.keyframe_layers, info=stack.info)
    video.set_progress_bar_config(disable=True)
    noise = noise_of()
    frames = video(
        PROMPT,
        negative_prompt=NEGATIVE,
        num_inference_steps=STEPS,
        guidance_scale=6.0,
        latents=noise,
        temporal_strength=0.0,
        decode_chunk_size=FRAMES,
        output_type="np",
    ).frames
    assert (frames[0] == images(stack, noise[0], 6.0, output_type="np")).all()


def test_the_start_frame_is_the_image_pipelines_picture(stack):
    noise = torch.randn(1, 8, 4, 8, generator=torch.Generator().manual_seed(5))
    ours = generate_start_frame(stack, request(6.0), generator=torch.Generator().manual_seed(5))
    assert torch.equal(ours[0], images(stack, noise, 6.0))


def test_the_stock_pipeline_loads_and_runs_a_saved_stack(saved_stack_folder, stack):
    pipeline = StableDiffusionPipeline.from_pretrained(saved_stack_folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    noise = noise_of()[0]
    settings = {"height": 32, "width": 64, "num_inference_steps": STEPS, "output_type": "latent"}
    theirs = pipeline(PROMPT, num_images_per_prompt=FRAMES, latents=noise, guidance_scale=6.0, **settings).images
    ours = stock(stack)(PROMPT, num_images_per_prompt=FRAMES, latents=noise, guidance_scale=6.0, **settings).images
    assert torch.equal(theirs, ours)


def test_the_stock_pipeline_runs_a_stack_stored_in_half_precision(stack, tmp_path):
    """transformers would load the text encoder as stored and diffusers the UNet in float32: they must agree."""
    stack.save(tmp_path / "half", dtype=torch.float16)
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "half", safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.text_encoder.dtype == pipeline.unet.dtype == pipeline.vae.dtype == torch.float32
    result = pipeline(PROMPT, height=32, width=64, num_inference_steps=1, output_type="latent").images
    assert torch.isfinite(result).all()
