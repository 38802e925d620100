"""How brightness, colour and sharpness wander over a long video: what limits rollouts (spec, section 12)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Slope of a straight line through each property, per 100 frames.

    Attributes:
        brightness: mean luma, 0 to 255.
        saturation: mean difference of the largest and smallest channel, 0 to 255.
        sharpness: mean absolute difference of neighbouring pixels' luma, 0 to 255.
    """

    brightness: float
    saturation: float
    sharpness: float


def drift(frames: UInt8[Tensor, "t h w 3"]) -> Drift:
    """The drift of one video. Scenes that change (a tunnel, dusk) drift too: compare with real video of the kind.

    Raises:
        ValueError: fewer than two frames.
    """
    return drift_of(properties(frames))


def drift_of(curves: Float64[Tensor, "3 t"]) -> Drift:
    """The drift of a video whose ``properties`` are known.

    Raises:
        ValueError: fewer than two frames.
    """
    if curves.shape[1] < 2:
        raise ValueError(f"drift needs at least 2 frames, given {curves.shape[1]}")
    brightness, saturation, sharpness = (100 * slopes(curves)).tolist()
    return Drift(brightness=brightness, saturation=saturation, sharpness=sharpness)


def properties(frames: UInt8[Tensor, "t h w 3"]) -> Float64[Tensor, "3 t"]:
    """Brightness, saturation and sharpness of each frame, as ``Drift`` defines them."""
    weights = torch.tensor(LUMA, dtype=torch.float64)
    rows = []
    for frame in frames:
        pixels = frame.double()
        luma = pixels @ weights
        edges = (luma.diff(dim=0).abs().mean() + luma.diff(dim=1).abs().mean()) / 2
        rows.append(torch.stack([luma.mean(), (pixels.amax(-1) - pixels.amin(-1)).mean(), edges]))
    return torch.stack(rows, 1)


def slopes(curves: Float64[Tensor, "... t"]) -> Float64[Tensor, "..."]:
    """Least squares slopes per frame."""
    frames = torch.arange(curves.shape[-1], dtype=curves.dtype)
    frames = frames - frames.mean()
    return (curves * frames).sum(-1) / frames.square().sum()
