"""Classifier-free guidance over a chain of conditions (Ho and Salimans 2021; paper, Sec. 3.2: context guidance).

``f_0 + s_1 (f_1 - f_0) + s_2 (f_2 - f_1) + ...``: each link adds one condition, the text or the given frames, and has
its own scale. All predictions are computed in one batch, the unconditional one first, as diffusers does: equal batches
give equal bits.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.conditions import Conditions, concatenate
from latentloom.diffusion.sampler import Predict

Network = Callable[[Tensor, Tensor, Conditions], Tensor]
"""Latents ``b ...``, a time step and conditions of ``b`` rows in, a prediction like the latents out."""

Link = tuple[float, Conditions]
"""A guidance scale, 0 or more, and the conditions it leads to."""


def guided(network: Network, base: Conditions, *links: Link) -> Predict:
    """The network under guidance, as ``denoise`` calls it.

    A scale of 1 everywhere is the last conditions alone, 0 everywhere the base alone, bit for bit: predictions that
    cancel out are not computed.
    """
    chain = necessary([(1.0, base), *links])
    everything = concatenate([conditions for _, conditions in chain])
    scales = [scale for scale, _ in chain[1:]]

    def predict(latents: Tensor, timestep: Tensor, /) -> Tensor:
        predictions = network(torch.cat([latents] * len(chain)), timestep, everything).chunk(len(chain))
        return combined(predictions[0], *zip(scales, predictions[1:], strict=True))

    return predict


def combined(base: Float[Tensor, "*shape"], *links: tuple[float, Float[Tensor, "*shape"]]) -> Float[Tensor, "*shape"]:
    """``f_0 + s_1 (f_1 - f_0) + s_2 (f_2 - f_1) + ...`` of predictions; links as (scale, prediction)."""
    result = previous = base
    for scale, prediction in links:
        result = result + scale * (prediction - previous)
        previous = prediction
    return result


def necessary(chain: Sequence[Link]) -> list[Link]:
    """The links whose predictions do not cancel out: a link counts with its scale less that of the next one."""
    following = [scale for scale, _ in chain[1:]] + [0.0]
    return [link for link, after in zip(chain, following, strict=True) if link[0] != after]


def is_told(base: Conditions, *links: Link) -> bool:
    """Whether any prediction that is computed is told of given frames."""
    return any(conditions.context is not None for _, conditions in necessary([(1.0, base), *links]))


def num_predictions(*scales: float) -> int:
    """How many predictions guidance by links of these scales computes at each step."""
    chain = [1.0, *scales]
    return sum(scale != after for scale, after in zip(chain, [*scales, 0.0], strict=True))
