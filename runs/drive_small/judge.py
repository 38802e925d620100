"""The figures of the embedded stack on footage it never saw: reconstruction, motion, memorisation; and their sheets.

    python runs/drive_small/judge.py drive-small work/clips -o work/judged

Expected: figures.json and five sheets in about seven minutes of two cores, no GPU. `motion-*.png` has three rows a
clip: with temporal layers, without (same noise), a held-out clip of the same caption. `nearest.png` has the nearest
training frame beside each sample: memorisation is shown, not hidden. Motion is the mean absolute difference of
neighbouring frames, generated over real, also with the real clips passed through the autoencoder (which drops noise).
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from latentloom.data.clips import Window, clip_windows
from latentloom.data.manifest import Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.evaluation.fidelity import psnr
from latentloom.evaluation.memorisation import nearest_frames
from latentloom.evaluation.motion import frame_difference_ratio
from latentloom.precision import preferred_dtype
from latentloom.shapes import from_pixels, to_pixels
from latentloom.stack import Stack
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import seeded_generator

GROUPS = {"simulator": ("lake", "jungle"), "highway": ("highway",), "city": ("city_gif",), "world": ("world",)}
CLIPS = 3


def rebuilt(stack: Stack, frames: Tensor) -> Tensor:
    """Frames ``t h w 3`` through the autoencoder."""
    autoencoder = stack.autoencoder
    chunks = [from_pixels(chunk)[None].to(stack.dtype) for chunk in frames.split(8)]
    return to_pixels(torch.cat([autoencoder.decode(autoencoder.encode(chunk)) for chunk in chunks], 1)[0])


def reconstruction(stack: Stack, dataset: Dataset) -> dict[str, float]:
    """Mean PSNR (dB) of every held-out record, 32 frames spread over each; of a group, weighted by its frames."""
    figures: dict[str, float] = {}
    records = {record.id: record for record in dataset.records if record.split == "val"}
    for name, record in records.items():
        count = min(32, record.num_frames)
        frames = dataset.frames(record, [i * record.num_frames // count for i in range(count)])
        figures[name] = psnr(rebuilt(stack, frames), frames).mean().item()
    for group, prefixes in GROUPS.items():
        members = [record for name, record in records.items() if name.startswith(prefixes)]
        total = sum(record.num_frames for record in members)
        figures[f"all {group}"] = sum(figures[record.id] * record.num_frames for record in members) / total
    for name, figure in figures.items():
        print(f"{name}: {figure:.2f} dB", flush=True)
    return figures


def held_out(dataset: Dataset, prefixes: tuple[str, ...], num_frames: int, fps: float) -> list[Window]:
    windows = clip_windows(dataset, num_frames, fps, split="val")
    windows = [window for window in windows if dataset.records[window.record].id.startswith(prefixes)]
    return [windows[(2 * i + 1) * len(windows) // (2 * CLIPS)] for i in range(CLIPS)]


def clip(stack: Stack, window: Window, seed: int, strength: float) -> Tensor:
    request = stack.info.request(
        window.caption, num_frames=window.num_frames, fps=window.fps, temporal_strength=strength
    )
    latents = generate_keyframes(stack, request, generator=seeded_generator(seed))
    return to_pixels(stack.autoencoder.decode(latents, chunk_size=4)[0])


def motion(stack: Stack, dataset: Dataset, group: str, output: Path) -> tuple[dict[str, float], Tensor]:
    """Frame-difference ratios of a group, its sheet, and the clips made."""
    windows = held_out(dataset, GROUPS[group], stack.info.num_frames, stack.info.fps)
    real = torch.stack([dataset.frames(dataset.records[window.record], window.indices) for window in windows])
    made = torch.stack([clip(stack, window, seed, 1.0) for seed, window in enumerate(windows)])
    without = torch.stack([clip(stack, window, seed, 0.0) for seed, window in enumerate(windows)])
    through = torch.stack([rebuilt(stack, frames) for frames in real])
    rows = torch.stack([made, without, real], 1)[:, :, ::2].flatten(0, 1)
    contact_sheet(rows.flatten(0, 1), output / f"motion-{group}.png", columns=rows.shape[1])
    figures = {
        "with": frame_difference_ratio(made, real),
        "without": frame_difference_ratio(without, real),
        "with, real through the autoencoder": frame_difference_ratio(made, through),
        "without, real through the autoencoder": frame_difference_ratio(without, through),
    }
    print(group, figures, [window.caption for window in windows], flush=True)
    return figures, made.flatten(0, 1)


def memorisation(dataset: Dataset, samples: Tensor, output: Path) -> dict[str, float]:
    """Distances of samples and of held-out frames to their nearest training frames, and the sheet of both."""
    training = torch.cat([dataset.frames(r, range(r.num_frames)) for r in dataset.records if r.split == "train"])
    unseen = torch.cat([dataset.frames(r, range(0, r.num_frames, 8)) for r in dataset.records if r.split == "val"])
    nearest, distances = nearest_frames(samples, training)
    contact_sheet(torch.stack([samples, training[nearest]], 1).flatten(0, 1), output / "nearest.png", columns=6)
    return {
        "samples": distances.mean().item(),
        "held-out frames": nearest_frames(unseen, training)[1].mean().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    dataset = Dataset.load(arguments.dataset)
    figures: dict[str, object] = {"psnr": reconstruction(Stack.load(arguments.stack), dataset)}
    stack = Stack.load(arguments.stack, dtype=preferred_dtype())
    samples = []
    for group in GROUPS:
        figures[f"motion, {group}"], made = motion(stack, dataset, group, arguments.output)
        samples.append(made[::8])
    figures["nearest training frame"] = memorisation(dataset, torch.cat(samples), arguments.output)
    (arguments.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
