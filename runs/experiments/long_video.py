"""What limits very long videos: drift of rollouts of a thousand frames, setting by setting (spec, section 12).

    python -m runs.experiments.long_video work/long_video --dataset work/clips --page
    python -m runs.experiments.long_video work/tiny --tiny
    python -m runs.experiments.long_video work/longer --dataset work/clips --frames 5000 --steps 25 --device cuda

Expected: docs/results/long_video.md, .json, .png and a sheet per setting in WORK in about 85 minutes of one core (AMX,
bfloat16), without GPU; the tiny twin in half a minute, which makes its own
footage and writes no page; the third line is the larger twin. A seed is a held-out frame to begin with and the noise.
Each setting changes one thing of the stack's own; ``convolutional in time`` denoises all frames at once, from the same
words and noise, without a given frame. Frames are decoded each for itself, those that are looked at alone. Latents are
kept: a killed run goes on at its window, and judging again, by another learned network, costs no rollout.
Not here: the measures (``long_video_figures``), the page's plot (``long_video_page``).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from runs.drive_small.world import add_scene
from runs.experiments.long_video_figures import Footage, Look, Read, RealWindows, figures_of, held_out_clips
from runs.experiments.long_video_page import NAME, TABLES, plot, sheet, write_tables
from runs.experiments.results import PAGES, check_page, keep
from runs.experiments.trials import Figures, Trial, Trials, command, named, weights_of
from safetensors.torch import load_file
from torch import Tensor

from latentloom.data.clips import clip_windows, stride_for
from latentloom.data.manifest import ClipRecord, Dataset, DatasetWriter
from latentloom.data.world import random_scene, render
from latentloom.evaluation import video_network
from latentloom.evaluation.features import clip_features
from latentloom.evaluation.video_network import video_features
from latentloom.files import digest_of, save_tensors
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.precision import preferred_dtype
from latentloom.shapes import from_pixels, to_pixels
from latentloom.stack import Stack
from latentloom.stages.journal import Journal
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.prediction import roll_out
from latentloom.stages.request import MAX_FRAMES, ClipRequest, seeded_generator

STARTS = (("lake_b_val", 25), ("highway_yellow_b", 20), ("world_0199", 0))
"""Record and frame: simulator, real, rendered. The drives go straight on by day."""
REAL = {
    "real footage": ("lake_a_more", "jungle_d_auto_1", "lake_b_more"),
    "held-out footage": ("jungle_d_auto_val", "lake_b_val"),
}
"""What is as long, and what nobody trained on: shorter."""
NETWORKS = {"learned features": video_features, "random features": clip_features}
TINY_FRAMES = 32


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What differs from the stack's own: S, fields of a window's request, or all frames in one denoising."""

    overlap: int = 2
    changes: Mapping[str, Any] = field(default_factory=dict)
    at_once: bool = False


