"""The key frames of a clip: the image LDM with temporal layers attached, sampled from text (paper, Sec. 3.1, Eq. 2).

One clip per call. A batch is a loop: clips then have the bits they have alone, and memory is that of one clip.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.diffusion.sampler import StepCallback
from latentloom.stages.request import ClipRequest
from latentloom.stages.sampling import VideoModel, sample_aligned


def generate_keyframes(
    model: VideoModel,
    request: ClipRequest,
    *,
    generator: torch.Generator | None = None,
    latents: Float[Tensor, "1 t c h w"] | None = None,
    eta: float = 0.0,
    callback_on_step_end: StepCallback | None = None,
) -> Float[Tensor, "1 t c h w"]:
    """Latents of the request's key frames; ``decode_frames`` shows them.

    Args:
        model: a ``Stack`` or a pipeline; its UNet carries the temporal layers during the call only.
        request: ``stack.info.request(prompt)`` has the stack's own settings.
        latents: unit Gaussian noise to start from instead of drawing it from ``generator``.
        eta: share of DDIM's fresh noise in [0, 1].
        callback_on_step_end: called with (step, timestep, latents); may return replacement latents; raising cancels.

    Raises:
        ValueError: a size the model cannot make, or a model without temporal layers for key frames.
    """
    return sample_aligned(
        model, "keyframes", request, noise=latents, generator=generator, eta=eta, callback=callback_on_step_end
    )
