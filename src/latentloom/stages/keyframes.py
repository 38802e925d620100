"""The key frames of a clip: the image LDM with temporal layers attached, sampled from text (paper, Sec. 3.1, Eq. 2).

One clip per call. A batch is a loop: clips then have the bits they have alone, and memory is that of one clip.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.align import attach
from latentloom.diffusion.sampler import StepCallback
from latentloom.stages.request import ClipRequest
from latentloom.stages.text_to_latents import VideoModel, sample_clip


def generate_keyframes(
    model: VideoModel,
    prompt: str,
    *,
    num_frames: int,
    height: int,
    width: int,
    num_inference_steps: int = 25,
    guidance_scale: float = 2.0,
    negative_prompt: str = "",
    generator: torch.Generator | None = None,
    latents: Float[Tensor, "1 t c h w"] | None = None,
    temporal_strength: float = 1.0,
    fps: float | None = None,
    eta: float = 0.0,
    callback_on_step_end: StepCallback | None = None,
) -> Float[Tensor, "1 t c h w"]:
    """Latents of ``num_frames`` key frames; ``decode_frames`` shows them. Ranges as in ``ClipRequest``.

    Args:
        model: a ``Stack`` or a pipeline; its UNet carries the temporal layers during the call only.
        latents: unit Gaussian noise to start from instead of drawing it from ``generator``.
        temporal_strength: 0 gives independent images of the image LDM, 1 the layers as learnt.
        fps: frames per second of the clip; told to layers that embed it, needed by them, of no effect on others.
        callback_on_step_end: called with (step, timestep, latents); may return replacement latents; raising cancels.

    Raises:
        ValueError: a setting out of range, a size the model cannot make, or a model without temporal layers.
    """
    request = ClipRequest(
        prompt=prompt,
        negative_prompt=negative_prompt,
        num_frames=num_frames,
        height=height,
        width=width,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        temporal_strength=temporal_strength,
        fps=fps,
    )
    layers = model.keyframe_layers
    if layers is None:
        raise ValueError("this model has no temporal layers for key frames, only its image model; train or add them")
    if layers.fps is not None and fps is None:
        raise ValueError("these temporal layers were trained with the frame rate of each clip; give fps")
    known_fps = fps if layers.fps is not None else None
    video = attach(model.unet, layers)

    def video_model(noisy: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        return video(noisy, timestep, text, fps=known_fps, temporal_strength=temporal_strength).sample

    try:
        return sample_clip(
            model, video_model, request, noise=latents, generator=generator, eta=eta, callback=callback_on_step_end
        )
    finally:
        video.detach()
