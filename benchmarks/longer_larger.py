"""Layers that are convolutional in time and space: what longer clips and larger frames cost, and what becomes of them.

    python benchmarks/longer_larger.py drive-small -o work/longer

Expected: a table (figures.json) and a sheet per row in about fifteen minutes of one core, no GPU. Key frames are made
from one seed and caption as long and as large as trained, then longer (12, 45 and 177 frames: the paper's 12 key frames
after no, one and two interpolations), with attention over everything and limited to the distance met in training, then
larger. `core-s` and `MB` are of one evaluation of the network with its temporal layers (no guidance), the memory above
the weights in a process of its own. `frame difference` is the mean of neighbouring frames over that of the first row,
`sharpness` likewise: 1 says that length and size changed nothing. Sheets: twelve frames spread over the clip.
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from machine import alternate, describe_machine, peak_memory
from torch import Tensor

from latentloom.align import attach
from latentloom.conditions import Conditions
from latentloom.data.sheets import contact_sheet
from latentloom.evaluation.drift import properties
from latentloom.evaluation.motion import frame_difference
from latentloom.models.text import encode_text
from latentloom.precision import preferred_dtype
from latentloom.shapes import to_pixels
from latentloom.stack import Stack
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import ClipRequest, seeded_generator
from latentloom.stages.sampling import latent_shape

PROMPT = "simulator, daytime, driving on the lake track, going straight, fast"
SPREAD = 12  # frames of a sheet


def requests(stack: Stack, steps: int, lengths: list[int], sizes: list[float]) -> dict[str, ClipRequest]:
    """Name to request; the first is as in training, the others change one thing."""
    plain = stack.info.request(PROMPT, num_inference_steps=steps)
    name = f"{plain.num_frames} frames, {plain.height}x{plain.width}"
    rows = {f"{name} (as trained)": plain}
    for length in lengths:
        longer = replace(plain, num_frames=length)
        if length > plain.num_frames:
            limited = replace(longer, attention_distance=plain.num_frames - 1)
            rows[f"{length} frames, limited to {plain.num_frames - 1}"] = limited
        rows[f"{length} frames, attention over all"] = longer
    for size in sizes:
        larger = replace(plain, height=int(plain.height * size), width=int(plain.width * size))
        rows[f"{larger.height}x{larger.width}"] = larger
    return rows


def evaluation(stack: Stack, request: ClipRequest) -> Callable[[], None]:
    """One evaluation of the network with its key-frame layers for a request."""
    text = encode_text(stack.tokenizer, stack.text_encoder, [request.prompt], stack.execution_device).to(stack.dtype)
    conditions = Conditions(text=text, numbers={"fps": torch.tensor([request.fps or torch.nan])})
    latents, layers = torch.randn(latent_shape(stack, request), dtype=stack.dtype), stack.temporal_layers("keyframes")

    @torch.no_grad()
    def run() -> None:
        video = attach(stack.unet, layers)
        try:
            video.predict(latents, 500, conditions, attention_distance=request.attention_distance)
        finally:
            video.detach()

    return run


def megabytes(path: str, request: ClipRequest) -> float:
    """Memory of one evaluation above the weights, in a fresh process."""
    torch.set_num_threads(1)
    return peak_memory(evaluation(Stack.load(path, dtype=preferred_dtype()), request)) / 1e6


def shown(stack: Stack, request: ClipRequest, seed: int) -> Tensor:
    latents = generate_keyframes(stack, request, generator=seeded_generator(seed))
    return to_pixels(stack.autoencoder.decode(latents, chunk_size=4)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--lengths", type=int, nargs="*", default=[12, 45, 177])
    parser.add_argument("--sizes", type=float, nargs="*", default=[1.5, 2.0], help="of the sides")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    stack = Stack.load(options.stack, dtype=preferred_dtype())
    asked = requests(stack, options.steps, options.lengths, options.sizes)
    seconds = alternate({name: evaluation(stack, request) for name, request in asked.items()}, options.rounds)
    figures: dict[str, dict[str, Any]] = {}
    first: tuple[float, float] | None = None
    for name, request in asked.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            memory = pool.apply(megabytes, (options.stack, request))
        frames = shown(stack, request, options.seed)
        seen = frame_difference(frames), properties(frames)[2].mean().item()
        first = first or seen
        figures[name] = {
            "core-s": seconds[name],
            "core-s a frame": seconds[name] / request.num_frames,
            "MB": memory,
            "frame difference": seen[0] / first[0],
            "sharpness": seen[1] / first[1],
        }
        print(name, {what: round(value, 3) for what, value in figures[name].items()}, flush=True)
        chosen = [i * (len(frames) - 1) // (SPREAD - 1) for i in range(SPREAD)]
        contact_sheet(frames[chosen], options.output / f"{name.split(' (')[0].replace(', ', '-')}.png", columns=6)
    result = {"machine": describe_machine(), "rows": figures}
    (options.output / "figures.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
