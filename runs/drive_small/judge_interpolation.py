"""Interpolation against linear blending, on footage it never saw.

    python runs/drive_small/judge_interpolation.py STACK work/fine -o work/judged_interpolation

Expected: figures.json and a sheet per group in about five minutes of two cores, no GPU. A window of the layers' length
is cut from held-out clips; every fourth frame is given as latents, the three between are made, and PSNR (dB) is taken
on those alone, against the real frames seen through the autoencoder (``made``, ``blended``: neighbours mixed linearly,
pixels of the same decoded key frames) and against the real frames themselves. ``steady`` are the `world` clips whose
speed and steering hardly change: there blending has its best case, too. ``other rate`` is the same with the label of
the other pass. Sampled as the stack says, and with what ``--strength``, ``--steps`` and ``--noise`` try beside it.
Sheets: real, made, blended, row by row.
"""

import argparse
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from latentloom.data.clips import Window, clip_windows
from latentloom.data.manifest import ClipRecord, Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.evaluation.fidelity import psnr
from latentloom.precision import preferred_dtype
from latentloom.shapes import from_pixels, to_pixels
from latentloom.stack import Stack
from latentloom.stages.interpolation import FACTOR, interpolate_frames

GROUPS = {"world": "fine", "simulator": "lake", "highway": "highway"}
STEADY = 0.05  # of speed (relative) and steering, at most


def steady(record: ClipRecord, window: Window) -> bool:
    """Whether the drive keeps speed and steering within the window."""
    if "speed" not in record.labels:
        return False
    speed, steering = (torch.tensor([record.labels[name][i] for i in window.indices]) for name in ("speed", "steering"))
    return bool(speed.mean() > 5 and speed.std() < STEADY * speed.mean() and steering.std() < STEADY)


def blended(frames: Tensor) -> Tensor:
    """Frames ``t h w 3`` with those between every fourth replaced by linear mixtures of these."""
    keys = frames[::FACTOR].float()
    shares = torch.arange(FACTOR).view(-1, 1, 1, 1) / FACTOR
    mixed = [first * (1 - shares) + second * shares for first, second in pairwise(keys)]
    return torch.cat([*mixed, keys[-1:]]).round().to(torch.uint8)


def between(made: Tensor, truth: Tensor) -> float:
    """Mean PSNR of the frames between the given ones."""
    chosen = [i for i in range(len(made)) if i % FACTOR]
    return psnr(made[chosen], truth[chosen]).mean().item()


def judged(
    stack: Stack, dataset: Dataset, window: Window, rate: int, seed: int, tried: list[tuple[str, float]]
) -> tuple[dict[str, float], Tensor]:
    real = dataset.frames(dataset.records[window.record], window.indices)
    autoencoder = stack.autoencoder
    latents = autoencoder.encode(from_pixels(real)[None].to(stack.dtype))
    plain = stack.info.stages["interpolation"].window(stack.info.request(window.caption, fps=window.fps))

    def interpolated(rate: int, **changes: float) -> Tensor:
        request = replace(plain, **changes)
        pieces = interpolate_frames(stack, request, [latents[:, ::FACTOR]], rate=rate, seed=seed)
        return to_pixels(autoencoder.decode(torch.cat(list(pieces), 1).to(stack.dtype))[0])

    seen = to_pixels(autoencoder.decode(latents)[0])
    made, other, mixed = interpolated(rate), interpolated(1 - rate), blended(seen)
    figures = {
        "made": between(made, seen),
        "blended": between(mixed, seen),
        "other rate": between(other, seen),
        "made, real": between(made, real),
        "blended, real": between(mixed, real),
        "rates differ": (made.float() - other.float()).abs().mean().item(),
        **{f"{name} {x:g}": between(interpolated(rate, **{name: x}), seen) for name, x in tried},
    }
    return figures, torch.stack([real, made, mixed])[:, : 2 * FACTOR + 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=6, help="of each group and rate")
    parser.add_argument("--strength", type=float, nargs="*", default=[], help="tried beside the stack's own")
    parser.add_argument("--steps", type=int, nargs="*", default=[], help="likewise")
    parser.add_argument("--noise", type=int, nargs="*", default=[], help="on given frames, likewise")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    dataset = Dataset.load(arguments.dataset)
    stack = Stack.load(arguments.stack, dtype=preferred_dtype())
    stage = stack.info.stages["interpolation"]
    tried = [("strength", x) for x in arguments.strength] + [("num_inference_steps", x) for x in arguments.steps]
    tried += [("context_noise", x) for x in arguments.noise]
    all_figures: dict[str, dict[str, float]] = {}
    for rate, fps in enumerate(stage.fps):
        windows = clip_windows(dataset, stage.num_frames, fps, split="val")
        for group, prefix in GROUPS.items():
            chosen = [window for window in windows if dataset.records[window.record].id.startswith(prefix)]
            parts = {group: chosen}
            if group == "world":
                calm = [window for window in chosen if steady(dataset.records[window.record], window)]
                parts = {"world, steady": calm, "world, other": [window for window in chosen if window not in calm]}
            for name, members in parts.items():
                count = min(arguments.clips, len(members))
                some = [members[(2 * i + 1) * len(members) // (2 * count)] for i in range(count)]
                if not some:
                    continue
                results = [judged(stack, dataset, window, rate, seed, tried) for seed, window in enumerate(some)]
                means = {key: sum(result[0][key] for result in results) / len(results) for key in results[0][0]}
                key = f"{name}, rate {rate}, {some[0].fps:.1f} fps"
                all_figures[key] = means
                print(key, {what: round(value, 2) for what, value in means.items()}, flush=True)
                sheet = results[0][1]
                path = arguments.output / f"{name.replace(', ', '-')}-{rate}.png"
                contact_sheet(sheet.flatten(0, 1), path, columns=sheet.shape[1])
    (arguments.output / "figures.json").write_text(json.dumps(all_figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
