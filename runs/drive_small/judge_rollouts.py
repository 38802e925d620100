"""Long rollouts of the prediction layers: drift, joins, and whether they follow the steering.

    python runs/drive_small/judge_rollouts.py STACK work/clips -o work/judged_rollouts

Expected: figures.json and sheets in about forty minutes of two cores, no GPU. Rollouts begin on held-out frames. Each
setting changes one thing of the stack's own: frames given to a window (S), noise on them, their guidance, the share of
the denoising walk (`strength`). Drift is the slope of brightness, saturation and sharpness (0 to 255) per 100 frames,
``first/last`` compares sharpness and the mean frame difference of the first and the last 16 frames; joins are the frame
differences where windows meet over those elsewhere. Steering: the mean sideways shift (pixels a frame, estimated flow
in the band around the horizon; to the left turning right) for steering values on each start, captions without their
turns, and its correlation with the values once each start's mean is taken out. The flow alone is no proof: textures can
crawl in place, so look at the sheet. Sheets: every eighth frame, a row per start; steering: a row per value.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentloom.data.clips import clip_windows
from latentloom.data.manifest import Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.evaluation.consistency import estimated_flow
from latentloom.evaluation.drift import drift, properties
from latentloom.evaluation.motion import frame_difference, join_ratio
from latentloom.precision import preferred_dtype
from latentloom.shapes import from_pixels, to_pixels
from latentloom.stack import Stack
from latentloom.stages.prediction import roll_out
from latentloom.stages.request import ClipRequest

STARTS = ("lake_b_val", "highway_yellow_b", "world_0039", "world_0119")
STEERED = ("lake_b_val", "world_0039", "world_0119", "world_0199")
WHEEL = (-0.4, -0.2, 0.0, 0.2, 0.4)
TURNS = ("turning", "going straight")  # words of the parts of a caption that would say otherwise than the wheel
BAND = (0.3, 0.6)  # of the height, about the horizon


class Judge:
    """A stack and held-out starts: caption and the latents of a frame."""

    def __init__(self, stack: Stack, dataset: Dataset, steps: int) -> None:
        self.stack, self.dataset, self.steps = stack, dataset, steps
        self.window = stack.info.stages["prediction"].window(stack.info.request("", num_inference_steps=steps))

    def start(self, name: str) -> tuple[str, Tensor]:
        windows = clip_windows(self.dataset, 16, self.stack.info.fps, split="val")
        window = next(w for w in windows if self.dataset.records[w.record].id == name)
        frame = self.dataset.frames(self.dataset.records[window.record], [window.first])
        return window.caption, self.stack.autoencoder.encode(from_pixels(frame)[None].to(self.stack.dtype))

    def rollout(
        self, name: str, num_frames: int, *, overlap: int = 2, steering: float | None = None, **changes: Any
    ) -> Tensor:
        caption, start = self.start(name)
        numbers = None
        if steering is not None:
            caption = ", ".join(part for part in caption.split(", ") if not any(turn in part for turn in TURNS))
            numbers = {"steering": [steering] * num_frames}
        window = replace(self.window, prompt=caption, **changes)
        pieces = roll_out(self.stack, window, start, num_frames, overlap=overlap, numbers=numbers)
        latents = torch.cat([piece.to(self.stack.dtype) for piece in pieces], 1)
        return to_pixels(self.stack.autoencoder.decode(latents, chunk_size=8)[0])


def long_figures(frames: Tensor, window: int, overlap: int) -> dict[str, float]:
    wander, values = drift(frames), properties(frames)
    return {
        "brightness per 100": wander.brightness,
        "saturation per 100": wander.saturation,
        "sharpness per 100": wander.sharpness,
        "sharpness, last/first 16": (values[2, -16:].mean() / values[2, :16].mean()).item(),
        "brightness, last - first 16": (values[0, -16:].mean() - values[0, :16].mean()).item(),
        "frame difference, last/first 16": frame_difference(frames[-16:]) / frame_difference(frames[:16]),
        "joins over elsewhere": join_ratio(frames, range(window, len(frames), window - overlap)),
    }


def sideways(frames: Tensor) -> float:
    """Mean shift to the right, pixels a frame, about the horizon."""
    height = frames.shape[1]
    rows = slice(int(BAND[0] * height), int(BAND[1] * height))
    return estimated_flow(frames)[:, rows, :, 0].mean().item()


def steering(judge: Judge, output: Path) -> dict[str, object]:
    shifts, rows = [], []
    for name in STEERED:
        clips = [judge.rollout(name, judge.window.num_frames, steering=value) for value in WHEEL]
        shifts.append([sideways(clip) for clip in clips])
        print("steering", name, dict(zip(WHEEL, [round(x, 2) for x in shifts[-1]], strict=True)), flush=True)
        rows += [clip[::2][:8] for clip in clips]
    contact_sheet(torch.cat(rows), output / "steering.png", columns=8)
    table = torch.tensor(shifts, dtype=torch.float64)
    centred = table - table.mean(1, keepdim=True)
    values = torch.tensor(WHEEL, dtype=torch.float64).expand_as(table)
    correlation = torch.corrcoef(torch.stack([centred.flatten(), values.flatten()]))[0, 1].item()
    print("correlation of shift and steering", correlation, flush=True)
    return {"shift": dict(zip(STEERED, shifts, strict=True)), "correlation": correlation}


def settings(own: ClipRequest, quick: bool) -> dict[str, dict[str, Any]]:
    """Name to what it changes, values that are the stack's own left out."""
    changes: dict[str, dict[str, Any]] = {"the stack's own": {}}
    if not quick:
        changes |= {"S = 1": {"overlap": 1}}
        changes |= {f"noise {level}": {"context_noise": level} for level in (0, 50, 150)}
        changes |= {f"strength {share:g}": {"strength": share} for share in (1.0, 0.8, 0.6)}
        changes |= {f"guidance {scale:g}": {"context_guidance_scale": scale} for scale in (1.0, 1.5, 2.0, 3.0)}
    return {name: change for name, change in changes.items() if not change or not change.items() <= asdict(own).items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=114)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="the stack's own settings alone")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    judge = Judge(Stack.load(options.stack, dtype=preferred_dtype()), Dataset.load(options.dataset), options.steps)
    figures: dict[str, object] = {"steering": steering(judge, options.output)}
    for name, changes in settings(judge.window, options.quick).items():
        clips = [judge.rollout(start, options.frames, **changes) for start in STARTS[: options.starts]]
        overlap = changes.get("overlap", 2)
        each = [long_figures(clip, judge.window.num_frames, overlap) for clip in clips]
        means = {key: sum(one[key] for one in each) / len(each) for key in each[0]}
        figures[name] = means
        print(name, {key: round(value, 2) for key, value in means.items()}, flush=True)
        sheet = torch.cat([clip[:: options.frames // 14][:14] for clip in clips])
        contact_sheet(sheet, options.output / f"{name.replace(' ', '_').replace(chr(39), '')}.png", columns=7)
        (options.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
