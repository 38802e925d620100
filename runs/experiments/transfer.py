"""Experiment d: what governs the transfer of temporal layers to other image models, and to other footage.

    python -m runs.experiments.transfer work/lab work/clips --other DATA/video_text --page      # after ablations
    python -m runs.experiments.transfer work/tiny work/clips --other DATA/video_text --size tiny --seeds 1

Expected: docs/results/transfer.{json,png} and the tables of docs/results/transfer.md in half an hour of one core, no
GPU. The layers are the baseline's of ``ablations`` (made here where that was not run), trained on the image model of
their seed. Put on

- that image model trained further for k steps, on the same footage or on other one (animals, people, tables);
- the image model of another seed, of equal quality and unrelated weights.

And: layers trained on one kind of drives alone, judged on all (simulator to real, rendered world to real); layers that
read text, on a model whose text encoder was tuned, reading the tuned one or that of before (paper, Sec. 4.2).
"""

import argparse
import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from runs.experiments import judging
from runs.experiments.ablations import BASELINE
from runs.experiments.lab import (
    ATTENTION,
    BOTH,
    SIZES,
    Lab,
    check_page,
    new_layers,
    parser_of,
    trained_image,
    trained_layers,
)
from runs.experiments.trials import Figures, Trial, Trials, command, named

from latentloom.align import TemporalLayers, attach
from latentloom.data.clips import Window, clip_windows, held_out_split, spread
from latentloom.data.manifest import Caption, Dataset, DatasetWriter
from latentloom.data.video import read_video
from latentloom.files import digest_of
from latentloom.models.image_ldm import ImageLDM
from latentloom.training.clips import TextTable
from latentloom.training.image import fill_cache

OTHER = ("davis_", "sam2_", "intel_")
FRAMES = 48  # of each clip of the other footage, at 8 to 12 a second
DOMAINS = {"simulator": ("lake", "jungle"), "rendered world": ("world",), "real highway": ("highway",)}
TEXT = replace(BOTH, transformer=replace(ATTENTION, text=True))
ITSELF, OTHER_SEED = "itself", "another seed"
ENCODERS = ("the tuned one", "that of before")


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """The image model that layers are put on: ``steps`` further on ``footage``."""

    footage: str
    steps: int

    @property
    def name(self) -> str:
        footage = {"untold": "same footage without captions"}.get(self.footage, f"{self.footage} footage")
        return f"{footage}, {self.steps} steps further"


