"""Shapes of video tensors and the two conversions every room shares.

Between rooms a video is ``b t c h w``; image networks take ``(b t) c h w`` (paper, Sec. 3.1: the spatial layers see a
video as a batch of independent images). Pixels are uint8 ``... h w 3`` in files and float ``... 3 h w`` in [-1, 1] in
networks.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def fold_frames(video: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b*t c h w"]:
    """Read a video as a batch of images, ``b t c h w -> (b t) c h w``. A view where memory allows."""
    return video.flatten(0, 1)


def unfold_frames(frames: Float[Tensor, "bt c h w"], num_frames: int) -> Float[Tensor, "b t c h w"]:
    """Read a batch of images as videos of ``num_frames``, ``(b t) c h w -> b t c h w``. A view.

    Raises:
        ValueError: the batch is not a multiple of ``num_frames``.
    """
    if num_frames < 1 or frames.shape[0] % num_frames:
        raise ValueError(f"a batch of {frames.shape[0]} frames cannot be read as videos of {num_frames} frames")
    return frames.unflatten(0, (-1, num_frames))


def from_pixels(pixels: UInt8[Tensor, "*n h w 3"]) -> Float[Tensor, "*n 3 h w"]:
    """uint8 ``... h w 3`` in 0..255 to float32 ``... 3 h w`` in [-1, 1]."""
    return pixels.movedim(-1, -3).to(torch.float32).div_(127.5).sub_(1.0).contiguous()


def to_pixels(frames: Float[Tensor, "*n 3 h w"]) -> UInt8[Tensor, "*n h w 3"]:
    """Float ``... 3 h w`` in [-1, 1] (clamped) to uint8 ``... h w 3`` in 0..255."""
    levels = frames.detach().float().add(1.0).mul(127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).movedim(-3, -1).contiguous()
