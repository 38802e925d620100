"""Frames of a clip that are known while the others are sampled: context of a rollout, ends of an interpolation.

The layers are told of them by the context (``masks``, ``augmentation``). Here they are kept: the network sees them
exactly as noisy as the rest, as in training, and in the result they are what was given, bit for bit.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.diffusion.masks import masked_context
from latentloom.diffusion.objective import add_noise
from latentloom.diffusion.sampler import Predict
from latentloom.diffusion.schedule import NoiseSchedule
from latentloom.layers.guess import guessed


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownFrames:
    """``latents`` are known where ``mask`` is 1, and anything elsewhere."""

    latents: Float[Tensor, "b t c h w"]
    mask: Float[Tensor, "#b t 1 1 1"]

    def kept(self, latents: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        """``latents`` with the known frames in their places."""
        return torch.where(self.mask.bool(), self.latents, latents)

    def guess(self) -> Float[Tensor, "b t c h w"]:
        """The known frames, linear mixtures between them, and beyond them the nearest one."""
        return guessed(masked_context(self.latents, self.mask))[0]

    def keeping(self, predict: Predict, noise: Float[Tensor, "b t c h w"], scheduler: Any) -> Predict:
        """``predict`` that is shown the known frames under ``noise`` at each step's level, whatever was made of them.

        Raises:
            ValueError: a scheduler that states no variance-preserving noise schedule.
        """
        schedule = NoiseSchedule.from_scheduler(scheduler)

        def shown(latents: Tensor, timestep: Tensor, /) -> Tensor:
            steps = torch.as_tensor(timestep, device=latents.device).round().long().reshape(-1).expand(len(latents))
            noisy = add_noise(self.latents, noise, steps, schedule)
            return predict(torch.where(self.mask.bool(), noisy, latents), timestep)

        return shown
