"""The figures of one video: what may be worked out for each video alone, in any process, before sets are compared.

Not here: means over a set, and distances between sets (``comparison``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from latentloom.evaluation.consistency import flicker_power, warp_error
from latentloom.evaluation.drift import drift_of, properties
from latentloom.evaluation.memorisation import small_frames
from latentloom.evaluation.motion import frame_differences

Extract = Callable[[Tensor], Tensor]
"""Windows of one video, uint8 ``n t h w 3`` -> their features, ``m d``."""
CURVES = ("brightness", "saturation", "sharpness", "frame difference")
"""What is told of each frame; the first has no difference, its value is that of the second."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Which frames features describe: windows one after another from a video's first frame, none shared.

    Attributes:
        length: frames of a window.
        stride: every so many frames one is taken.
        per_video: at most so many of a video; None takes all.
    """

    length: int = 16
    stride: int = 1
    per_video: int | None = None

    @property
    def span(self) -> int:
        """Frames of the video that a window covers."""
        return (self.length - 1) * self.stride + 1

    def of(self, frames: UInt8[Tensor, "t h w 3"]) -> UInt8[Tensor, "n l h w 3"]:
        """The windows of a video; none of one that is shorter than ``span``."""
        windows = [frames[first : first + self.span : self.stride] for first in self.firsts(len(frames))]
        return torch.stack(windows) if windows else frames.new_zeros(0, self.length, *frames.shape[1:])

    def firsts(self, num_frames: int) -> list[int]:
        """The first frame of each window of a video of so many."""
        return list(range(0, num_frames - self.span + 1, self.span))[: self.per_video]


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoFigures:
    """What is kept of one video: a few numbers, its curves, and the features of its windows per network.

    Attributes:
        warp_error: with estimated flow; None where it was not asked for.
        brightness_drift, saturation_drift, sharpness_drift: slopes per 100 frames (``drift.Drift``).
        brightness_flicker, pixel_flicker: powers (``consistency.FlickerPower``); None of a video of two frames.
        curves: ``CURVES`` of each frame.
        features: network to the vectors of its windows, none of a video that is shorter than a window.
        small: every frame averaged to a few pixels (``memorisation.small_frames``); None where nothing needs it.
        text_similarity: CLIPSIM; None without a text or a network.
    """

    num_frames: int
    windows: int
    frame_difference: float
    warp_error: float | None
    brightness_drift: float
    saturation_drift: float
    sharpness_drift: float
    brightness_flicker: float | None
    pixel_flicker: float | None
    curves: Float64[Tensor, "4 t"]
    features: Mapping[str, Float[Tensor, "_ _d"]]
    small: Float[Tensor, "t p"] | None = None
    text_similarity: float | None = None


def video_figures(
    frames: UInt8[Tensor, "t h w 3"],
    *,
    windows: Windows,
    warp: bool,
    networks: Mapping[str, Extract],
    small: bool = False,
    similarity: Callable[[Tensor], float] | None = None,
) -> VideoFigures:
    """The figures of a video of at least two frames.

    Args:
        networks: what takes features of windows.
        small: keep the frames, small, for what compares videos with each other.
        similarity: what compares the frames with the video's text.

    Raises:
        ValueError: fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError(f"{len(frames)} frame is a picture, not a video; judge videos of 2 or more")
    looks, steps = properties(frames), frame_differences(frames)
    wander = drift_of(looks)
    power = flicker_power(frames) if len(frames) > 2 else None
    parts = windows.of(frames)
    return VideoFigures(
        num_frames=len(frames),
        windows=len(parts),
        frame_difference=steps.mean().item(),
        warp_error=warp_error(frames) if warp else None,
        brightness_drift=wander.brightness,
        saturation_drift=wander.saturation,
        sharpness_drift=wander.sharpness,
        brightness_flicker=None if power is None else power.brightness,
        pixel_flicker=None if power is None else power.pixels,
        curves=torch.cat([looks, torch.cat([steps[:1], steps])[None]]),
        features={name: extract(parts) for name, extract in networks.items()} if len(parts) else {},
        small=small_frames(frames) if small else None,
        text_similarity=None if similarity is None else similarity(frames),
    )
