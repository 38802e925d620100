"""Clips that should equal given ones, as the experiments on decoder and upsampler make and judge them.

Pieces of drives to train and to try on; clips a trial made, kept in a file, so that judging them is a step of its own
that may be repeated with other features; and the figures. Frechet distances are between parts of frames and the same
parts of the real ones: whole frames are fewer, and features that see 64x128 pixels would not see their texture. The own
video network is shown whole frames, since it is told places, and too few for a Frechet distance: each clip is compared
with the real one it should equal. Not here: what makes clips.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from runs.experiments.results import Found, differences, markdown, table
from runs.experiments.trials import Figures, Trial, Trials
from safetensors.torch import load_file
from torch import Tensor

from latentloom.data.clips import clip_windows, spread
from latentloom.data.manifest import Dataset, DatasetWriter
from latentloom.data.sheets import contact_sheet
from latentloom.data.world import random_scene, render
from latentloom.evaluation import video_network
from latentloom.evaluation.consistency import estimated_flow, flicker, warp_error
from latentloom.evaluation.features import clip_features, frame_features
from latentloom.evaluation.fidelity import psnr
from latentloom.evaluation.frechet import frechet_distance_of
from latentloom.evaluation.video_network import video_features
from latentloom.files import save_tensors

SCALE = 1000
"""Of Frechet distances: those of random convolutions are small."""
FRAME_STRIDE = 4
"""Of a clip, every so many frames are single ones too: neighbours are alike."""
COLUMNS = {
    "psnr": ("PSNR, dB", 2),
    "flicker": ("flicker", 3),
    "warp": ("warp error", 3),
    "frechet_clip": ("Frechet, clips", 2),
    "frechet_frame": ("Frechet, frames", 2),
    "learned": ("learned, to its real clip", 3),
}
"""Figures to the titles and digits of a table."""
DECIDES = "learned"
"""The figure named beforehand: of many intervals one in twenty leaves out zero by chance."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Frames ``t h w 3`` of one drive; ``kind`` is the first word of its name."""

    kind: str
    frames: Tensor


def add_pieces(
    writer: DatasetWriter, dataset: Dataset, wanted: Mapping[str, int], *, split: str, num_frames: int, fps: float
) -> None:
    """Copy runs of ``num_frames``, none of which share a frame, spread over each source: prefix to how many."""
    windows = clip_windows(dataset, num_frames, fps, split=split)
    for prefix, count in wanted.items():
        apart, ends = [], dict[int, int]()
        for window in windows:
            if dataset.records[window.record].id.startswith(prefix) and window.first > ends.get(window.record, -1):
                ends[window.record] = window.indices[-1]
                apart.append(window)
        for window in (apart[place] for place in spread(len(apart), count)):
            record = dataset.records[window.record]
            name = f"{record.id}_{window.first:05d}"
            if not writer.has(name):
                frames = dataset.frames(record, window.indices)
                writer.add(name, frames, fps=window.fps, split=split, source=record.source, licence=record.licence)


def rendered_scenes(folder: Path, *, size: tuple[int, int], num_frames: int, count: int = 4) -> Dataset:
    """A few scenes of the project's own world, half of them held out: what a tiny twin works on."""
    with DatasetWriter(folder, {"kind": "tiny"}) as writer:
        for number in range(count):
            if not writer.has(f"world_{number}"):
                clip = render(random_scene(number), num_frames, 6.5, *size)
                writer.add(f"world_{number}", clip.frames, fps=6.5, split="val" if number % 2 else "train")
    return Dataset.load(folder)


def held_out(dataset: Dataset) -> list[Piece]:
    """The pieces that nothing was trained on."""
    records = [record for record in dataset.records if record.split == "val"]
    return [
        Piece(kind=record.id.split("_")[0], frames=dataset.frames(record, range(record.num_frames)))
        for record in records
    ]


def clip_file(name: str) -> str:
    """The file of a trial's folder in which clips for the judge of that name are."""
    return f"{name}.safetensors"


def keep_clips(path: Path, clips: Sequence[Tensor]) -> None:
    """Made clips of one size, uint8 ``t h w 3``, for the judge."""
    save_tensors(path, {"frames": torch.stack(list(clips))})


def kept_clips(path: Path) -> Tensor:
    """What ``keep_clips`` wrote, ``n t h w 3``."""
    return load_file(path)["frames"]


