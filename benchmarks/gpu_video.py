"""The paper's longest video, 113 frames of 1280x2048: added up from single calls, or really made.

What is called how often is asked of the cascade itself (``stages/cascade.py``: 8 -> 29 -> 113 frames); the upscaler
runs over portions of frames, apart or sharing some. Real runs have random weights: the same work, pictures of nothing.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from gpu_jobs import (
    DECODING,
    GUIDANCE,
    INTERPOLATION,
    KEYFRAMES,
    LARGE_DECODING,
    UPSCALER,
    Place,
    layers_on,
    unet,
    vae,
)
from layouts import Layout
from torch import Tensor

from latentloom.diffusion.sampler import num_evaluations
from latentloom.diffusion.schedule import noise_scheduler
from latentloom.layers.layer_set import LayerSet
from latentloom.models.latent_upsampler import LatentUpsampler
from latentloom.models.text import text_encoder, train_tokenizer
from latentloom.recipes.text import TEXT_TOKENS
from latentloom.shapes import to_pixels
from latentloom.stack import Stack, StackInfo
from latentloom.stages.cascade import generate_latents
from latentloom.stages.request import UpsamplingRequest
from latentloom.stages.upsampling import num_portions, upsample_frames

PROMPT = "a road by the sea"


def calls(layout: Layout, *, overlap: int, predictions: int) -> dict[str, int]:
    """How often each job runs for one video; the upscaler with ``predictions`` at each step."""
    request, scheduler = layout.video, noise_scheduler()
    counts = {KEYFRAMES: 0, INTERPOLATION: 0}
    for stage in request.stages(from_frame=False):
        counts[INTERPOLATION if stage.given else KEYFRAMES] += stage.num_windows * stage.num_evaluations(scheduler)
    steps = num_evaluations(scheduler, request.clip.num_inference_steps)
    asked = UpsamplingRequest(portion=layout.portion, overlap=overlap)
    enlarged = num_portions(request.num_frames, asked, together=True)
    return {
        **counts,
        DECODING: -(-request.num_frames // layout.portion),
        UPSCALER: enlarged * steps * predictions,
        LARGE_DECODING: request.num_frames,
    }


def total(layout: Layout, seconds: Mapping[str, float], *, overlap: int, predictions: int) -> dict[str, float]:
    """Seconds of a whole video by job, from those of one call each."""
    counts = calls(layout, overlap=overlap, predictions=predictions)
    return {name: count * seconds[name] for name, count in counts.items()}


def random_stack(layout: Layout, place: Place) -> Stack:
    """All that the cascade calls, with random weights; a small text encoder, which is called once a window."""
    clip = layout.video.clip
    defaults = {"guidance_scale": clip.guidance_scale, "num_inference_steps": clip.num_inference_steps}
    info = StackInfo(name="random", size=layout.size, num_frames=clip.num_frames, fps=2.0, **defaults)
    tokenizer, network = train_tokenizer([PROMPT], TEXT_TOKENS), unet(layout.unet, place)
    sets = {"keyframes": LayerSet.text(), "interpolation": LayerSet.text().with_context()}
    encoder: Any = text_encoder(len(tokenizer), max_length=TEXT_TOKENS, width=layout.text_width)
    text = {"text_encoder": encoder.to(place.device, place.dtype), "tokenizer": tokenizer}
    upscaler = unet(layout.upscaler, place)
    upsampler = LatentUpsampler(
        unet=upscaler,
        vae=vae(layout.upscaler_autoencoder, place),
        scheduler=noise_scheduler(),
        low_res_scheduler=noise_scheduler(),
        **text,
    )
    stack = Stack(
        info,
        unet=network,
        vae=vae(layout.autoencoder, place),
        scheduler=noise_scheduler(),
        upsampler=upsampler,
        upsampler_temporal=layers_on(upscaler, upsampler.layer_set, place.device, place.dtype),
        **text,
        temporal={name: layers_on(network, chosen, place.device, place.dtype) for name, chosen in sets.items()},
    )
    stack.device = place.device
    return stack


class Lap:
    """Seconds since the last lap: of the clock on a GPU once it has finished, of this process's cores on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.begun = device, 0.0
        self()

    def __call__(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter() if self.device.type == "cuda" else time.process_time()
        taken, self.begun = now - self.begun, now
        return taken


@torch.no_grad()
def made(layout: Layout, place: Place, *, overlap: int, scale: float) -> dict[str, float]:
    """Make the whole video: seconds of each part, of building networks too; ``scale`` is of the upscaler's guidance."""
    lap = Lap(place.device)
    stack = random_stack(layout, place)
    taken = {"building": lap()}
    latents = torch.cat(list(generate_latents(stack, layout.video)), 1).to(place.device)
    taken["latents"] = lap()
    frames = to_pixels(stack.autoencoder.decode(latents, layout.portion)[0])
    taken[DECODING] = lap()
    taken |= {UPSCALER: 0.0, LARGE_DECODING: 0.0}

    def timed(stage: str, index: int, make: Callable[[], Tensor], /) -> Tensor:
        latents = make()
        taken[UPSCALER] += lap()
        return latents

    request = UpsamplingRequest(
        num_inference_steps=layout.video.clip.num_inference_steps,
        guidance_scale=scale,
        portion=layout.portion,
        overlap=overlap,
        prompt=PROMPT,
    )
    count = 0
    for frame in upsample_frames(stack.upsampler, stack.upsampler_layers, frames, request, remember=timed):
        assert frame.shape[:2] == (4 * layout.size[0], 4 * layout.size[1])
        count += 1
        taken[LARGE_DECODING] += lap()
    assert count == layout.video.num_frames
    return taken


UPSCALER_SCALES = {1: 1.0, 2: GUIDANCE}
"""Predictions at each step to a guidance scale that needs so many."""
