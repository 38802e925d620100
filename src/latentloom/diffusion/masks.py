"""Frame masks: which frames of a clip are given and which are to be made (paper, section 3.2, ``m_S`` and ``c_S``).

A mask is 1 on given frames and 0 elsewhere, ``b t 1 1 1``, so that it broadcasts over ``b t c h w``. How a context
enters the network is the layers' business.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor


def first_frames_mask(num_given: Int[Tensor, " b"], num_frames: int) -> Float[Tensor, "b t 1 1 1"]:
    """``m_S``: the first S frames of each clip are given, S from ``num_given`` (0 to ``num_frames``; paper: 0, 1, 2).

    Raises:
        ValueError: an S outside 0..``num_frames``.
    """
    if bool(((num_given < 0) | (num_given > num_frames)).any()):
        raise ValueError(f"given frames {num_given.tolist()} must lie between 0 and num_frames = {num_frames}")
    frames = torch.arange(num_frames, device=num_given.device)
    return (frames < num_given[:, None]).float()[:, :, None, None, None]


def pinned_frames_mask(frames: Iterable[int], num_frames: int) -> Float[Tensor, "1 t 1 1 1"]:
    """The frames of these indices are given: ``range(0, T, 4)`` for interpolation, ``(0, T - 1)`` for both ends.

    Raises:
        ValueError: an index outside 0..``num_frames - 1``.
    """
    mask = torch.zeros(1, num_frames, 1, 1, 1)
    for frame in frames:
        if not 0 <= frame < num_frames:
            raise ValueError(f"frame {frame} cannot be pinned in a clip of {num_frames} frames, counted from 0")
        mask[:, frame] = 1
    return mask


def masked_context(
    latents: Float[Tensor, "b t c h w"], mask: Float[Tensor, "#b t 1 1 1"]
) -> Float[Tensor, "b t c_plus_1 h w"]:
    """``c_S = (m_S * z, m_S)``: the given frames' latents, zeros elsewhere, and the mask as one more channel."""
    mask = mask.to(latents).expand(latents.shape[0], -1, 1, *latents.shape[3:])
    return torch.cat([mask * latents, mask], dim=2)
