"""The upsampler: each frame alone against temporally aligned, beside bicubic interpolation (paper, Sec. 3.4, Table 3).

    python runs/drive_small/world.py -o work/held --name held --scenes 800 --held-out-only --frames 8 --fps 6.5 \
        --first-seed 20000 --size 512 1024
    python -m runs.experiments.upsampler work/upsampler --large work/large --held work/held --page
    python -m runs.experiments.upsampler work/tiny --tiny             # the same path in half a minute, of no use

work/large is the dataset of ``runs/drive_small``, work/held scenes that nothing was trained on. Expected:
docs/results/upsampler.md, about 15 core-minutes with bfloat16 (AMX), no GPU. Killed, the same command goes on; with
another learned network in ``evaluation.video_network`` it judges the same clips again. A larger twin, for a GPU:
``--steps 3000 --batch-size 8 --patch 128 128 --held-out 46 --crop 512 1024``.

``drive-small``'s image upsampler, frozen, and temporal layers on it from new, by `train_upsampler`. Held-out pieces of
8 frames are cut to their middle, shrunk four times and enlarged again by the stage itself: every frame's noise is its
own, and the same for both. A control gives the image upsampler one noise for all frames.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from runs.experiments.reconstruction import (
    COLUMNS,
    DECIDES,
    Judge,
    Piece,
    add_pieces,
    clip_file,
    difference_table,
    enlarged_sheet,
    held_out,
    judged,
    keep_clips,
    kept_clips,
    rendered_scenes,
    source_table,
)
from runs.experiments.results import MIN_SEEDS, PAGES, Found, check_page, estimates, keep, plot_bars, put_table, table
from runs.experiments.trials import Figures, Trial, Trials, command, weights_of
from torch import Tensor

from latentloom.align import TemporalLayers
from latentloom.data.clips import spread
from latentloom.data.manifest import Dataset, DatasetWriter
from latentloom.files import digest_of
from latentloom.models.upsampler import downsampled
from latentloom.precision import preferred_dtype
from latentloom.recipes import driving
from latentloom.shapes import from_pixels, to_pixels
from latentloom.stack import Stack
from latentloom.stages.request import UpsamplingRequest
from latentloom.stages.upsampling import upsample_frames
from latentloom.training.upsampler import UpsamplerTraining, train_upsampler

NAME = "upsampler"
STACK = "drive-small"
BICUBIC, IMAGE, STILL = "bicubic", "image upsampler", "image upsampler, one noise for all frames"
TEMPORAL, SHIPPED = "temporal upsampler", "temporal upsampler, as shipped (400 larger steps)"
SEEDED, ONCE = (IMAGE, TEMPORAL, STILL), (BICUBIC, SHIPPED)
"""Ways that chance has a part in, by training or by noise; those that are tried once."""
FACTOR = 4
NUM_FRAMES = 8
CLIPS = "clips"
TABLES = ("figures", "differences", "psnr by source", "flicker by source")
SHARES = {"highway": 0.4, "night": 0.1}
"""Shares of real sources in training; the rest is rendered."""
REAL, RENDERED = 0.2, 0.8
"""Shares among held-out pieces."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything; ``patch`` and ``crop`` are heights and widths of large frames.

    Attributes:
        part: what features are taken of; frames of ``crop`` are cut into such parts.
        held_out: pieces of 8 frames to try on.
    """

    steps: int = 150
    batch_size: int = 4
    patch: tuple[int, int] = (64, 128)
    held_out: int = 25
    crop: tuple[int, int] = (192, 384)
    part: tuple[int, int] = (64, 128)


TINY = Size(steps=2, batch_size=1, patch=(32, 32), held_out=2, crop=(32, 64), part=(16, 32))


class Workshop:
    """The pieces; trains temporal layers and enlarges by every way.

    Attributes:
        trials: a trial's folder holds its layers in ``final``, where it has any, and what it enlarged.
    """

    def __init__(self, large: Dataset, held: Dataset, work: Path, size: Size) -> None:
        self.size, self.large = size, large
        with DatasetWriter(work / "pieces", {"size": list(large.size), **asdict(size)}) as writer:
            few, many = (round(size.held_out * share) for share in (REAL, RENDERED))
            if any(record.id.startswith("highway") for record in large.records):
                add_pieces(writer, large, {"highway": few}, split="val", num_frames=NUM_FRAMES, fps=12.0)
            add_pieces(writer, held, {"": many}, split="val", num_frames=NUM_FRAMES, fps=6.5)
        whole = held_out(Dataset.load(work / "pieces"))
        self.pieces = [Piece(kind=piece.kind, frames=_middle(piece.frames, size.crop)) for piece in whole]
        footage = {name: digest_of(of.root / "manifest.jsonl") for name, of in (("large", large), ("held", held))}
        settings = {**asdict(size), **footage, "weights": weights_of(Stack.load(STACK))}
        self.trials = Trials(work=work / "made", settings=settings)

    def make(self, trial: Trial) -> Figures:
        """Train what is trained, then enlarge the shrunk pieces."""
        if trial.variant == TEMPORAL:
            self._train(trial)
        enlarge = _enlarger(trial)
        keep_clips(trial.folder / clip_file(CLIPS), [enlarge(shrunk(piece.frames)) for piece in self.pieces])
        return {}

    def _train(self, trial: Trial) -> None:
        upsampler = Stack.load(STACK).upsampler
        torch.manual_seed(trial.seed)
        layers = TemporalLayers.for_network(upsampler.unet, upsampler.layer_set)
        config = training(self.size, trial.seed, self.large)
        train_upsampler(config, self.large, trial.folder, upsampler=upsampler, layers=layers)


def training(size: Size, seed: int, large: Dataset) -> UpsamplerTraining:
    """The recipe's, smaller."""
    base = driving.upsampler(temporal=True)
    loop = replace(
        base.loop,
        steps=size.steps,
        batch_size=size.batch_size,
        seed=seed,
        ema_decay=0.98,
        warmup_steps=20,
        preview_steps=0,
    )
    shares = {name: share for name, share in SHARES.items() if any(r.id.startswith(name) for r in large.records)}
    return replace(base, loop=loop, patch=size.patch, source_weights=shares)


