"""Train the network behind ``latentloom.evaluation.video_network`` and write its weights.

    python -m runs.video_features.train work/footage work/extra -o work/video_features

Expected: model.safetensors (2 MB, float16) and its sha256, which `video_network.SHA256` must then say, in about 15
minutes of one core with bfloat16, no GPU. The same command continues an interrupted run. ``work/extra`` are further
scenes: ``python runs/drive_small/world.py -o work/extra --name extra --scenes 260 --frames 32 --fps 13 --first-seed
20000``. How well it learned: ``judge.py`` beside this.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from runs.video_features.lessons import Clips, LessonLoss, Pupil
from torch import Tensor

from latentloom.data.clips import source_weights, spread
from latentloom.data.manifest import Dataset
from latentloom.evaluation.video_network import VideoNetwork, prepared
from latentloom.files import digest_of, save_tensors
from latentloom.training.loop import Loop, LoopConfig, Player, Progress
from latentloom.training.optimizer import OptimizerConfig, build_optimizers
from latentloom.training.order import Draw
from latentloom.training.run_folder import resolved

SHARES = {"world": 0.22, "extra": 0.28, "lake": 0.25, "jungle": 0.12, "highway": 0.08, "night": 0.03, "real": 0.02}
"""How often clips of each source are drawn, where all are there; names are beginnings of ids."""
MEASURED, MEASURED_FRAMES = 800, 8
"""Clips over which features are made nearly white, and their frames."""
LEAST_VARIANCE = 0.1
"""Of a direction, of the mean of all: what varies less is not made as loud as the rest, it is noise."""


class Lessons:
    """A `training.loop.Task`."""

    def __init__(self, clips: Clips, optimizer: OptimizerConfig) -> None:
        self.items, self.weights = clips, shares_of(clips)
        self.pupil = Pupil()
        loss = LessonLoss(self.pupil)
        optimizers = build_optimizers(self.pupil, optimizer)
        self.players = [Player(name="pupil", objective=loss, trained=self.pupil, optimizers=optimizers)]

    def to(self, device: torch.device) -> None:
        self.pupil.to(device)

    def begin_step(self, step: int) -> Sequence[Player]:
        return self.players

    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]:
        return {}


def shares_of(clips: Clips) -> list[float]:
    """A weight for each clip; of ``SHARES`` those that name one, brought to a sum of 1."""
    ids = [dataset.records[window.record].id for dataset, window in clips.places]
    present = {name: share for name, share in SHARES.items() if any(clip.startswith(name) for clip in ids)}
    total = sum(present.values())
    weights = list[float]()
    for dataset in dict.fromkeys(dataset for dataset, _ in clips.places):
        records = [window.record for owner, window in clips.places if owner is dataset]
        named = {
            name: share / total
            for name, share in present.items()
            if any(dataset.records[record].id.startswith(name) for record in records)
        }
        weights += source_weights(dataset, records, named)
    return weights


@torch.no_grad()
def measure(network: VideoNetwork, clips: Clips, count: int) -> None:
    """Let the features have mean 0 over so many clips as they are, and deviation 1 along directions that vary much."""
    network.centre.zero_()
    network.directions.copy_(torch.eye(len(network.centre)))
    chosen = [clips[Draw(item, 0)]["frames"][:MEASURED_FRAMES] for item in spread(len(clips), count)]
    parts = [network(prepared(torch.stack(chosen[k : k + 8]))) for k in range(0, len(chosen), 8)]
    features = torch.cat(parts).double()
    deviation = features.std(0).clamp(min=1e-3)
    variances, directions = torch.linalg.eigh(torch.cov((features / deviation).T))
    network.directions.copy_(directions / (variances + LEAST_VARIANCE).sqrt() / deviation[:, None])
    network.centre.copy_(features.mean(0))


def trained(datasets: Sequence[Dataset], loop: LoopConfig, output: Path, *, measured: int = MEASURED) -> Path:
    """The file of the weights of a whole training, continued where it was."""
    clips = Clips(datasets, split="train")
    torch.manual_seed(loop.seed)
    optimizer = OptimizerConfig()
    task = Lessons(clips, optimizer)

    def report(progress: Progress) -> None:
        if progress.step % 20 == 0:
            print(progress.step, {name: round(value, 3) for name, value in progress.values.items()}, flush=True)

    footage = [digest_of(dataset.root / "manifest.jsonl") for dataset in datasets]
    settings = {"loop": asdict(loop), "optimizer": asdict(optimizer), "footage": footage}
    Loop(task, loop, output, report).run(resolved(settings, loop))
    network = task.pupil.network.cpu()
    measure(network, clips, measured)
    tensors: dict[str, Tensor] = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    save_tensors(output / "model.safetensors", tensors)
    return output / "model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=4, help="clips, each shown forward and backward")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    loop = LoopConfig(
        steps=arguments.steps, batch_size=arguments.batch_size, seed=arguments.seed, ema_decay=0.99, decay_fraction=0.5
    )
    path = trained([Dataset.load(folder) for folder in arguments.datasets], loop, arguments.output)
    print(path, digest_of(path))


if __name__ == "__main__":
    main()
