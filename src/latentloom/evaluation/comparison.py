"""The figures of a set of videos, and of one set against another: what ``latentloom evaluate`` tells.

Of each video a few numbers and the features of its windows are kept (``video_figures``); here they become means over a
set, distances between sets, and their intervals.
"""

import statistics
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from latentloom.evaluation.consistency import flicker
from latentloom.evaluation.feature_sets import seeded
from latentloom.evaluation.fidelity import psnr
from latentloom.evaluation.frechet import bootstrap_interval, frechet_distance_of
from latentloom.evaluation.inception_score import SPLITS, inception_score
from latentloom.evaluation.kernel import SUBSET_SIZE, kernel_distance
from latentloom.evaluation.video_figures import Extract, VideoFigures, Windows, video_figures
from latentloom.evaluation.video_network import video_features

OWN, I3D, INCEPTION, CLASSES, C3D = "own", "i3d", "inception", "classes", "c3d"
FRECHET = {OWN: "frechet", I3D: "fvd", INCEPTION: "fid"}
"""What the Frechet distance in the features of a network is called."""
KERNEL = {OWN: "own_kid", INCEPTION: "kid"}
"""What the kernel distance in the features of a network is called: of few windows it says more than Frechet's."""
SCORES = {CLASSES: ("inception_score", SPLITS), C3D: ("c3d_inception_score", 1)}
"""What the inception score by the classes of a network is called, and of how many parts it is: TGAN's is of one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SetFigures:
    """Figures of one set: means over the videos that have them, None where none has.

    Attributes:
        warp_error: with estimated flow; None where it was not asked for.
        brightness_drift, saturation_drift, sharpness_drift: slopes per 100 frames (``drift.Drift``).
        brightness_flicker, pixel_flicker: powers (``consistency.FlickerPower``).
        window: frames of a window, of which there are ``windows``; ``too_short`` videos have none.
        videos: what they are of.
    """

    num_videos: int
    num_frames: int
    window: int
    windows: int
    too_short: int
    frame_difference: float
    warp_error: float | None
    brightness_flicker: float | None
    pixel_flicker: float | None
    brightness_drift: float
    saturation_drift: float
    sharpness_drift: float
    videos: tuple[VideoFigures, ...]

    @classmethod
    def of(cls, videos: Iterable[VideoFigures], windows: Windows) -> "SetFigures":
        """The figures of a set.

        Raises:
            ValueError: no video, or none that is as long as a window.
        """
        videos = tuple(videos)
        if not videos:
            raise ValueError("there is no video to judge")
        if not any(video.windows for video in videos):
            longest = max(video.num_frames for video in videos)
            raise ValueError(
                f"no video has {windows.span} frames, the longest {longest}; ask for shorter windows (--window) or give"
                " longer videos"
            )

        def mean(name: str) -> float | None:
            values = [getattr(video, name) for video in videos]
            known = [value for value in values if value is not None]
            return statistics.fmean(known) if known else None

        names = ("frame_difference", "warp_error", "brightness_flicker", "pixel_flicker")
        drifts = ("brightness_drift", "saturation_drift", "sharpness_drift")
        means: dict[str, Any] = {name: mean(name) for name in (*names, *drifts)}
        return cls(
            num_videos=len(videos),
            num_frames=sum(video.num_frames for video in videos),
            window=windows.length,
            windows=sum(video.windows for video in videos),
            too_short=sum(not video.windows for video in videos),
            videos=videos,
            **means,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, without the videos."""
        return {name: value for name, value in vars(self).items() if name != "videos"}

    @property
    def networks(self) -> set[str]:
        """What took features."""
        return {name for video in self.videos for name in video.features}

    def features(self, network: str) -> list[Float[Tensor, "_ _d"]]:
        """The features of each video that has a window."""
        return [video.features[network] for video in self.videos if network in video.features]

    def rows(self, network: str) -> Float[Tensor, "n d"]:
        """The features of all windows."""
        return torch.cat(self.features(network))


