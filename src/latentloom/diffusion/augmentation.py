"""Noise on the frames that a model is given, so that it learns to live with imperfect ones (paper, Sec. 3.2; Ho 2022).

A rollout conditions each window on frames the model made itself; a model that only ever saw clean ones adds its errors
up. The level of the noise is told to the model, and chosen when sampling.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentloom.diffusion.masks import masked_context
from latentloom.diffusion.objective import add_noise
from latentloom.diffusion.schedule import NoiseSchedule


def augmented(
    frames: Float[Tensor, "b t c h w"],
    levels: Int[Tensor, " b"],
    schedule: NoiseSchedule,
    generator: torch.Generator | None,
) -> Float[Tensor, "b t c h w"]:
    """The frames diffused to step ``levels`` of each clip; 0 leaves them clean. Drawn where the generator is."""
    source = frames.device if generator is None else generator.device
    return noised(frames, torch.randn(frames.shape, generator=generator, device=source).to(frames), levels, schedule)


def noised(
    frames: Float[Tensor, "b t c h w"],
    noise: Float[Tensor, "b t c h w"],
    levels: Int[Tensor, " b"],
    schedule: NoiseSchedule,
) -> Float[Tensor, "b t c h w"]:
    """The frames under ``noise`` at step ``levels`` of each clip; 0 leaves them clean."""
    clean = (levels == 0).view(-1, 1, 1, 1, 1).to(frames.device)
    return torch.where(clean, frames, add_noise(frames, noise, levels, schedule))


def noised_context(
    latents: Float[Tensor, "b t c h w"],
    mask: Float[Tensor, "#b t 1 1 1"],
    levels: Int[Tensor, " b"],
    schedule: NoiseSchedule,
    generator: torch.Generator | None,
) -> Float[Tensor, "b t c_plus_1 h w"]:
    """``c_S = (m_S z', m_S)``, ``z'`` the given frames ``augmented`` to ``levels``."""
    return masked_context(augmented(latents, levels, schedule, generator), mask)
