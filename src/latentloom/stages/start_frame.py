"""The first stage: one image from text with the image LDM alone, no temporal layer involved (paper, Sec. 3.2, Fig. 3).

The prediction stage starts from it; it is also the picture the image LDM was trained for.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.conditions import Conditions
from latentloom.diffusion.sampler import StepCallback
from latentloom.shapes import fold_frames, unfold_frames
from latentloom.stages.request import ClipRequest
from latentloom.stages.sampling import VideoModel, sample_clip


def generate_start_frame(
    model: VideoModel,
    request: ClipRequest,
    *,
    generator: torch.Generator | None = None,
    callback_on_step_end: StepCallback | None = None,
) -> Float[Tensor, "1 1 c h w"]:
    """Latents of one image, whatever number of frames the request has; ``decode_frames`` shows it.

    Args:
        callback_on_step_end: called with (step, timestep, latents); may return replacement latents; raising cancels.

    Raises:
        ValueError: a size the model cannot make.
    """

    def image_model(latents: Tensor, timestep: Tensor, conditions: Conditions) -> Tensor:
        images = model.unet(fold_frames(latents), timestep, encoder_hidden_states=conditions.text).sample
        return unfold_frames(images, 1)

    return sample_clip(model, image_model, request.of_length(1), generator=generator, callback=callback_on_step_end)
