"""Features of clips and frames from a small stated network, for relative use: never an FID, never an FVD.

Three convolutions over time and space with fixed random weights, seed 0, in two streams: one of averages over three
frames, one of derivatives in time, so that motion is not drowned by pictures. Behind each the absolute value; the mean
and standard deviation of every channel of the last two, over all places, are the feature. It sees noise, blur, flicker,
frozen clips and frames in wrong order (tests/evaluation/test_features.py); it knows nothing of cars.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

NAME = "two-stream random convolutions, 80 numbers"
SIZE = (64, 128)
"""Frames are averaged to this height and width first."""
WIDTHS = (3, 16, 16, 24)
STREAMS = 2
NUM_FEATURES = 2 * sum(WIDTHS[2:])


def clip_features(clips: UInt8[Tensor, "n t h w 3"], batch_size: int = 8) -> Float[Tensor, "n d"]:
    """One vector per clip; clips of one frame have no motion in theirs.

    Raises:
        ValueError: there is no clip.
    """
    if not len(clips):
        raise ValueError("there is no clip to take features of")
    kernels = _kernels()
    return torch.cat([_features(part, kernels) for part in clips.split(batch_size)])


def frame_features(frames: UInt8[Tensor, "n h w 3"], batch_size: int = 64) -> Float[Tensor, "n d"]:
    """One vector per frame, each taken as a clip that stands still."""
    return clip_features(frames[:, None], batch_size)


def _kernels() -> list[Tensor]:
    """The fixed weights, drawn anew at each call; every other filter of the first layer is a derivative in time."""
    generator = torch.Generator().manual_seed(0)
    kernels = []
    for index, (fan_in, fan_out) in enumerate(pairwise(WIDTHS)):
        groups = 1 if index == 0 else STREAMS
        kernel = torch.randn(fan_out, fan_in // groups, 3, 3, 3, generator=generator)
        if index == 0:
            still, moving = kernel.chunk(STREAMS)
            still = still.mean(2, keepdim=True).expand_as(still)
            kernel = torch.cat([still, moving - moving.mean(2, keepdim=True)])
        kernels.append(kernel / kernel.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1))
    return kernels


@torch.no_grad()
def _features(clips: Tensor, kernels: list[Tensor]) -> Tensor:
    frames = clips.flatten(0, 1).movedim(-1, 1).float() / 127.5 - 1
    frames = F.adaptive_avg_pool2d(frames, SIZE)
    x = frames.unflatten(0, clips.shape[:2]).transpose(1, 2)  # n 3 t h w
    pooled = []
    for index, kernel in enumerate(kernels):
        x = F.pad(x, (0, 0, 0, 0, 1, 1), mode="replicate")  # a clip that stands still has no edge in time
        groups = 1 if index == 0 else STREAMS
        x = F.conv3d(x, kernel, stride=(1, 2, 2), padding=(0, 1, 1), groups=groups).abs()
        if index > 0:
            pooled += [x.mean((2, 3, 4)), x.std((2, 3, 4))]
    return torch.cat(pooled, 1)