class Judge:
    """Real clips, with what every comparison to them shares: their flow and their features.

    Args:
        part: height and width that frames are cut into for features.
    """

    def __init__(self, pieces: Sequence[Piece], part: tuple[int, int]) -> None:
        self.pieces, self.part = pieces, part
        self.flows = [estimated_flow(piece.frames) for piece in pieces]
        real = [piece.frames for piece in pieces]
        self.features, self.learned = self._features(real), video_features(torch.stack(real))

    def figures(self, made: Sequence[Tensor]) -> Figures:
        """Of made clips, one for each piece: PSNR, flicker, warp error, learned distance (means); Frechet distances.

        The warp error follows the flow of the real clips: what moves wrongly cannot explain itself. The learned
        distance is the root mean square over features, each of which deviates by about 1 from drive to drive.
        """
        rows = list[Figures]()
        for clip, piece, flow in zip(made, self.pieces, self.flows, strict=True):
            near, steady = psnr(clip, piece.frames).mean().item(), flicker(clip, piece.frames)
            rows.append({"psnr": near, "flicker": steady, "warp": warp_error(clip, flow)})
        kinds = [piece.kind for piece in self.pieces]
        figures = {name: _mean([row[name] for row in rows]) for name in rows[0]}
        for kind in sorted(set(kinds)):
            own = [row for row, of in zip(rows, kinds, strict=True) if of == kind]
            figures |= {f"{name} {kind}": _mean([row[name] for row in own]) for name in ("psnr", "flicker")}
        for name, features in self._features(made).items():
            figures[f"frechet_{name}"] = SCALE * frechet_distance_of(features, self.features[name])
        away = video_features(torch.stack(list(made))) - self.learned
        figures["learned"] = away.square().mean(1).sqrt().mean().item()
        return figures

    @property
    def real_row(self) -> dict[int, Figures]:
        """What real clips have of these figures: a row of a table."""
        errors = [warp_error(piece.frames, flow) for piece, flow in zip(self.pieces, self.flows, strict=True)]
        return {0: {"warp": _mean(errors)}}

    def _features(self, clips: Sequence[Tensor]) -> dict[str, Tensor]:
        parts = torch.cat([in_parts(clip, self.part) for clip in clips])
        networks: dict[str, Callable[[Tensor], Tensor]] = {
            "clip": clip_features,
            "frame": lambda clips: frame_features(clips[:, ::FRAME_STRIDE].flatten(0, 1)),
        }
        return {name: network(parts) for name, network in networks.items()}


def judged(
    made: Trials,
    judges: Mapping[str, Judge],
    work: Path,
    seeded: Sequence[str],
    once: Sequence[str],
    seeds: Sequence[int],
) -> dict[str, Found]:
    """Figures of what trials made, by judge; kept for the learned network of today.

    Args:
        judges: each of the clips that a trial keeps in a file of the judge's name.
        seeded, once: variants with all ``seeds``, and with the first alone.
    """

    def figures(trial: Trial) -> Figures:
        folder = made.trial(trial.variant, trial.seed).folder
        rows = {name: judge.figures(list(kept_clips(folder / clip_file(name)))) for name, judge in judges.items()}
        return {f"{name}: {figure}": value for name, row in rows.items() for figure, value in row.items()}

    trials = Trials(work=work / f"judged-{video_network.SHA256[:8]}", settings=made.settings)
    found = trials.run(seeded, seeds, figures) | trials.run(once, seeds[:1], figures)
    return {name: {variant: _of(rows, name) for variant, rows in found.items()} for name in judges}


def _of(rows: Mapping[int, Figures], name: str) -> dict[int, Figures]:
    """The figures of one judge, by seed."""
    prefix = f"{name}: "
    return {seed: {f.removeprefix(prefix): row[f] for f in row if f.startswith(prefix)} for seed, row in rows.items()}


def in_parts(clip: Tensor, part: tuple[int, int]) -> Tensor:
    """A clip ``t h w 3`` as clips of its parts side by side, ``n t k l 3``."""
    return rearrange(clip, "t (y h) (x w) c -> (y x) t h w c", h=part[0], w=part[1])


def difference_table(found: Found, pairs: Sequence[tuple[str, str]]) -> str:
    """One variant less another, seed by seed; of ``DECIDES`` bold where the interval leaves out zero."""
    rows = list[list[str]]()
    for variant, baseline in pairs:
        # a variant that was made once is compared on the seed it has
        shared = found[variant].keys() & found[baseline].keys()
        both = {name: {seed: found[name][seed] for seed in sorted(shared)} for name in (variant, baseline)}
        told = list[str]()
        for figure, (_, digits) in COLUMNS.items():
            estimate = differences(both, baseline, figure)[variant]
            bold = figure == DECIDES and estimate.differs_from_zero
            told.append(f"**{estimate.told(digits)}**" if bold else estimate.told(digits))
        rows.append([f"{variant} − {baseline}", *told])
    return markdown(["", *(title for title, _ in COLUMNS.values())], rows)


def source_table(found: Found, figure: str, digits: int) -> str:
    """One figure by kind of footage."""
    row = next(iter(next(iter(found.values())).values()))
    names = [name for name in row if name.startswith(f"{figure} ")]
    return table(found, {name: (name.removeprefix(f"{figure} "), digits) for name in names})


def enlarged_sheet(
    path: Path, rows: Mapping[str, Tensor], *, corner: tuple[int, int], size: tuple[int, int], times: int
) -> None:
    """A crop of the first frames of clips ``t h w 3``, ``times`` times as large, a labelled row each."""
    (top, left), (height, width) = corner, size
    crops = {name: clip[:4, top : top + height, left : left + width] for name, clip in rows.items()}
    frames = torch.cat([crop.repeat_interleave(times, 1).repeat_interleave(times, 2) for crop in crops.values()])
    labels = [f"{name}, frame {number}" for name, crop in crops.items() for number in range(len(crop))]
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(frames, path, columns=4, labels=labels)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
