"""The first stage: one image from text with the image LDM alone, no temporal layer involved (paper, Sec. 3.2, Fig. 3).

The prediction stage starts from it; it is also the picture the image LDM was trained for.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.diffusion.sampler import StepCallback
from latentloom.shapes import fold_frames, unfold_frames
from latentloom.stages.request import ClipRequest
from latentloom.stages.text_to_latents import VideoModel, sample_clip


def generate_start_frame(
    model: VideoModel,
    prompt: str,
    *,
    height: int,
    width: int,
    num_inference_steps: int = 25,
    guidance_scale: float = 2.0,
    negative_prompt: str = "",
    generator: torch.Generator | None = None,
    callback_on_step_end: StepCallback | None = None,
) -> Float[Tensor, "1 1 c h w"]:
    """Latents of one image; ``decode_frames`` shows it. Ranges as in ``ClipRequest``.

    Args:
        callback_on_step_end: called with (step, timestep, latents); may return replacement latents; raising cancels.

    Raises:
        ValueError: a setting out of range, or a size the model cannot make.
    """
    request = ClipRequest(
        prompt=prompt,
        negative_prompt=negative_prompt,
        num_frames=1,
        height=height,
        width=width,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
    )

    def image_model(latents: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        images = model.unet(fold_frames(latents), timestep, encoder_hidden_states=text).sample
        return unfold_frames(images, 1)

    return sample_clip(model, image_model, request, generator=generator, callback=callback_on_step_end)
