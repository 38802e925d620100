"""Stable Diffusion 1.5 and 2.1 as diffusers writes them: every tensor, and every frame at alpha = 1."""

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, PNDMScheduler
from diffusers import StableDiffusionPipeline as StableDiffusion
from tests.stable_diffusion import saved, stable_diffusion
from tests.tiny import moving_layers

from latentloom.pipeline import VideoLDMPipeline
from latentloom.stack import Stack

FRAMES, STEPS = 3, 4  # PRK steps of PNDM need four
SCHEDULERS = [DDIMScheduler, PNDMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler]


@pytest.fixture(scope="module", params=["1.5", "2.1"])
def both(request, tmp_path_factory) -> tuple[StableDiffusion, Path]:
    folder = tmp_path_factory.mktemp("stable") / "diffusion"
    saved(request.param, folder)
    pipeline = StableDiffusion.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, folder


def test_every_tensor_loads_bit_equal(both):
    pipeline, folder = both
    stack, written = (
        Stack.load(folder),
        stable_diffusion("2.1" if pipeline.unet.config["use_linear_projection"] else "1.5"),
    )
    assert stack.info.size == (64, 64) and stack.keyframe_layers is None
    for name in ("unet", "vae", "text_encoder"):
        theirs, ours = getattr(written, name).state_dict(), getattr(stack, name).state_dict()
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    prompt = "a road, by night; naïve"
    assert stack.tokenizer(prompt)["input_ids"] == pipeline.tokenizer(prompt)["input_ids"]
    ours, theirs = ({**scheduler.config} for scheduler in (stack.scheduler, pipeline.scheduler))
    assert {**ours, "_use_default_values": None} == {**theirs, "_use_default_values": None}


@pytest.mark.parametrize("guidance", [1.0, 6.0])
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_frames_at_alpha_one_are_the_image_pipelines_pictures(both, kind, guidance):
    pipeline, folder = both
    stack = Stack.load(folder)
    scheduler = kind.from_config(pipeline.scheduler.config)
    members = {name: getattr(stack, name) for name in ("unet", "vae", "text_encoder", "tokenizer")}
    video = VideoLDMPipeline(**members, scheduler=scheduler, temporal=moving_layers(stack.unet), info=stack.info)
    video.set_progress_bar_config(disable=True)
    noise = torch.randn(1, FRAMES, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    settings = {"num_inference_steps": STEPS, "guidance_scale": guidance, "negative_prompt": "a lake"}
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
    theirs = pipeline("a road", num_images_per_prompt=FRAMES, latents=noise[0], output_type="np", **settings).images

    def frames(strength: float):
        own = {"num_frames": FRAMES, "latents": noise, "decode_chunk_size": FRAMES, "output_type": "np"}
        return video("a road", temporal_strength=strength, **own, **settings).frames[0]

    assert (frames(0.0) == theirs).all()
    assert not (frames(1.0) == theirs).all(), "the layers had nothing to switch off"
