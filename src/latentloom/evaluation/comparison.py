"""The figures of a set of videos, and of one set against another: what ``latentloom evaluate`` tells.

Videos are taken one at a time; what is kept of each is a few numbers and a feature per window.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from latentloom.evaluation.consistency import flicker, warp_error
from latentloom.evaluation.drift import drift
from latentloom.evaluation.features import NAME, clip_features
from latentloom.evaluation.fidelity import psnr
from latentloom.evaluation.frechet import frechet_distance_of
from latentloom.evaluation.motion import frame_difference


@dataclass(frozen=True, kw_only=True, eq=False)
class SetFigures:
    """Figures of one set; means over videos. ``features`` has a row per window of ``window`` frames.

    Attributes:
        brightness_drift, saturation_drift, sharpness_drift: slopes per 100 frames (``drift.Drift``).
        warp_error: with estimated flow; None where OpenCV is missing or was not asked for.
    """

    num_videos: int
    num_frames: int
    window: int
    frame_difference: float
    warp_error: float | None
    brightness_drift: float
    saturation_drift: float
    sharpness_drift: float
    features: Float[Tensor, "n d"]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, the features as their count."""
        plain = {name: value for name, value in vars(self).items() if name != "features"}
        return {**plain, "windows": len(self.features)}


def figures_of(videos: Iterable[UInt8[Tensor, "_ _h _w 3"]], *, window: int, warp: bool) -> SetFigures:
    """The figures of videos of at least two frames each; features are of windows that do not overlap.

    Raises:
        ValueError: no video, one of fewer than two frames, or no video as long as a window.
    """
    rows, features = list[list[float]](), list[Tensor]()
    num_frames = 0
    for frames in videos:
        wander = drift(frames)
        row = [frame_difference(frames), wander.brightness, wander.saturation, wander.sharpness]
        rows.append([*row, warp_error(frames)] if warp else row)
        num_frames += len(frames)
        windows = [frames[first : first + window] for first in range(0, len(frames) - window + 1, window)]
        features += [clip_features(part[None]) for part in windows]
    if not rows:
        raise ValueError("there is no video to judge")
    if not features:
        raise ValueError(f"no video has {window} frames; ask for shorter windows or longer videos")
    means = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    return SetFigures(
        num_videos=len(rows),
        num_frames=num_frames,
        window=window,
        frame_difference=means[0],
        warp_error=means[4] if warp else None,
        brightness_drift=means[1],
        saturation_drift=means[2],
        sharpness_drift=means[3],
        features=torch.cat(features),
    )


def compared(real: SetFigures, fake: SetFigures) -> dict[str, Any]:
    """What one set says of the other; None where a set is too small or nothing moves."""
    enough = min(len(real.features), len(fake.features)) >= 2
    return {
        "frame_difference_ratio": fake.frame_difference / real.frame_difference if real.frame_difference else None,
        "frechet_distance": frechet_distance_of(fake.features, real.features) if enough else None,
        "features": NAME,
    }


def paired(real: Iterable[UInt8[Tensor, "_ _h _w 3"]], fake: Iterable[UInt8[Tensor, "_ _k _l 3"]]) -> dict[str, float]:
    """Mean PSNR (dB) and flicker of videos against the videos they should be, pair by pair.

    Raises:
        ValueError: videos of different shapes, or no pair.
    """
    pairs = [(psnr(ours, theirs).mean().item(), flicker(ours, theirs)) for theirs, ours in zip(real, fake, strict=True)]
    if not pairs:
        raise ValueError("there is no pair of videos to judge")
    return {
        "psnr": sum(pair[0] for pair in pairs) / len(pairs),
        "flicker": sum(pair[1] for pair in pairs) / len(pairs),
    }
