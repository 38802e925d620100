"""The figures of ``latentloom evaluate``, worked out set by set: what it reports, and what its plots are drawn from."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from latentloom.cli.evaluation_inputs import VideoSet
from latentloom.cli.evaluation_networks import Networks
from latentloom.cli.evaluation_options import EvaluationOptions
from latentloom.cli.evaluation_processes import Judging
from latentloom.cli.progress import progress
from latentloom.files import printable

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.evaluation.comparison import SetFigures
    from latentloom.evaluation.diversity import Described
    from latentloom.evaluation.memorisation import NearestClip
    from latentloom.evaluation.video_figures import VideoFigures, Windows

SAME = 0.5
"""Levels below which two clips are the same footage, coded anew perhaps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """What is reported, and the figures of both sets that plots show."""

    report: dict[str, Any]
    real: "SetFigures"
    fake: "SetFigures"


def judged(sets: Mapping[str, VideoSet], networks: Networks, options: EvaluationOptions) -> Figures:
    """All figures of ``real`` and ``fake``, and of ``fake`` beside ``training`` where that is given.

    Raises:
        ValueError: videos that cannot be read or judged.
    """
    from latentloom.evaluation import comparison

    compares = options.diversity or "training" in sets
    judging = Judging(options=options, windows=options.windows, warp=options.warp and _can_warp(), small=compares)
    real, fake = (judging.figures(sets[name], networks) for name in ("real", "fake"))
    with progress("intervals") as advance:
        chance = comparison.Chance(
            seed=options.seed, resamples=options.resamples, advance=lambda done, total: advance(done, total)
        )
        compared = comparison.compared(real, fake, chance)
    report: dict[str, Any] = {
        "real": {"path": str(sets["real"].path), **real.to_dict()},
        "fake": {"path": str(sets["fake"].path), **fake.to_dict()},
        **compared,
    }
    if options.paired:
        pairs = comparison.paired(sets["real"].frames(), sets["fake"].frames())
        report |= {**pairs, "psnr": pairs["psnr"] if isfinite(pairs["psnr"]) else None}
    if networks.clip is not None:
        report["clipsim"] = {"real": _similarity(real), "fake": _similarity(fake)}
    if options.diversity:
        report["diversity"] = _diversity(sets["fake"], real, fake, options.seed)
    if "training" in sets:
        report["memorisation"] = _memorisation(sets, judging, real, fake)
    return Figures(report=report, real=real, fake=fake)


def check_groups(generated: VideoSet) -> None:
    """Refuse ``--diversity`` of videos none of which belong together. Raises ``ValueError``."""
    from latentloom.evaluation.diversity import groups_of

    if not groups_of(video.name for video in generated.videos):
        raise ValueError(
            f"--diversity compares videos called NAME-1, NAME-2, ...: {printable(generated.path)} holds no two of one"
            " NAME; make them with `latentloom generate --rollouts`"
        )


def _can_warp() -> bool:
    from importlib.util import find_spec

    if find_spec("cv2") is None:
        print("warp error: left out, it needs OpenCV (pip install 'latentloom[eval]')")
        return False
    return True


def _similarity(figures: "SetFigures") -> dict[str, Any] | None:
    """Mean CLIPSIM of the videos that have a text, and how many these are; None where there is none."""
    values = [video.text_similarity for video in figures.videos if video.text_similarity is not None]
    return {"mean": sum(values) / len(values), "videos": len(values)} if values else None


def _diversity(generated: VideoSet, real: "SetFigures", fake: "SetFigures", seed: int) -> dict[str, Any]:
    """That of the groups of generated videos, beside the spread of all real ones, where there are two."""
    from latentloom.evaluation.diversity import diversity, groups_of, spread

    names = [video.name for video in generated.videos]
    described = dict(zip(names, map(_described, fake.videos), strict=True))
    groups = [[described[name] for name in members] for members in groups_of(names).values()]
    known = [_described(video) for video in real.videos]
    return {
        "fake": asdict(diversity(groups)),
        "real": asdict(spread(known, seed=seed)) if len(known) > 1 else None,
    }


def _described(video: "VideoFigures") -> "Described":
    from latentloom.evaluation.comparison import OWN
    from latentloom.evaluation.diversity import Described

    assert video.small is not None
    return Described(features=video.features.get(OWN, video.small[:0]), small=video.small)


def _memorisation(
    sets: Mapping[str, VideoSet], judging: Judging, real: "SetFigures", fake: "SetFigures"
) -> dict[str, Any]:
    """How near both sets come to the training footage: of each video the nearest of its windows, and of its frames."""
    from latentloom.evaluation.memorisation import NearestClips

    clips, frames = list["Tensor"](), list["Tensor"]()
    owners: dict[str, list[tuple[str, str]]] = {"clips": [], "frames": []}
    for side, figures in (("real", real), ("fake", fake)):
        for file, video in zip(sets[side].videos, figures.videos, strict=True):
            assert video.small is not None
            parts, pictures = _windows(video, judging.windows), list(video.small[:, None])
            clips += parts
            frames += pictures
            owners["clips"] += [(side, file.name)] * len(parts)
            owners["frames"] += [(side, file.name)] * len(pictures)
    searches = {"clips": NearestClips(clips, stride=judging.windows.stride), "frames": NearestClips(frames)}
    for name, small in judging.small_frames(sets["training"]):
        for search in searches.values():
            search.offer(name, small)
    if not any(searches["clips"].found):
        raise ValueError(
            f"no training video has {judging.windows.span} frames; ask for shorter windows (--window) or give longer"
            " footage (--training)"
        )
    return {kind: _nearest(owners[kind], search.found) for kind, search in searches.items()}


def _windows(video: "VideoFigures", windows: "Windows") -> "list[Tensor]":
    assert video.small is not None
    return [video.small[first : first + windows.span : windows.stride] for first in windows.firsts(video.num_frames)]


def _nearest(owners: Sequence[tuple[str, str]], found: "Sequence[NearestClip | None]") -> dict[str, Any]:
    """Smallest and median distance of each side; how many generated videos are nearer than any real one; which.

    Of m generated and n held-out real videos alike, m / (n + 1) are so by chance. Whoever is asked more often comes
    nearer: distances are the least over equally many clips of each video, ``clips_each``; ``nearest`` is over all.
    """
    from latentloom.data.clips import spread

    of_videos: dict[str, dict[str, list[NearestClip]]] = {"real": {}, "fake": {}}
    for (side, name), clip in zip(owners, found, strict=True):
        if clip is not None:
            of_videos[side].setdefault(name, []).append(clip)
    each = min(len(clips) for videos in of_videos.values() for clips in videos.values())
    distances = {
        side: sorted(min(clips[k].distance for k in spread(len(clips), each)) for clips in videos.values())
        for side, videos in of_videos.items()
    }
    return {
        side: {"smallest": values[0], "median": statistics.median(values), "videos": len(values)}
        for side, values in distances.items()
    } | {
        "clips_each": each,
        "nearer_than_any_real": sum(value < distances["real"][0] for value in distances["fake"]),
        "by_chance": len(distances["fake"]) / (len(distances["real"]) + 1),
        "real_in_training": sum(any(c.distance < SAME for c in clips) for clips in of_videos["real"].values()),
        "nearest": {
            name: asdict(min(clips, key=lambda clip: clip.distance)) for name, clips in of_videos["fake"].items()
        },
    }
