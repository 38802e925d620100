"""The autoencoder's decoder: image, temporal, and temporal against a discriminator of clips or of frames (paper, App.).

    python -m runs.experiments.decoder work/decoder --clips work/clips --page
    python -m runs.experiments.decoder work/tiny --tiny                 # the same path in half a minute, of no use

work/clips is the footage of ``runs/drive_small``. Expected: docs/results/decoder.md, about 45 core-minutes with
bfloat16 (AMX), no GPU. Killed, the same command goes on; with another learned network in ``evaluation.video_network``
it judges the same clips again. A larger twin, for a GPU: ``--start-steps 1000 --steps 2000 --batch-size 8
--training-pieces 2000 --held-out 150``.

``drive-small``'s autoencoder, frozen, and temporal layers from new, by `train_decoder`: first without a discriminator,
then from there on in three ways with the same steps and draws: without one, against one of 3D convolutions, against one
of single frames. Judged on held-out pieces of 8 whole frames: the latents of real frames, and (not in the paper) the
same with noise that each frame has for itself, as if a model had made them; a fourth way, without a discriminator,
learns on such latents.
"""

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from runs.experiments.reconstruction import (
    COLUMNS,
    DECIDES,
    Judge,
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
from runs.experiments.results import MIN_SEEDS, PAGES, Found, check_page, differences, keep, plot_bars, put_table, table
from runs.experiments.trials import Figures, Trial, Trials, command, weights_of
from torch import Tensor

from latentloom.align import TemporalLayers
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import ClipRecord, Dataset, DatasetWriter
from latentloom.files import digest_of
from latentloom.layers.layer_set import LayerSet
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.precision import preferred_dtype
from latentloom.recipes import driving
from latentloom.seeds import generator_of
from latentloom.shapes import to_pixels
from latentloom.stack import Stack
from latentloom.training.decoder import DecoderTraining, train_decoder
from latentloom.training.image import fill_cache

NAME = "decoder"
STACK = "drive-small"
START = "start"
IMAGE, PLAIN = "image decoder", "temporal, no discriminator"
CLIPS, FRAMES = "temporal, discriminator of clips", "temporal, discriminator of frames"
SHIPPED = "temporal, as shipped (700 steps)"
DENOISING = "temporal, trained on noisy latents"
WAYS: dict[str, Literal["video", "frame"] | None] = {PLAIN: None, CLIPS: "video", FRAMES: "frame", DENOISING: None}
TRAINING = {"lake": 0.30, "jungle": 0.12, "highway": 0.16, "night": 0.05, "world": 0.37}
TRYING = {"lake": 0.22, "jungle": 0.22, "highway": 0.06, "city_gif": 0.12, "world": 0.38}
"""Shares of the sources among pieces to train on, and among held-out ones."""
NUM_FRAMES, FPS = 8, 6.5
CLEAN, NOISY = "clean", "noisy"
TABLES = (CLEAN, f"{CLEAN} differences", NOISY, f"{NOISY} differences", "psnr by source", "flicker by source")
STRIDES = {CLEAN: 1, NOISY: 2}
"""Every so many held-out pieces are decoded from latents as they are, and with noise."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything.

    Attributes:
        start_steps: without a discriminator, common to all ways; ``steps`` of each from there on.
        training_pieces: of ``piece`` frames each, of which a step draws 8; ``held_out`` pieces of 8 to try on.
        deviation: of the noise on latents, whose own is about 1; for every second held-out piece.
    """

    start_steps: int = 120
    steps: int = 100
    batch_size: int = 1
    crop: tuple[int, int] = (64, 128)
    training_pieces: int = 120
    piece: int = 16
    held_out: int = 64
    deviation: float = 0.2


TINY = Size(start_steps=2, steps=2, crop=(32, 64), training_pieces=2, piece=8, held_out=4)


def pieces_of(source: Dataset, folder: Path, size: Size) -> Dataset:
    """The pieces to train and to try on, a dataset of their own: encoding all footage would outlast the training."""
    parts = (("train", TRAINING, size.training_pieces, size.piece), ("val", TRYING, size.held_out, NUM_FRAMES))
    with DatasetWriter(folder, {"of": source.root.name, "size": list(source.size), **asdict(size)}) as writer:
        for split, shares, count, num_frames in parts:
            ids = [record.id for record in source.records if record.split == split]
            wanted = {n: round(count * share) for n, share in shares.items() if any(i.startswith(n) for i in ids)}
            add_pieces(writer, source, wanted, split=split, num_frames=num_frames, fps=FPS)
    return Dataset.load(folder)


def training(size: Size, trial: Trial) -> DecoderTraining:
    """The settings of a way, or of the start; draws differ between the two and are the same for each way."""
    starts, kind, base = trial.variant == START, WAYS.get(trial.variant), driving.decoder()
    loop = replace(
        base.loop,
        steps=size.start_steps if starts else size.steps,
        batch_size=size.batch_size,
        seed=2 * trial.seed + (not starts),
        ema_decay=0.98,
        warmup_steps=20,
        preview_steps=0,
    )
    return replace(
        base, loop=loop, crop=size.crop, adversarial_start=None if kind is None else 0, discriminator=kind or "video"
    )


class NoisyLatents(LatentCache):
    """Latents with noise that each frame has for itself, always the same for a window: training goes on exactly."""

    def __init__(self, cache: LatentCache, deviation: float) -> None:
        super().__init__(cache.dataset, cache.key)
        self.key, self.deviation = f"{cache.key}, noise {deviation}", deviation  # the key of trainings, not the folder

    def latents(self, record: ClipRecord, indices: Sequence[int]) -> Tensor:
        """Of the frames ``indices``, ``t c h w``."""
        clean = super().latents(record, indices)
        place = int(hashlib.sha256(record.id.encode()).hexdigest()[:15], 16)
        return clean + self.deviation * torch.randn(clean.shape, generator=generator_of(place, *indices))


class Workshop:
    """The pieces and their latents; trains decoders and decodes with them.

    Attributes:
        trials: a trial's folder holds its layers in ``final`` and what it decoded.
    """

    def __init__(self, source: Dataset, work: Path, size: Size) -> None:
        stack = Stack.load(STACK)
        self.size, self.vae = size, stack.vae
        self.dataset = pieces_of(source, work / "pieces", size)
        self.cache = fill_cache(self.dataset, self.vae)
        self.records = [record for record in self.dataset.records if record.split == "val"]
        footage = digest_of(source.root / "manifest.jsonl")
        settings = {**asdict(size), "footage": footage, "weights": weights_of(stack)}
        self.trials = Trials(work=work / "made", settings=settings)

    def make(self, trial: Trial) -> Figures:
        """Train what is trained, then decode the held-out pieces, their latents as they are and noisy."""
        if trial.variant in (START, *WAYS):
            layers = self._new(trial.seed) if trial.variant == START else self._layers(START, trial.seed)
            cache = NoisyLatents(self.cache, self.size.deviation) if trial.variant == DENOISING else self.cache
            train_decoder(training(self.size, trial), layers, self.vae, self.dataset, cache, trial.folder)
        if trial.variant != START:
            decoder = self._decoder(trial)
            for name, stride in STRIDES.items():
                deviation = self.size.deviation if name == NOISY else 0.0
                numbers = range(0, len(self.records), stride)
                clips = [self._decoded(decoder, number, trial.seed, deviation) for number in numbers]
                keep_clips(trial.folder / clip_file(name), clips)
        return {}

    def _new(self, seed: int) -> TemporalLayers:
        torch.manual_seed(seed)
        return TemporalLayers.for_network(self.vae, LayerSet.decoder())

    def _layers(self, variant: str, seed: int, dtype: torch.dtype = torch.float32) -> TemporalLayers:
        folder = self.trials.trial(variant, seed).folder / "final"
        return TemporalLayers.from_pretrained(folder, torch_dtype=dtype)

    def _decoder(self, trial: Trial) -> VideoAutoencoder:
        stack = Stack.load(STACK, dtype=preferred_dtype())
        if trial.variant == SHIPPED:
            return stack.autoencoder
        layers = self._layers(trial.variant, trial.seed, stack.dtype) if trial.variant in WAYS else None
        return VideoAutoencoder(stack.vae, layers)

    def _decoded(self, decoder: VideoAutoencoder, number: int, seed: int, deviation: float) -> Tensor:
        latents = self.cache.latents(self.records[number], range(NUM_FRAMES))
        noise = torch.randn(latents.shape, generator=generator_of(seed, number))  # the same for every decoder
        return to_pixels(decoder.decode((latents + deviation * noise)[None])[0].float())


def judges_of(dataset: Dataset) -> dict[str, Judge]:
    """Of clean latents, all pieces; of noisy ones every second. Features are of quarters of frames."""
    pieces, (height, width) = held_out(dataset), dataset.size
    return {name: Judge(pieces[::stride], (height // 2, width // 2)) for name, stride in STRIDES.items()}


def tell(found: Mapping[str, Found], judges: Mapping[str, Judge], settings: Mapping[str, Any]) -> None:
    """Fill the page."""
    page = PAGES / f"{NAME}.md"
    pairs = [(way, IMAGE) for way in (*WAYS, SHIPPED)] + [
        (CLIPS, PLAIN),
        (FRAMES, PLAIN),
        (FRAMES, CLIPS),
        (DENOISING, PLAIN),
    ]
    for name, rows in found.items():
        real = {"real frames": judges[name].real_row}
        put_table(page, name, table({**rows, **real}, COLUMNS))
        put_table(page, f"{name} differences", difference_table(rows, pairs))
    put_table(page, "psnr by source", source_table(found[CLEAN], "psnr", 2))
    put_table(page, "flicker by source", source_table(found[CLEAN], "flicker", 2))
    keep(NAME, found[CLEAN], settings, noisy=found[NOISY])
    bars = {
        f"{way}, {name} latents": differences(_seeded(rows), IMAGE, DECIDES)[way]
        for name, rows in found.items()
        for way in WAYS
    }
    title = "Learned distance to the real clips, less the image decoder's"
    plot_bars(PAGES / f"{NAME}.png", title, bars, axis="below 0 is better")


def _seeded(rows: Found) -> Found:
    """Without what was made once."""
    return {variant: seeds for variant, seeds in rows.items() if variant != SHIPPED}


def sheets(workshop: Workshop, folder: Path) -> None:
    """Middles of two held-out pieces, three times as large, by every decoder; to be looked at."""
    pieces, (height, width) = held_out(workshop.dataset), workshop.dataset.size
    corner, size = (height // 4, width // 4), (height // 2, width // 2)
    for name, stride in STRIDES.items():
        shown = pieces[::stride]
        kept = {
            variant: kept_clips(workshop.trials.trial(variant, 0).folder / clip_file(name))
            for variant in (IMAGE, *WAYS, SHIPPED)
        }
        for number in (len(shown) // 3, len(shown) - 1):
            rows = {"real": shown[number].frames} | {variant: clips[number] for variant, clips in kept.items()}
            enlarged_sheet(folder / f"{name}-{number}.png", rows, corner=corner, size=size, times=3)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--clips", type=Path, help="dataset of drives; left out with --tiny")
    parser.add_argument("--tiny", action="store_true", help="two steps on rendered scenes")
    parser.add_argument("--seeds", type=int, choices=range(1, 101), metavar="N", default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--page", action="store_true", help="fill docs/results/decoder.md")
    for name in ("start-steps", "steps", "batch-size", "training-pieces", "held-out"):
        parser.add_argument(f"--{name}", type=int)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    if options.page:
        check_page(NAME, TABLES, whole=not options.tiny and options.seeds >= MIN_SEEDS)
    torch.set_num_threads(options.threads)
    given = {name: value for name, value in vars(options).items() if value is not None and hasattr(Size, name)}
    size = replace(TINY if options.tiny else Size(), **given)
    if options.tiny:
        source = rendered_scenes(options.work / "scenes", size=(32, 64), num_frames=NUM_FRAMES)
    elif options.clips is not None:
        source = Dataset.load(options.clips)
    else:
        raise SystemExit("name the dataset of drives with --clips, or try --tiny")
    workshop, seeds = Workshop(source, options.work, size), range(1 if options.tiny else options.seeds)
    workshop.trials.run((START, IMAGE, *WAYS), seeds, workshop.make)
    workshop.trials.run((SHIPPED,), seeds[:1], workshop.make)
    judges = judges_of(workshop.dataset)
    found = judged(workshop.trials, judges, options.work, (IMAGE, *WAYS), (SHIPPED,), seeds)
    sheets(workshop, options.work / "sheets")
    for name, rows in found.items():
        print(f"{name}\n{table(rows, COLUMNS)}\n")
    if options.page:
        tell(found, judges, workshop.trials.settings)


if __name__ == "__main__":
    command(main)
