"""Classifier-free guidance: predictions made with and without a condition, mixed (Ho and Salimans 2021).

Both are computed in one batch, the unconditional half first, as diffusers does: equal batches give equal bits.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.diffusion.sampler import Predict

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Latents ``b ...``, a time step and text ``b n d`` in, a prediction like the latents out."""


def text_guidance(
    unconditional: Float[Tensor, "*shape"], conditional: Float[Tensor, "*shape"], scale: float
) -> Float[Tensor, "*shape"]:
    """``f_0 + s (f_c - f_0)``; scale 1 is the conditional prediction and 0 the unconditional one, bit for bit."""
    if scale == 1:
        return conditional
    if scale == 0:
        return unconditional
    return unconditional + scale * (conditional - unconditional)


def with_text_guidance(
    network: Network, unconditional: Float[Tensor, "b n d"], conditional: Float[Tensor, "b n d"], scale: float
) -> Predict:
    """The network with its text bound, as ``denoise`` calls it; a double batch unless ``scale`` is 0 or 1."""
    if scale in (0, 1):
        text = conditional if scale == 1 else unconditional
        return lambda latents, timestep: network(latents, timestep, text)
    both = torch.cat([unconditional, conditional])

    def predict(latents: Tensor, timestep: Tensor, /) -> Tensor:
        halves = network(torch.cat([latents, latents]), timestep, both).chunk(2)
        return text_guidance(halves[0], halves[1], scale)

    return predict
