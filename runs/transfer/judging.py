"""The figures of clips beside real ones, for the table of transfers (``table.py``): motion, and Frechet distances."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentloom.data.clips import Window, clip_windows, spread
from latentloom.data.manifest import Dataset
from latentloom.evaluation.consistency import warp_error
from latentloom.evaluation.features import clip_features, frame_features
from latentloom.evaluation.frechet import frechet_distance_of
from latentloom.evaluation.motion import frame_difference
from latentloom.shapes import from_pixels, to_pixels
from latentloom.stack import Stack

HALVES = 2  # of the seeds
WINDOW = 8  # frames that one feature describes
MOMENTS = 12  # real windows a clip
COLUMNS = ("frame difference", "of real", "warp error", "Frechet, clips", "Frechet, frames")


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What a clip is asked for, and a real one of the same caption where there is one."""

    prompt: str
    fps: float
    real: Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Footage:
    """Real windows of a kind of footage: the reference, and others of the same clips."""

    reference: Tensor
    apart: Tensor


def scenes_of(dataset: Dataset, names: Sequence[str], info: Any) -> list[Scene]:
    """The middle window of each clip."""
    scenes = []
    for name in names:
        window = middle(windows_of(dataset, name, info.num_frames, info.fps))
        real = dataset.frames(dataset.records[window.record], window.indices)
        scenes.append(Scene(prompt=window.caption, fps=window.fps, real=real))
    return scenes


def footage_of(dataset: Dataset, names: Sequence[str], fps: float) -> Footage:
    """Windows of ``WINDOW`` frames, equally many of each clip, in turn for the reference and apart from it."""
    chosen = []
    for name in names:
        windows = windows_of(dataset, name, WINDOW, fps)
        chosen += [windows[i] for i in spread(len(windows), 2 * MOMENTS)]
    frames = torch.stack([dataset.frames(dataset.records[w.record], w.indices) for w in chosen])
    return Footage(reference=frames[::2], apart=frames[1::2])


def windows_of(dataset: Dataset, name: str, num_frames: int, fps: float) -> list[Window]:
    split = next(record.split for record in dataset.records if record.id == name)
    windows = clip_windows(dataset, num_frames, fps, split=split)
    return [window for window in windows if dataset.records[window.record].id == name]


def middle(windows: list[Window]) -> Window:
    return windows[len(windows) // 2]


def figures_of(clips: Tensor, scenes: list[Scene], footage: Footage | None) -> dict[str, float]:
    figures = {
        "frame difference": mean(frame_difference(clip) for clip in clips),
        "warp error": mean(warp_error(clip) for clip in clips),
    }
    real = [scene.real for scene in scenes if scene.real is not None]
    if real:
        figures["of real"] = figures["frame difference"] / mean(frame_difference(clip) for clip in real)
    if footage is not None:
        parts = clips.unflatten(1, (-1, WINDOW)).flatten(0, 1)
        figures |= distances(parts, clips[:, ::4].flatten(0, 1), footage)
    return figures


def distances(parts: Tensor, frames: Tensor, footage: Footage) -> dict[str, float]:
    """Of windows and of single frames, to the reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are few is said above the table
        still = frame_features(footage.reference[:, ::4].flatten(0, 1))
        return {
            "Frechet, clips": 1000 * frechet_distance_of(clip_features(parts), clip_features(footage.reference)),
            "Frechet, frames": 1000 * frechet_distance_of(frame_features(frames), still),
        }


def mean(values: Any) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def judged(clips: Tensor, scenes: list[Scene], footage: Footage | None) -> dict[str, Any]:
    """All clips, and either half of the seeds."""
    halves = [figures_of(part, scenes, footage) for part in clips.chunk(HALVES)]
    return {"all": figures_of(clips, scenes, footage), "halves": halves, "clips": len(clips)}


def real_figures(scenes: list[Scene], footage: Footage, through: Stack | None = None) -> dict[str, Any]:
    """Real clips as if they were generated ones, as many; ``through`` the autoencoder of a stack."""
    clips = torch.stack([scene.real for scene in scenes if scene.real is not None])
    count = HALVES * len(clips) * clips.shape[1] // WINDOW
    parts = footage.apart[spread(len(footage.apart), count)]
    if through is not None:
        clips, parts = (torch.stack([rebuilt(through, clip) for clip in taken]) for taken in (clips, parts))
    figures = figures_of(clips, scenes, None) | distances(parts, parts[:, ::4].flatten(0, 1), footage)
    return {"all": figures, "halves": [], "clips": len(clips)}


@torch.no_grad()
def rebuilt(stack: Stack, frames: Tensor) -> Tensor:
    latents = stack.autoencoder.encode(from_pixels(frames)[None].to(stack.dtype))
    return to_pixels(stack.autoencoder.decode(latents, chunk_size=4)[0])


def table(rows: dict[str, dict[str, Any]]) -> str:
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in rows.items():
        cells = [told(column, row) for column in COLUMNS]
        lines.append(f"| {name}, {row['clips']} clips | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def told(column: str, row: dict[str, Any]) -> str:
    if column not in row["all"]:
        return ""
    halves = " / ".join(f"{half[column]:.2f}" for half in row["halves"])
    return f"{row['all'][column]:.2f}" + (f" ({halves})" if halves else "")
