"""Whether the figures see known faults and rank them: graded corruptions of held-out clips (not done in the paper).

    python -m runs.experiments.corruptions work/corruptions --clips work/clips --page
    python -m runs.experiments.corruptions work/tiny --tiny              # the same path in seconds, of no use

work/clips is the footage of ``runs/drive_small``. Expected: docs/results/corruptions.md, about a quarter of an hour of
one core with bfloat16 (AMX), no GPU. Killed, the same command goes on. A larger twin: ``--scenes 2000 --num-frames 16
--pixels 128 256 --seeds 0 1 2 3 4``.

Windows of drives and rendered scenes that no network has seen are dealt into two halves, by seed. Distances are those
of the first half, clean, from the second, corrupted: eleven corruptions in four strengths. How far two clean halves
are apart by chance is measured on forty other deals; a corruption is seen where its distance is more than three
deviations of these above their mean.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from runs.experiments import corruptions_page
from runs.experiments.results import MIN_SEEDS, check_page
from runs.experiments.trials import Figures, Trial, Trials, command
from torch import Tensor

from latentloom.data.clips import clip_windows
from latentloom.data.manifest import Dataset, read_rows
from latentloom.data.world import random_scene, render
from latentloom.evaluation import corruptions
from latentloom.evaluation.consistency import flicker_power, warp_error
from latentloom.evaluation.features import clip_features, frame_features
from latentloom.evaluation.frechet import frechet_distance_of
from latentloom.evaluation.kernel import squared_mmd
from latentloom.evaluation.motion import frame_difference
from latentloom.evaluation.video_network import SHA256, video_features
from latentloom.files import digest_of, save_tensors
from latentloom.precision import autocast, preferred_dtype
from latentloom.seeds import generator_of

FPS = 6.5
FIRST_SCENE = 40_000
"""Seeds of the rendered scenes, none of which a network was trained on."""
LEFT_OUT = "city_gif"  # a GIF: spoiled already
WARPED = 4
"""The warp error is slow: it is of every fourth window."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """``scenes`` rendered clips of so many frames and pixels, and ``deals`` of clean windows for chance."""

    scenes: int = 64
    num_frames: int = 8
    pixels: tuple[int, int] = (64, 128)
    deals: int = 40


TINY = Size(scenes=4, pixels=(32, 64), deals=3)
Corrupt = Callable[[Tensor, float, torch.Generator], Tensor]
LEVELS: Mapping[str, tuple[Corrupt, tuple[float, ...]]] = {
    "noise": (corruptions.noise, (2, 4, 8, 16)),
    "blur": (corruptions.blur, (0.25, 0.5, 1, 2)),
    "compression": (corruptions.compression, (50, 75, 90, 95)),
    "still warp": (corruptions.still_warp, (0.5, 1, 2, 4)),
    "moving warp": (corruptions.moving_warp, (0.5, 1, 2, 4)),
    "jitter": (corruptions.jitter, (0.25, 0.5, 1, 2)),
    "flicker": (corruptions.flicker, (0.02, 0.05, 0.1, 0.2)),
    "repeated frames": (corruptions.repeats, (0.1, 0.25, 0.5, 1)),
    "shuffled frames": (corruptions.shuffle, (2, 3, 4, 8)),
    "swapped halves": (corruptions.swapped_halves, (0.25, 0.5, 0.75, 1)),
    "backward": (corruptions.backward, (0.25, 0.5, 0.75, 1)),
}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Numbers of windows (``n t h w 3`` -> ``m d``), of every so many, and how far two sets of them are apart."""

    measure: Callable[[Tensor], Tensor]
    distance: Callable[[Tensor, Tensor], float]
    every: int = 1


def ratio_from_one(ours: Tensor, theirs: Tensor) -> float:
    """How far the ratio of two means is from 1."""
    return abs(theirs.mean().item() / ours.mean().item() - 1)


def each(figure: Callable[[Tensor], float]) -> Callable[[Tensor], Tensor]:
    """A figure of a clip as the one number of each of many."""
    return lambda clips: torch.tensor([[figure(clip)] for clip in clips], dtype=torch.float64)


def own_features(clips: Tensor) -> Tensor:
    """Of the own network, in bfloat16 where that is fast: distances differ by far less than by chance."""
    with autocast("cpu", preferred_dtype()):
        return video_features(clips, 16)


METRICS: Mapping[str, Metric] = {
    "Frechet, own network": Metric(measure=own_features, distance=frechet_distance_of),
    "KID, own network": Metric(measure=own_features, distance=squared_mmd),
    "Frechet, random network": Metric(measure=clip_features, distance=frechet_distance_of),
    "Frechet, frames alone": Metric(
        measure=lambda clips: frame_features(clips[:, ::2].flatten(0, 1)), distance=frechet_distance_of
    ),
    "warp error": Metric(measure=each(warp_error), distance=ratio_from_one, every=WARPED),
    "frame difference": Metric(measure=each(frame_difference), distance=ratio_from_one),
    "flicker power": Metric(measure=each(lambda clip: flicker_power(clip).pixels), distance=ratio_from_one),
}


