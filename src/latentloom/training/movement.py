"""What teaches a first guess to move: the frames that came (ours; spec, section 6).

The movement has a loss of its own, on clean latents and their mirror images: a drive in a mirror is a drive that steers
the other way. (Latents of a mirrored frame are near enough to the mirrored latents to learn movement from.) One clip is
several examples, each with the first one or two frames of a part of it given; parts are half as long as clips, and what
is learned on them adds up over whole clips in use. Given frames are clean: under noise (``context_noise``) movement is
less sure.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from latentloom.diffusion.masks import first_frames_mask, masked_context
from latentloom.layers.movement import EgoMotion, moved

PARTS = 3  # of a clip, overlapping, each as long as half of it


def movement_loss(
    motion: EgoMotion,
    latents: Float[Tensor, "b t c h w"],
    numbers: Mapping[str, Shaped[Tensor, "b *t"]],
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Mean absolute error of the last given frame, moved, against the frames that followed it.

    Raises:
        ValueError: clips of fewer than three frames, which leave nothing to move.
    """
    latents, numbers = _parts(*_mirrored(latents, numbers))
    batch, num_frames = latents.shape[:2]
    given = torch.randint(1, 3, (batch,), generator=generator, device=generator.device)
    mask = first_frames_mask(given, num_frames)
    movement = motion(masked_context(latents, mask), numbers)
    last = latents[torch.arange(batch, device=latents.device), given - 1]
    error = (moved(last, movement) - latents).abs() * (1 - mask)
    return error.sum() / ((1 - mask).sum() * latents[0, 0].numel())


def _mirrored(latents: Tensor, numbers: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The clips and their mirror images."""
    told = {name: torch.cat([x, -x if name == "steering" else x]) for name, x in numbers.items()}
    return torch.cat([latents, latents.flip(-1)]), told


def _parts(latents: Tensor, numbers: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    num_frames = latents.shape[1]
    length = max(3, num_frames // 2)
    if num_frames < length:
        raise ValueError(f"clips of {num_frames} frames: movement is learned from 3 or more")
    firsts = [part * (num_frames - length) // (PARTS - 1) for part in range(PARTS)]

    def cut(values: Tensor) -> Tensor:
        return torch.cat([values[:, first : first + length] for first in firsts])

    told = {name: cut(x) if x.ndim > 1 else x.repeat(PARTS) for name, x in numbers.items()}
    return cut(latents), told
