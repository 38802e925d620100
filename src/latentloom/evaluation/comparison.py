"""The figures of a set of videos, and of one set against another: what ``latentloom evaluate`` tells.

Videos are taken one at a time; what is kept of each is a few numbers and the features of its windows, per network.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from latentloom.evaluation.consistency import flicker, warp_error
from latentloom.evaluation.drift import drift
from latentloom.evaluation.features import NAME, clip_features
from latentloom.evaluation.fidelity import psnr
from latentloom.evaluation.frechet import bootstrap_interval, frechet_distance_of
from latentloom.evaluation.inception_score import SPLITS, inception_score
from latentloom.evaluation.kernel import SUBSET_SIZE, kernel_distance
from latentloom.evaluation.motion import frame_difference

Extract = Callable[[Tensor], Tensor]
"""Windows of one video, uint8 ``n t h w 3`` -> their features, ``m d``."""
OWN, I3D, INCEPTION, CLASSES = "own", "i3d", "inception", "classes"


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
        firsts = list(range(0, len(frames) - self.span + 1, self.span))[: self.per_video]
        windows = [frames[first : first + self.span : self.stride] for first in firsts]
        return torch.stack(windows) if windows else frames.new_zeros(0, self.length, *frames.shape[1:])


@dataclass(frozen=True, kw_only=True, eq=False)
class SetFigures:
    """Figures of one set; means over videos. ``features``: network to the rows of each video that has a window.

    Attributes:
        brightness_drift, saturation_drift, sharpness_drift: slopes per 100 frames (``drift.Drift``).
        warp_error: with estimated flow; None where OpenCV is missing or was not asked for.
        window: frames of a window, of which there are ``windows``.
    """

    num_videos: int
    num_frames: int
    window: int
    windows: int
    frame_difference: float
    warp_error: float | None
    brightness_drift: float
    saturation_drift: float
    sharpness_drift: float
    features: Mapping[str, tuple[Float[Tensor, "_ _d"], ...]]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, without the features."""
        return {name: value for name, value in vars(self).items() if name != "features"}

    def rows(self, network: str) -> Float[Tensor, "n d"]:
        """The features of all windows."""
        return torch.cat(list(self.features[network]))


def figures_of(
    videos: Iterable[UInt8[Tensor, "_ _h _w 3"]],
    *,
    windows: Windows,
    warp: bool,
    networks: Mapping[str, Extract] | None = None,
) -> SetFigures:
    """The figures of videos of at least two frames each.

    Args:
        networks: what takes features of windows, beside our own.

    Raises:
        ValueError: no video, one of fewer than two frames, or no video as long as a window.
    """
    extractors: dict[str, Extract] = {OWN: clip_features, **(networks or {})}
    rows, features = list[list[float]](), {name: list[Tensor]() for name in extractors}
    num_frames, num_windows = 0, 0
    for frames in videos:
        rows.append(_row(frames, warp))
        num_frames += len(frames)
        parts = windows.of(frames)
        num_windows += len(parts)
        for name, extract in extractors.items():
            if len(parts):
                features[name].append(extract(parts))
    if not rows:
        raise ValueError("there is no video to judge")
    if not num_windows:
        raise ValueError(f"no video has {windows.span} frames; ask for shorter windows (--window) or longer videos")
    means = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    return SetFigures(
        num_videos=len(rows),
        num_frames=num_frames,
        window=windows.length,
        windows=num_windows,
        frame_difference=means[0],
        warp_error=means[4] if warp else None,
        brightness_drift=means[1],
        saturation_drift=means[2],
        sharpness_drift=means[3],
        features={name: tuple(of_videos) for name, of_videos in features.items()},
    )


def _row(frames: Tensor, warp: bool) -> list[float]:
    wander = drift(frames)
    row = [frame_difference(frames), wander.brightness, wander.saturation, wander.sharpness]
    return [*row, warp_error(frames)] if warp else row


@dataclass(frozen=True, kw_only=True)
class Chance:
    """What is drawn: ``resamples`` of videos for intervals (0 leaves them out), all from ``seed``."""

    seed: int = 0
    resamples: int = 100
    advance: Callable[[int, int], None] | None = None


def compared(real: SetFigures, fake: SetFigures, chance: Chance) -> dict[str, Any]:
    """What one set says of the other; None where a set is too small or nothing moves.

    Raises:
        ValueError: fewer than two windows on a side, where a named network was asked for its distance.
    """
    counts = len(real.rows(OWN)), len(fake.rows(OWN))
    named = {I3D: "fvd", INCEPTION: "fid"}
    if min(counts) < 2 and set(real.features) & set(named):
        raise ValueError(
            f"{counts[0]} real and {counts[1]} generated windows: a distance needs at least 2 of each, better"
            " thousands; give more videos, longer ones or a shorter --window"
        )
    if counts[0] != counts[1]:
        warnings.warn(
            f"{counts[0]} real and {counts[1]} generated windows: Frechet distances depend on how many there are;"
            " take equally many (--videos, --windows-per-video)",
            stacklevel=2,
        )
    own = _frechet(real, fake, OWN, chance) if min(counts) >= 2 else {"distance": None, "interval": None}
    report: dict[str, Any] = {
        "frame_difference_ratio": fake.frame_difference / real.frame_difference if real.frame_difference else None,
        "frechet_distance": own["distance"],
        "frechet_interval": own["interval"],
        "features": NAME,
    }
    report |= {title: _frechet(real, fake, name, chance) for name, title in named.items() if name in real.features}
    if INCEPTION in real.features:
        report["kid"] = _kid(real.rows(INCEPTION), fake.rows(INCEPTION), chance.seed)
    if CLASSES in real.features:
        report["inception_score"] = {"real": _score(real), "fake": _score(fake)}
    return report


def _frechet(real: SetFigures, fake: SetFigures, name: str, chance: Chance) -> dict[str, Any]:
    """The distance, its interval over videos (None for one video), and how many vectors of what width it is of."""
    ours, theirs = fake.rows(name), real.rows(name)
    interval = None
    if chance.resamples and min(len(fake.features[name]), len(real.features[name])) >= 2:
        interval = bootstrap_interval(
            fake.features[name],
            real.features[name],
            resamples=chance.resamples,
            seed=chance.seed,
            advance=chance.advance,
        )
    return {
        "distance": frechet_distance_of(ours, theirs),
        "interval": None if interval is None else asdict(interval),
        "vectors": {"real": len(theirs), "fake": len(ours)},
        "width": ours.shape[1],
    }


def _kid(real: Tensor, fake: Tensor, seed: int) -> dict[str, Any]:
    """Subsets of at most half a set: those of a whole set would all be alike."""
    size = min(SUBSET_SIZE, max(2, min(len(real), len(fake)) // 2))
    return asdict(kernel_distance(fake, real, subset_size=size, seed=seed))


def _score(figures: SetFigures) -> dict[str, Any]:
    rows = figures.rows(CLASSES)
    return asdict(inception_score(rows, splits=min(SPLITS, len(rows))))


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