def held_out_windows(dataset: Dataset, size: Size) -> list[Tensor]:
    """Windows of the held-out drives, none sharing a frame, averaged to the size."""
    windows, ends = list[Tensor](), dict[int, int]()
    for window in clip_windows(dataset, size.num_frames, FPS, split="val"):
        record = dataset.records[window.record]
        if window.first >= ends.get(window.record, 0) and not record.id.startswith(LEFT_OUT):
            ends[window.record] = window.indices[-1] + 1
            frames = dataset.frames(record, window.indices).movedim(-1, 1).float()
            windows.append(F.adaptive_avg_pool2d(frames, size.pixels).round().to(torch.uint8).movedim(1, -1))
    return windows


def rendered(path: Path, size: Size) -> list[Tensor]:
    """Clips of scenes that nothing was trained on, rendered once and kept."""
    if not path.is_file():
        scenes = [random_scene(FIRST_SCENE + number) for number in range(size.scenes)]
        clips = torch.stack([render(scene, size.num_frames, FPS, *size.pixels).frames for scene in scenes])
        save_tensors(path, {"clips": clips})
    return list(read_rows(path, "clips", range(size.scenes), size.scenes))


def measured(clips: Tensor) -> dict[str, Tensor]:
    """Per metric the numbers of each window that it wants (``n m d``); what two metrics measure is measured once."""
    rows = dict[Callable, Tensor]()
    for metric in METRICS.values():
        if metric.measure not in rows:
            chosen = clips[:: metric.every]
            rows[metric.measure] = metric.measure(chosen).unflatten(0, (len(chosen), -1))
    return {name: rows[metric.measure] for name, metric in METRICS.items()}


def distances(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Figures:
    """How far apart by each metric."""
    return {
        name: metric.distance(ours[name].flatten(0, 1), theirs[name].flatten(0, 1)) for name, metric in METRICS.items()
    }


class Experiment:
    """All windows ``n t h w 3``, and what each metric measures of them while they are clean."""

    def __init__(self, clips: Tensor) -> None:
        self.clips = clips
        parts = [measured(clip[None]) for clip in clips]  # one by one: every window has its warp error
        self.clean = {name: torch.cat([part[name] for part in parts]) for name in METRICS}

    def deal(self, *seed: int) -> tuple[Tensor, Tensor]:
        """Two halves of the windows, equally many."""
        order = torch.randperm(len(self.clips), generator=generator_of(*seed))
        half = len(order) // 2
        return order[:half], order[half : 2 * half]

    def clean_of(self, chosen: Tensor) -> dict[str, Tensor]:
        return {name: self.clean[name][chosen[:: metric.every]] for name, metric in METRICS.items()}

    def corrupted(self, trial: Trial) -> Figures:
        """Distances at each strength of one corruption, none first, for one deal."""
        first, second = self.deal(trial.seed, 0)
        corrupt, strengths = LEVELS[trial.variant]
        place = list(LEVELS).index(trial.variant)
        ours = self.clean_of(first)
        figures = told("0", distances(ours, self.clean_of(second)))
        for strength in strengths:
            spoiled = [corrupt(self.clips[k], strength, generator_of(trial.seed, place, int(k))) for k in second]
            figures |= told(f"{strength:g}", distances(ours, measured(torch.stack(spoiled))))
        return figures

    def between_clean(self, trial: Trial) -> Figures:
        """Distances of two clean halves of another deal."""
        first, second = self.deal(trial.seed, 1)
        return distances(self.clean_of(first), self.clean_of(second))


def told(strength: str, figures: Figures) -> Figures:
    return {f"{name} at {strength}": value for name, value in figures.items()}


def run(work: Path, clips: Path | None, size: Size, seeds: Sequence[int], *, page: bool) -> None:
    """Make the trials that are not there yet, and tell what they say."""
    levels = {name: list(strengths) for name, (_, strengths) in LEVELS.items()}
    settings = {**asdict(size), "fps": FPS, "network": SHA256, "levels": levels}
    settings["footage"] = None if clips is None else digest_of(clips / "manifest.jsonl")
    trials = Trials(work=work, settings=settings)
    windows = rendered(work / "scenes.safetensors", size)
    windows += held_out_windows(Dataset.load(clips), size) if clips else []
    print(f"{len(windows)} windows, {size.scenes} of them rendered for this", flush=True)
    experiment = Experiment(torch.stack(windows))
    clean = {deal: trials.once(trials.trial("clean", deal), experiment.between_clean) for deal in range(size.deals)}
    found = trials.run(list(LEVELS), seeds, experiment.corrupted)
    corruptions_page.report(trials, found, clean, len(windows), page=page)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--clips", type=Path, help="footage of runs/drive_small, beside rendered scenes")
    parser.add_argument("--scenes", type=int, default=Size().scenes)
    parser.add_argument("--num-frames", type=int, default=Size().num_frames)
    parser.add_argument("--pixels", type=int, nargs=2, default=Size().pixels, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--page", action="store_true", help="write tables and plot to docs/results")
    given = parser.parse_args(arguments)
    size = TINY if given.tiny else Size(scenes=given.scenes, num_frames=given.num_frames, pixels=tuple(given.pixels))
    if given.page:
        whole = given.clips is not None and size == Size() and len(given.seeds) >= MIN_SEEDS
        check_page("corruptions", corruptions_page.TABLES, whole=whole)
    run(given.work, None if given.tiny else given.clips, size, given.seeds, page=given.page)


if __name__ == "__main__":
    command(main)