PLAIN = {"guidance_scale": 1.0}
"""Half the cost: one prediction a step instead of two. Compared with the stack's own in a row of its own."""
OWN, CHEAP = "the stack's own", "text guidance 1"
SETTINGS = {
    OWN: Setting(),
    "context guidance 2": Setting(changes={"context_guidance_scale": 2.0}),
    CHEAP: Setting(changes=PLAIN),
    "S = 1": Setting(overlap=1, changes=PLAIN),
    "convolutional in time": Setting(at_once=True, changes=PLAIN),
    "context noise 150": Setting(changes=PLAIN | {"context_noise": 150}),
    "context noise 50": Setting(changes=PLAIN | {"context_noise": 50}),
    "strength 0.6": Setting(changes=PLAIN | {"strength": 0.6}),
    "strength 1": Setting(changes=PLAIN | {"strength": 1.0}),
}
"""The first two under the stack's guidance by the text, 2, the others under 1."""
BASELINES = {name: OWN if name in ("context guidance 2", CHEAP) else CHEAP for name in SETTINGS if name != OWN}


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """A stack, footage to begin with and to compare with, and how long and how finely videos are made."""

    stack: Stack
    dataset: Dataset
    num_frames: int
    steps: int
    size: tuple[int, int]
    look: Look = field(default_factory=Look)
    starts: Sequence[tuple[str, int]] = STARTS
    real: Mapping[str, Sequence[str]] = field(default_factory=lambda: REAL)

    @property
    def settings(self) -> dict[str, Any]:
        """What all figures depend on, beside variant and start."""
        footage = digest_of(self.dataset.root / "manifest.jsonl")
        made = {"weights": weights_of(self.stack), "frames": self.num_frames, "steps": self.steps, "size": self.size}
        return made | {"footage": footage, "starts": self.starts, "real": self.real, "look": asdict(self.look)}

    def window(self, setting: Setting, caption: str) -> ClipRequest:
        clip = self.stack.info.request(caption, num_inference_steps=self.steps)
        window = self.stack.info.stages["prediction"].window(clip)
        return replace(window, height=self.size[0], width=self.size[1], **setting.changes)

    def latents(self, setting: Setting, trial: Trial) -> Tensor:
        """``1 t c h w``: of the folder, where they were made before."""
        path = trial.folder / "latents.safetensors"
        if not path.is_file():
            trial.folder.mkdir(parents=True, exist_ok=True)
            made = self.at_once if setting.at_once else self.rolled_out
            save_tensors(path, {"latents": made(setting, trial).half().cpu().contiguous()})
        return load_file(path)["latents"]

    def rolled_out(self, setting: Setting, trial: Trial) -> Tensor:
        caption, start = self.start(trial.seed)
        window = self.window(setting, caption)
        with Journal.opened(trial.folder / "journal", asdict(window)) as journal:
            options: dict[str, Any] = {"seed": trial.seed, "remember": journal.remember}
            pieces = roll_out(self.stack, window, start, self.num_frames, overlap=setting.overlap, **options)
            return torch.cat([piece.cpu().to(torch.float32) for piece in pieces], 1)

    def at_once(self, setting: Setting, trial: Trial) -> Tensor:
        caption, _ = self.start(trial.seed)
        length = {"num_frames": min(self.num_frames, MAX_FRAMES), "attention_distance": self.stack.info.num_frames - 1}
        request = replace(self.window(setting, caption), strength=1.0, **length)
        return generate_keyframes(self.stack, request, generator=seeded_generator(trial.seed))

    def start(self, seed: int) -> tuple[str, Tensor]:
        """Caption, and the latents of a held-out frame."""
        name, frame = self.starts[seed]
        windows = clip_windows(self.dataset, self.stack.info.num_frames, self.stack.info.fps, split="val")
        record = self.record(name)
        own = (w for w in windows if self.dataset.records[w.record].id == name)
        window = next((w for w in own if w.first >= frame), None)
        if window is None:
            raise SystemExit(f"{self.dataset.root}: no held-out window of {name} begins at frame {frame} or later")
        pixels = from_pixels(self.dataset.frames(record, [window.first]))
        latents = self.stack.autoencoder.encode(pixels[None].to(self.stack.execution_device, self.stack.dtype))
        return window.caption, latents

    def record(self, name: str) -> ClipRecord:
        record = next((record for record in self.dataset.records if record.id == name), None)
        if record is None:
            raise SystemExit(f"{self.dataset.root} has no drive {name!r}; it is to be the footage of runs/drive_small")
        return record

    def shown(self, latents: Tensor) -> Read:
        """Frames of latents, each decoded for itself (the decoder's temporal layers would need all of them)."""
        autoencoder = VideoAutoencoder(self.stack.vae)

        def read(numbers: Sequence[int]) -> Tensor:
            chosen = latents[:, list(numbers)].to(self.stack.execution_device, self.stack.dtype)
            return to_pixels(autoencoder.decode(chosen, chunk_size=16)[0]).cpu()

        return read

    def footage(self, trial: Trial) -> Footage:
        """What a trial shows: a video that is made, or the real one of its variant and number."""
        kept = trial.folder / "frames.safetensors"
        if trial.variant in self.real:
            record = self.record(self.drive(trial))
            stride = stride_for(record.fps, self.stack.info.fps)
            count = min(self.num_frames, record.num_frames // stride)
            return Footage.seen(
                count, self.look, lambda numbers: self.dataset.frames(record, [stride * number for number in numbers])
            )
        latents = self.latents(SETTINGS[trial.variant], trial)
        return Footage.kept(kept, latents.shape[1], self.look, lambda: self.shown(latents))

    def joins(self, variant: str) -> range:
        """Frames that a window adds first, the first window's left out."""
        setting, window = SETTINGS.get(variant), self.stack.info.stages["prediction"].num_frames
        if setting is None or setting.at_once:
            return range(0)
        return range(window, self.num_frames, window - setting.overlap)

    def drive(self, trial: Trial) -> str:
        """The record that a trial shows or begins with."""
        real = self.real.get(trial.variant)
        return self.starts[trial.seed][0] if real is None else real[trial.seed]

    def judged(self, trial: Trial) -> Figures:
        footage, joins = self.footage(trial), self.joins(trial.variant)
        return figures_of(footage, joins, self.references, drive=self.drive(trial))

    @cached_property
    def references(self) -> dict[str, RealWindows]:
        clips, tracks = held_out_clips(self.dataset, self.stack.info.fps, step=self.look.every // 2)
        return {name: RealWindows(clips, tracks, network) for name, network in NETWORKS.items()}


def tiny_footage(folder: Path) -> Dataset:
    """Three short rendered drives, two of them held out: each is compared with the other."""
    with DatasetWriter(folder, {"kind": "tiny", "size": [32, 64]}) as writer:
        for number in range(3):
            if not writer.has(name := f"tiny{number}_a"):
                clip = render(random_scene(number), TINY_FRAMES, 6.5, 32, 64)
                add_scene(writer, name, clip, held_out=number > 0)
    return Dataset.load(folder)


def experiment_of(options: argparse.Namespace) -> Experiment:
    stack = Stack.load(options.stack, dtype=preferred_dtype(options.device), device=options.device)
    if not options.tiny:
        lengths = {"num_frames": options.frames, "steps": options.steps}
        return Experiment(stack=stack, dataset=Dataset.load(options.dataset), size=stack.info.size, **lengths)
    return Experiment(
        stack=stack,
        dataset=tiny_footage(options.work / "footage"),
        num_frames=TINY_FRAMES,
        steps=2,
        size=(32, 64),
        look=Look(every=2, stretch=16, span=10),
        starts=(("tiny1_a", 0), ("tiny1_a", 8)),
        real={"real footage": ("tiny0_a", "tiny0_a"), "held-out footage": ("tiny1_a",)},
    )


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--dataset", type=Path, help="of runs/drive_small; its held-out frames begin the videos")
    parser.add_argument("--stack", default="drive-small")
    parser.add_argument("--frames", type=int, default=1002)
    parser.add_argument("--steps", type=int, default=5, help="of the whole denoising, of which prediction walks 0.8")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--starts", type=int, nargs="+", choices=range(len(STARTS)), default=list(range(len(STARTS))))
    parser.add_argument("--page", action="store_true", help="write tables and plot to docs/results from what is there")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="two short videos of a few pixels, no page")
    options = parser.parse_args(arguments)
    if options.dataset is None and not options.tiny:
        parser.error("--dataset is needed: the folder that runs/drive_small/thin.py made")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    if options.page:
        whole = not options.tiny and len(options.settings) == len(SETTINGS) and len(options.starts) == len(STARTS)
        check_page(NAME, [*TABLES, *NETWORKS, "differences"], whole=whole)
    torch.set_num_threads(1)
    experiment = experiment_of(options)
    made = Trials(work=options.work / "trials", settings=experiment.settings)
    judged = Trials(work=options.work / f"judged-{video_network.SHA256[:8]}", settings=experiment.settings)

    def figures(trial: Trial) -> Figures:
        return experiment.judged(made.trial(trial.variant, trial.seed))

    seeds = [seed for seed in options.starts if seed < len(experiment.starts)]
    found = {
        variant: {seed: judged.once(judged.trial(variant, seed), figures) for seed in range(len(names))}
        for variant, names in experiment.real.items()
    }
    found |= judged.run(options.settings, seeds, figures)
    videos = {
        variant: [experiment.footage(made.trial(variant, seed)) for seed in of_seed]
        for variant, of_seed in found.items()
    }
    for variant, shown in videos.items():
        sheet(options.work / "sheets" / f"{named(variant)}.png", shown)
    if options.page:
        baselines = {name: baseline for name, baseline in BASELINES.items() if {name, baseline} <= {*found}}
        write_tables(found, list(experiment.references), baselines)
        plot(PAGES / f"{NAME}.png", videos)
        keep(NAME, found, experiment.settings)


if __name__ == "__main__":
    command(main)