def figures_of(
    videos: Iterable[UInt8[Tensor, "_ _h _w 3"]],
    *,
    windows: Windows,
    warp: bool,
    networks: Mapping[str, Extract] | None = None,
) -> SetFigures:
    """The figures of videos of at least two frames each, one after another.

    Args:
        networks: what takes features of windows, beside our own.

    Raises:
        ValueError: no video, one of fewer than two frames, or no video as long as a window.
    """
    extractors: dict[str, Extract] = {OWN: video_features, **(networks or {})}
    figures = (video_figures(frames, windows=windows, warp=warp, networks=extractors) for frames in videos)
    return SetFigures.of(figures, windows)


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
    named = real.networks & fake.networks
    counts = real.windows, fake.windows
    if min(counts) < 2 and named & {I3D, INCEPTION}:
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
    report: dict[str, Any] = {
        "frame_difference_ratio": fake.frame_difference / real.frame_difference if real.frame_difference else None
    }
    for network, title in FRECHET.items():
        if network in named:
            report[title] = _frechet(real, fake, network, chance) if min(counts) >= 2 else None
    for network, title in KERNEL.items():
        if network in named and min(len(side.features(network)) for side in (real, fake)) >= 2:
            report[title] = _kid(real.features(network), fake.features(network), chance.seed)
    for network, (title, splits) in SCORES.items():
        if network in named:
            report[title] = {
                side: _score(figures.rows(network), splits, chance.seed)
                for side, figures in (("real", real), ("fake", fake))
            }
    return report


def _frechet(real: SetFigures, fake: SetFigures, network: str, chance: Chance) -> dict[str, Any]:
    """The distance, its interval over videos (None for one video), and how many vectors of what width it is of."""
    ours, theirs = fake.features(network), real.features(network)
    interval = None
    if chance.resamples and min(len(ours), len(theirs)) >= 2:
        interval = bootstrap_interval(
            ours, theirs, resamples=chance.resamples, seed=chance.seed, advance=chance.advance
        )
    return {
        "distance": frechet_distance_of(torch.cat(ours), torch.cat(theirs)),
        "interval": None if interval is None else asdict(interval),
        "vectors": {"real": sum(map(len, theirs)), "fake": sum(map(len, ours))},
        "width": ours[0].shape[1],
    }


def _kid(real: Sequence[Tensor], fake: Sequence[Tensor], seed: int) -> dict[str, Any]:
    """Of videos, in subsets of at most half of them: those of a whole set would all be alike."""
    longest, videos = max(len(rows) for rows in (*real, *fake)), min(len(real), len(fake))
    size = max(2, min(SUBSET_SIZE // longest, videos // 2))
    return asdict(kernel_distance(fake, real, subset_size=size, seed=seed))


def _score(rows: Tensor, splits: int, seed: int) -> dict[str, Any]:
    """Rows are shuffled: frames of one video are alike, and in one part would lower its score.

    Shuffled from an order of their own, whatever the order of the videos; sums of probabilities, all 1, make none.
    """
    rows = rows[(rows.double() @ torch.arange(1.0, rows.shape[1] + 1).double()).argsort(stable=True)]
    rows = rows[torch.randperm(len(rows), generator=seeded(seed))]
    return {**asdict(inception_score(rows, splits=min(splits, len(rows)))), "vectors": len(rows)}


def paired(real: Iterable[UInt8[Tensor, "_ _h _w 3"]], fake: Iterable[UInt8[Tensor, "_ _k _l 3"]]) -> dict[str, float]:
    """Mean PSNR (dB) and flicker of videos against the videos they should be, pair by pair.

    Raises:
        ValueError: videos of different shapes, or no pair.
    """
    pairs: Sequence[tuple[float, float]] = [
        (psnr(ours, theirs).mean().item(), flicker(ours, theirs)) for theirs, ours in zip(real, fake, strict=True)
    ]
    if not pairs:
        raise ValueError("there is no pair of videos to judge")
    return {
        "psnr": statistics.fmean(pair[0] for pair in pairs),
        "flicker": statistics.fmean(pair[1] for pair in pairs),
    }