def _enlarger(trial: Trial) -> Callable[[Tensor], Tensor]:
    """Small frames ``t h w 3`` to large ones by the way of a variant; the trial's seed is that of the noise."""
    if trial.variant == BICUBIC:
        return bicubic
    stack, request = Stack.load(STACK, dtype=preferred_dtype()), UpsamplingRequest()
    layers = None
    if trial.variant == SHIPPED:
        layers = stack.upsampler_layers
    elif trial.variant == TEMPORAL:
        layers = TemporalLayers.from_pretrained(trial.folder / "final", torch_dtype=stack.dtype)

    def enlarge(small: Tensor) -> Tensor:
        # of a video of its own, each frame is the first: its noise is the same
        videos = small.split(1) if trial.variant == STILL else [small]
        made = [upsample_frames(stack.upsampler, layers, video, request, seed=trial.seed) for video in videos]
        return torch.stack([frame for frames in made for frame in frames])

    return enlarge


def shrunk(large: Tensor) -> Tensor:
    """Frames a quarter as high and wide, by averaging, as in training."""
    return to_pixels(downsampled(from_pixels(large)[None], FACTOR)[0])


def bicubic(small: Tensor) -> Tensor:
    """Frames enlarged without a network."""
    large = F.interpolate(small.movedim(-1, 1).float(), scale_factor=FACTOR, mode="bicubic")
    return large.round().clamp(0, 255).to(torch.uint8).movedim(1, -1)


def _middle(frames: Tensor, size: tuple[int, int]) -> Tensor:
    top, left = ((whole - side) // 2 for whole, side in zip(frames.shape[1:3], size, strict=True))
    return frames[:, top : top + size[0], left : left + size[1]].contiguous()


def tell(found: Found, judge: Judge, settings: Mapping[str, Any]) -> None:
    """Fill the page."""
    page = PAGES / f"{NAME}.md"
    pairs = ((TEMPORAL, IMAGE), (SHIPPED, IMAGE), (STILL, IMAGE), (BICUBIC, IMAGE))
    put_table(page, "figures", table({**found, "real frames": judge.real_row}, COLUMNS))
    put_table(page, "differences", difference_table(found, pairs))
    for figure, digits in (("psnr", 2), ("flicker", 3)):
        put_table(page, f"{figure} by source", source_table(found, figure, digits))
    keep(NAME, found, settings)
    bars = {variant: row[DECIDES] for variant, row in estimates(found).items()}
    plot_bars(PAGES / f"{NAME}.png", "Learned distance to the real clips", bars, axis="less is better")


def sheets(workshop: Workshop, folder: Path) -> None:
    """The middle of three held-out pieces, four times as large, by every way; to be looked at."""
    kept = {
        variant: kept_clips(workshop.trials.trial(variant, 0).folder / clip_file(CLIPS))
        for variant in (BICUBIC, *SEEDED, SHIPPED)
    }
    height, width = workshop.size.crop
    for number in spread(len(workshop.pieces), 3):
        rows = {"real": workshop.pieces[number].frames} | {variant: clips[number] for variant, clips in kept.items()}
        corner, size = (height // 3, width // 3), (height // 3, width // 4)
        enlarged_sheet(folder / f"{number}.png", rows, corner=corner, size=size, times=4)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--large", type=Path, help="dataset of large frames to train on; left out with --tiny")
    parser.add_argument("--held", type=Path, help="dataset of large frames that nothing was trained on")
    parser.add_argument("--tiny", action="store_true", help="two steps on rendered scenes")
    parser.add_argument("--seeds", type=int, choices=range(1, 101), metavar="N", default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--page", action="store_true", help="fill docs/results/upsampler.md")
    for name in ("steps", "batch-size", "held-out"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("patch", "crop"):
        parser.add_argument(f"--{name}", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    if options.page:
        check_page(NAME, TABLES, whole=not options.tiny and options.seeds >= MIN_SEEDS)
    torch.set_num_threads(options.threads)
    given = {name: value for name, value in vars(options).items() if value is not None and hasattr(Size, name)}
    given |= {name: tuple(given[name]) for name in ("patch", "crop") if name in given}
    size = replace(TINY if options.tiny else Size(), **given)
    if options.tiny:
        large = held = rendered_scenes(options.work / "scenes", size=(64, 128), num_frames=NUM_FRAMES)
    elif options.large is not None and options.held is not None:
        large, held = Dataset.load(options.large), Dataset.load(options.held)
    else:
        raise SystemExit("name the datasets with --large and --held, or try --tiny")
    workshop = Workshop(large, held, options.work, size)
    seeds = range(1 if options.tiny else options.seeds)
    workshop.trials.run(SEEDED, seeds, workshop.make)
    workshop.trials.run(ONCE, seeds[:1], workshop.make)
    judge = Judge(workshop.pieces, size.part)
    found = judged(workshop.trials, {CLIPS: judge}, options.work, SEEDED, ONCE, seeds)[CLIPS]
    sheets(workshop, options.work / "sheets")
    print(table(found, COLUMNS))
    if options.page:
        tell(found, judge, workshop.trials.settings)


if __name__ == "__main__":
    command(main)
