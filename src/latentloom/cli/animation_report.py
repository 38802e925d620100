"""Judging a new video model on its footage: motion against real clips, nearest training frames, a sheet, a report."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import UInt8
from torch import Tensor

from latentloom.cli.options import compute_device
from latentloom.cli.progress import progress
from latentloom.data.clips import Window, spread
from latentloom.data.manifest import Dataset
from latentloom.diffusion.sampler import clip_noise
from latentloom.evaluation.memorisation import nearest_frames
from latentloom.evaluation.motion import frame_difference, frame_difference_ratio
from latentloom.files import write_text
from latentloom.generation.clips import sample, write_clip
from latentloom.generation.files import DECODED_AT_ONCE, VideoFiles, write_sheet
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.precision import preferred_dtype
from latentloom.stack import Stack
from latentloom.stages.decoding import decode_frames
from latentloom.stages.request import ClipRequest, seeded_generator

NUM_CLIPS = 2
NUM_REAL = 8
COLUMNS = 8


class Sampling(Protocol):
    """The part of a request that judging needs."""

    @property
    def seed(self) -> int: ...
    @property
    def dtype(self) -> str: ...


def evaluate(
    folder: Path, dataset: Dataset, windows: list[Window], sampling: Sampling, settings: dict[str, Any]
) -> None:
    """Write sample.mp4 (with sheet and receipt), evaluation.png and, last, report.json into the model folder.

    The sheet's rows: a clip, its noise without temporal layers, the training frames nearest to the clip, a real clip.
    """
    device = compute_device()
    stack = Stack.load(folder, dtype=preferred_dtype(device, sampling.dtype), device=device)
    captions = [text for text, _ in Counter(window.caption for window in windows).most_common(NUM_CLIPS)]
    with_layers, without = list[Tensor](), list[Tensor]()
    for index in range(NUM_CLIPS):
        request = stack.info.request(captions[index % len(captions)])
        seed = sampling.seed + index
        latents = sample(stack, request, seed=seed, title=f"clip {index + 1} of {NUM_CLIPS}", show=progress)
        if index == 0:
            files = VideoFiles.beside(folder / "sample.mp4")
            write_clip(stack, request, latents, files, seed=seed, show=progress)
        with_layers.append(_decoded(stack, latents))
        without.append(_decoded(stack, _image_model_clip(stack, request, seed)))
    real = _real_clips(dataset, windows)
    figures = _figures(torch.stack(with_layers), torch.stack(without), real)
    chosen = with_layers[0][spread(len(with_layers[0]), COLUMNS)]
    nearest, figures["nearest_training_frame"] = _nearest(chosen, dataset)
    rows = [chosen, without[0], nearest, real[0][spread(real.shape[1], COLUMNS)]]
    columns = min(map(len, rows))
    write_sheet(torch.cat([row[:columns] for row in rows]), folder / "evaluation.png", columns=columns)
    report = {"settings": settings, "prompts": captions, **figures}
    write_text(folder / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    _print_figures(figures)


def _decoded(stack: Stack, latents: Tensor) -> Tensor:
    return torch.stack(list(decode_frames(stack.autoencoder, latents, DECODED_AT_ONCE)))


def _image_model_clip(stack: Stack, request: ClipRequest, seed: int) -> Tensor:
    """Up to eight images of the image model alone, for the noise of the first frames of the clip."""
    count = min(COLUMNS, request.num_frames)
    alone = replace(request, num_frames=count, temporal_strength=0.0)
    channels, factor = stack.unet.config["in_channels"], VideoAutoencoder(stack.vae).factor
    shape = (1, request.num_frames, channels, request.height // factor, request.width // factor)
    noise = clip_noise(shape, seeded_generator(seed), stack.execution_device, stack.unet.dtype)
    return sample(stack, alone, noise=noise[:, :count], title="the same without temporal layers", show=progress)


def _real_clips(dataset: Dataset, windows: Sequence[Window]) -> UInt8[Tensor, "n t h w 3"]:
    chosen = [windows[index] for index in spread(len(windows), NUM_REAL)]
    return torch.stack([dataset.frames(dataset.records[window.record], window.indices) for window in chosen])


def _figures(with_layers: Tensor, without: Tensor, real: Tensor) -> dict[str, Any]:
    """Frame differences, and their ratios to the real clips'; None where there is one frame or nothing moves."""
    if min(with_layers.shape[1], without.shape[1], real.shape[1]) < 2:
        return {"frame_difference": None}
    means = [sum(map(frame_difference, clips)) / len(clips) for clips in (real, with_layers, without)]
    ratios = [frame_difference_ratio(clips, real) if means[0] else None for clips in (with_layers, without)]
    names = ("real", "generated", "without_temporal_layers", "ratio", "ratio_without_temporal_layers")
    return {"frame_difference": dict(zip(names, [*means, *ratios], strict=True))}


def _nearest(frames: Tensor, dataset: Dataset) -> tuple[Tensor, dict[str, float]]:
    """The training frames nearest to ``frames``, how far they are, and how far neighbouring training frames are."""
    best = torch.full((len(frames),), torch.inf)
    found = torch.zeros_like(frames)
    neighbours = []
    for record in dataset.records:
        if record.split == "train":
            known = dataset.frames(record, range(record.num_frames))
            indices, distances = nearest_frames(frames, known)
            better = distances < best
            best, found[better] = torch.where(better, distances, best), known[indices[better]]
            if record.num_frames > 1:
                neighbours.append(nearest_frames(known[:1], known[1:2])[1].item())
    figures = {"mean_squared_distance": best.mean().item()}
    if neighbours:
        figures["between_neighbouring_training_frames"] = sum(neighbours) / len(neighbours)
    return found, figures


def _print_figures(figures: dict[str, Any]) -> None:
    motion, nearest = figures["frame_difference"], figures["nearest_training_frame"]
    if motion is not None and motion["ratio"] is not None:
        print(
            f"frame difference, generated over real: {motion['ratio']:.2f}"
            f" ({motion['ratio_without_temporal_layers']:.2f} without temporal layers)"
        )
    scale = nearest.get("between_neighbouring_training_frames")
    print(
        f"nearest training frame: mean squared distance {nearest['mean_squared_distance']:.1f}"
        + (f", {scale:.1f} between neighbouring training frames" if scale is not None else "")
    )
