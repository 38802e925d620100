"""Frames of a clip that are known while the others are sampled: context of a rollout, ends of an interpolation.

The layers are told of them by the context (``masks``, ``augmentation``). Here they are kept: in the input they are as
noisy as the rest, as in training, whatever was made of them before, and in the result they are what was given, bit for
bit. (Layers that show given frames in the input put them there clean; ``ContextSpec.own_step``.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.diffusion.masks import masked_context, pinned_frames_mask
from latentloom.diffusion.objective import add_noise
from latentloom.diffusion.sampler import Predict
from latentloom.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownFrames:
    """``latents`` are known where ``mask`` is 1, and anything elsewhere."""

    latents: Float[Tensor, "b t c h w"]
    mask: Float[Tensor, "#b t 1 1 1"]

    @classmethod
    def at(cls, places: Sequence[int], frames: Float[Tensor, "b s c h w"], num_frames: int) -> Self:
        """``frames`` at their places, counted from 0, in clips of ``num_frames``.

        Raises:
            ValueError: a place outside the clip.
        """
        mask = pinned_frames_mask(places, num_frames).to(frames)
        latents = frames.new_zeros(len(frames), num_frames, *frames.shape[2:])
        latents[:, list(places)] = frames
        return cls(latents=latents, mask=mask)

    def kept(self, latents: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        """``latents`` with the known frames in their places."""
        return torch.where(self.mask.bool(), self.latents, latents)

    @property
    def context(self) -> Float[Tensor, "b t c_plus_1 h w"]:
        """What the layers are told of them, without noise: ``(m z, m)``."""
        return masked_context(self.latents, self.mask)

    def keeping(self, predict: Predict, noise: Float[Tensor, "b t c h w"], scheduler: Any) -> Predict:
        """``predict`` that is shown the known frames under ``noise`` at each step's level, whatever was made of them.

        Under guidance all predictions are, with context and without: what the layers are told is all that differs.

        Raises:
            ValueError: a scheduler that states no variance-preserving noise schedule.
        """
        schedule = NoiseSchedule.from_scheduler(scheduler)

        def shown(latents: Tensor, timestep: Tensor, /) -> Tensor:
            steps = torch.as_tensor(timestep, device=noise.device).round().long().reshape(-1).expand(len(noise))
            known = add_noise(self.latents, noise, steps, schedule)
            return predict(torch.where(self.mask.bool(), known, latents), timestep)

        return shown