def receivers(lab: Lab) -> dict[str, Receiver]:
    steps = (max(1, lab.size.image_steps // 12), max(2, lab.size.image_steps // 3))
    each = [Receiver(footage=footage, steps=count) for footage in ("same", "other") for count in steps]
    untold = Receiver(footage="untold", steps=steps[-1])  # the other footage has no captions: which of both does it?
    return {receiver.name: receiver for receiver in (*each, untold)}


class Transfers:
    """Makes the trials of all three questions."""

    def __init__(self, lab: Lab, other: Lab, ablations: Path, seeds: int) -> None:
        self.lab, self.other, self.ablations, self.seeds = lab, other, ablations, seeds
        self.windows = lab.windows()
        self.other_windows = held_out(other)

    def layers(self, seed: int) -> TemporalLayers:
        """The baseline's layers of a seed."""
        model = self.lab.image_model(seed)
        folder = self.ablations / named(BASELINE) / f"seed-{seed}"
        layers = new_layers(model.unet, BOTH, seed)
        return trained_layers(layers, model, self.lab.temporal_training(seed), self.lab, folder)

    # ---- the distance of the image model ----

    def distance(self, trial: Trial) -> Figures:
        own, receiver = self.lab.image_model(trial.seed), self.receiver(trial.variant, trial.seed)
        video = attach(receiver.unet, self.layers(trial.seed))
        figures = {"distance": weight_distance(receiver, own)}
        for kind, lab, windows in (("", self.lab, self.windows), (", other footage", self.other, self.other_windows)):
            for name, alpha in (("loss", None), ("loss of the image model", 1.0)):
                predict = judging.with_layers(video, alpha)
                figures[name + kind] = judging.held_out_losses(lab, receiver, predict, windows).mean().item()
        video.detach()
        return figures

    def receiver(self, variant: str, seed: int) -> ImageLDM:
        if variant == ITSELF:
            return self.lab.image_model(seed)
        if variant == OTHER_SEED:
            return self.lab.image_model(other_seed(seed, self.seeds))
        wanted = receivers(self.lab)[variant]
        return self.further(wanted.footage, wanted.steps, seed)

    def further(self, footage: str, steps: int, seed: int) -> ImageLDM:
        """The image model of a seed trained further, text encoder too; other footage has no captions."""
        changes = {
            "same": {},
            "untold": {"caption_dropout": 1.0},
            "other": {"source_weights": {}, "caption_dropout": 1.0},
            "highway": {"source_weights": self.lab.shares(("highway",))},
        }
        config = self.lab.image_training(seed)
        config = replace(config, loop=replace(config.loop, steps=steps), **changes[footage])
        folder = self.lab.work / "further" / f"{footage}-{steps}" / f"seed-{seed}"
        lab, start = self.other if footage == "other" else self.lab, copy.deepcopy(self.lab.image_model(seed))
        return trained_image(config, lab, folder, start)

    # ---- the footage of the layers ----

    def domain(self, trial: Trial) -> Figures:
        """Losses on every source of layers that saw one kind of drives, or all."""
        model = self.lab.image_model(trial.seed)
        if trial.variant == "all":
            layers = self.layers(trial.seed)
        else:
            config = self.lab.temporal_training(trial.seed, source_weights=self.lab.shares(DOMAINS[trial.variant]))
            layers = new_layers(model.unet, BOTH, trial.seed)
            layers = trained_layers(layers, model, config, self.lab, trial.folder)
        video, figures = attach(model.unet, layers), dict[str, float]()
        for name, alpha in (("loss", None), ("loss of the image model", 1.0)):
            losses = judging.held_out_losses(self.lab, model, judging.with_layers(video, alpha), self.windows)
            figures |= judging.by_source(self.lab, self.windows, losses, name)
        video.detach()
        return figures

    # ---- one or two text encoders ----

    def encoder(self, trial: Trial) -> Figures:
        """Layers that read text, on a model tuned on the highway with its text encoder; judged on all drives."""
        before = self.lab.image_model(trial.seed)
        layers, folder = new_layers(before.unet, TEXT, trial.seed), self.lab.work / "text" / f"seed-{trial.seed}"
        layers = trained_layers(layers, before, self.lab.temporal_training(trial.seed), self.lab, folder)
        steps = max(2, self.lab.size.image_steps // 3)
        tuned = self.further("highway", steps, trial.seed)
        video = attach(tuned.unet, layers)
        read = TextTable(before if trial.variant == "that of before" else tuned)
        figures = dict[str, float]()
        for name, alpha in (("loss", None), ("loss of the image model", 1.0)):
            predict = judging.with_layers(video, alpha)
            losses = judging.held_out_losses(self.lab, tuned, predict, self.windows, temporal_text=read)
            figures |= judging.by_source(self.lab, self.windows, losses, name)
        video.detach()
        return figures


def other_seed(seed: int, seeds: int) -> int:
    """The seed whose image model receives the layers of ``seed``."""
    return (seed + 1) % max(2, seeds)


def weight_distance(one: ImageLDM, other: ImageLDM) -> float:
    """``|W - W'| / |W'|`` over all weights of the UNets."""
    pairs = list(zip(one.unet.parameters(), other.unet.parameters(), strict=True))
    apart = sum((a - b).square().sum() for a, b in pairs)
    return (apart / sum(b.square().sum() for _, b in pairs)).sqrt().item()


def other_footage(folder: Path, output: Path, size: tuple[int, int]) -> Dataset:
    """The clips of animals, people and tables of ``folder/captions.json``, thinned to 8 to 12 frames a second."""
    clips = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    with DatasetWriter(output, {"kind": "other footage", "size": list(size)}) as writer:
        for clip in clips:
            if clip["id"].startswith(OTHER) and not writer.has(clip["id"]):
                video = read_video(folder.parent / clip["file"], size=size)
                stride = max(1, round(video.fps / 8))
                frames = video.frames[::stride][:FRAMES]
                writer.add(
                    clip["id"],
                    frames,
                    fps=video.fps / stride,
                    captions=[Caption(start=0, stop=len(frames), text="")],
                    source=clip["source"],
                    licence=clip["licence"],
                    split=clip["split"],
                )
    return Dataset.load(output)


def held_out(other: Lab) -> list[Window]:
    """Windows of the other footage that was left out, as many as of all drives."""
    split = held_out_split(other.dataset)
    found = clip_windows(other.dataset, other.size.num_frames, 8.0, split=split)
    return [found[place] for place in spread(len(found), 4 * other.size.held_out)]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--other", type=Path, required=True, help="a folder with captions.json and the clips it names")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    from runs.experiments.transfer_page import TABLES, report

    options = parsed(arguments)
    check_page(options, "transfer", TABLES)
    torch.set_num_threads(options.threads)
    lab = Lab.open(options.work, options.clips, SIZES[options.size])
    dataset = other_footage(options.other, options.work / "other", lab.size.pixels)
    other = replace(lab, dataset=dataset, cache=fill_cache(dataset, lab.vae))
    transfers = Transfers(lab, other, options.work / "ablations", options.seeds)
    settings = {**lab.settings, "other": digest_of(dataset.root / "manifest.jsonl")}
    trials = Trials(work=options.work / "transfer", settings=settings)
    seeds = range(options.seeds)
    found = {
        "distance": trials.run([ITSELF, *receivers(lab), OTHER_SEED], seeds, transfers.distance),
        "domains": trials.run(["all", *DOMAINS], seeds, transfers.domain),
        "encoders": trials.run(ENCODERS, seeds, transfers.encoder),
    }
    report(trials, found, page=options.page)


if __name__ == "__main__":
    command(main)
