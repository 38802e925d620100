"""What the features of the video network know of clips of held-out drives, against features that were never trained.

    python -m runs.video_features.judge work/footage work/extra -o work/judged_features

Expected: a table and figures.json in about three minutes of one core, no GPU. Every network is read in the same way: a
ridge regression from its features to the answers of ``lessons.py``, fitted on clips of the training drives and judged
on drives that none of it has seen. Numbers are judged by their correlation (of steering and distance within each kind
of drive), classes by the share told rightly; chance is 0, or the share of the commonest class.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from runs.experiments.results import markdown
from runs.video_features.lessons import ANSWERS, Clips, taught
from torch import Tensor
from torch.utils.data import default_collate

from latentloom.data.clips import spread
from latentloom.data.manifest import Dataset
from latentloom.evaluation.features import clip_features
from latentloom.evaluation.video_network import VideoNetwork, prepared, video_features
from latentloom.files import write_text
from latentloom.precision import autocast, preferred_dtype
from latentloom.seeds import generator_of
from latentloom.training.order import Draw

RIDGE = 10.0
BATCH = 16
GROUPS = {"simulator": ("lake", "jungle"), "highway": ("highway",), "world": ("world", "extra")}
Extract = Callable[[Tensor], Tensor]
Truth = dict[str, Tensor]


@torch.no_grad()
def untrained(clips: Tensor) -> Tensor:
    """Features of the same architecture with the weights it began with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VideoNetwork().eval()
    return network(prepared(clips))


def in_bfloat16(extract: Extract) -> Extract:
    """The same in bfloat16 where that is fast."""

    def extracted(clips: Tensor) -> Tensor:
        with autocast("cpu", preferred_dtype()):
            return extract(clips)

    return extracted


NETWORKS: Mapping[str, Extract] = {
    "trained": in_bfloat16(video_features),
    "the same, untrained": in_bfloat16(untrained),
    "random convolutions": clip_features,
}


def examined(clips: Clips, count: int, rounds: int, networks: Mapping[str, Extract]) -> tuple[dict, Truth, list[str]]:
    """Features by network of clips as they are shown, the truth of them, and which record each is from."""
    chosen = spread(len(clips), count) * rounds
    features, truths, ids = {name: list[Tensor]() for name in networks}, list[Truth](), list[str]()
    for first in range(0, len(chosen), BATCH):
        batch = default_collate([clips[Draw(item, 0)] for item in chosen[first : first + BATCH]])
        shown, truth = taught(batch, generator_of(len(clips), first))
        for name, extract in networks.items():
            features[name].append(extract(shown).double())
        truths.append(truth)
        ids += 2 * batch["id"]
    joined = {name: torch.cat([truth[name] for truth in truths]) for name in truths[0]}
    return {name: torch.cat(rows) for name, rows in features.items()}, joined, ids


def reading(features: Tensor, truth: Tensor, classes: int) -> Callable[[Tensor], Tensor]:
    """A ridge regression to numbers, or to one number a class."""
    known = truth.isfinite()
    x, y = features[known], truth[known]
    y = torch.eye(classes, dtype=torch.float64)[y] if truth.dtype == torch.long else y.double()[:, None]
    centre, scale, middle = x.mean(0), x.std(0).clamp(min=1e-9), y.mean(0)
    z = (x - centre) / scale
    weights = torch.linalg.solve(z.T @ z + RIDGE * torch.eye(z.shape[1], dtype=torch.float64), z.T @ (y - middle))
    return lambda rows: (rows - centre) / scale @ weights + middle


def score(name: str, told: Tensor, truth: Tensor) -> tuple[float, float, int]:
    """How well, what chance would reach, and of how many."""
    known = truth.isfinite()
    told, truth = told[known], truth[known]
    if len(truth) < 3:
        return float("nan"), float("nan"), len(truth)
    if truth.dtype == torch.long:
        return (told.argmax(1) == truth).double().mean().item(), truth.bincount().max().item() / len(truth), len(truth)
    if name == "backward":
        right = ((told[:, 0] > 0.5) == (truth > 0.5)).double().mean().item()
        return right, max(truth.mean().item(), 1 - truth.mean().item()), len(truth)
    return torch.corrcoef(torch.stack([told[:, 0], truth.double()]))[0, 1].item(), 0.0, len(truth)


def judged(datasets: Sequence[Dataset], count: int, networks: Mapping[str, Extract] = NETWORKS) -> list[dict]:
    """A row for each question and kind of drive."""
    features, truth, _ = examined(Clips(datasets, split="train"), count, 1, networks)
    held = Clips(datasets, split="val", step=4)
    held_features, held_truth, ids = examined(held, count // 4, 3, networks)
    rows = list[dict]()
    for name, width in ANSWERS.items():
        readers = {network: reading(features[network], truth[name], width) for network in networks}
        for group, prefixes in GROUPS.items():
            mine = torch.tensor([clip.startswith(prefixes) for clip in ids])
            scores = {
                network: score(name, read(held_features[network][mine]), held_truth[name][mine])
                for network, read in readers.items()
            }
            told = {network: value for network, (value, _, _) in scores.items()}
            _, chance, clips = next(iter(scores.values()))
            if clips >= 3:
                rows.append({"question": name, "drives": group, "clips": clips, "chance": chance, **told})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=480, help="of the training drives; a quarter as many held out")
    arguments = parser.parse_args()
    rows = judged([Dataset.load(folder) for folder in arguments.datasets], arguments.clips)
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_text(arguments.output / "figures.json", json.dumps(rows, indent=1) + "\n")
    head = list(rows[0])
    print(markdown(head, [[f"{x:.2f}" if isinstance(x, float) else str(x) for x in row.values()] for row in rows]))


if __name__ == "__main__":
    main()
