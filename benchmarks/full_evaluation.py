"""One denoising evaluation at the true size of Stable Diffusion 2.1, beside Stable Video Diffusion's network.

    python benchmarks/full_evaluation.py -o benchmarks/results/DATE-full-evaluation-CPU.md

Networks of full size with random weights, 8 frames of 40x64 latents (320x512 pixels), 77 text tokens, no guidance, one
thread, the dtype that this machine multiplies fastest. The image network alone on the frames as a batch (what ours is
at alpha = 1, bit for bit); ours: the same with the paper's text layers; diffusers' ``UNetSpatioTemporalConditionModel``
as it comes (8 input channels), with the one context token that it was made for, and with 77. Each evaluation runs in a
process of its own, the networks in turn: core-seconds of all its threads, and the most memory it ever held, weights
included. One frame is evaluated before, to prepare kernels. About 20 minutes of one core and 7 GB.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel, UNetSpatioTemporalConditionModel
from layouts import LAYOUTS, Layout
from machine import core_seconds, describe_machine, most_memory
from random_weights import with_random_weights
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from latentloom.align import TemporalLayers, attach
from latentloom.layers.layer_set import LayerSet
from latentloom.precision import preferred_dtype
from latentloom.recipes.text import TEXT_TOKENS

TIME = torch.tensor([500])
Call = Callable[[int], Tensor]
"""An evaluation of so many frames."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One evaluation: core-seconds, the most bytes held, bytes of weights, parameters."""

    core_seconds: float
    memory: int
    weights: int
    parameters: int


def image(layout: Layout, dtype: torch.dtype) -> tuple[nn.Module, Call]:
    """The stock image network, each frame for itself."""
    unet = with_random_weights(lambda: UNet2DConditionModel(**layout.unet), "cpu", dtype)
    words = torch.randn(1, TEXT_TOKENS, layout.text_width).to(dtype)

    def call(frames: int) -> Tensor:
        latents = torch.randn(frames, 4, *layout.latent_size).to(dtype)
        return unet(latents, TIME, words.expand(frames, -1, -1)).sample

    return unet, call


def ours(layout: Layout, dtype: torch.dtype) -> tuple[nn.Module, Call]:
    """The image network with temporal layers, their mix at the start of training (alpha 0.5)."""

    def build() -> nn.Module:
        unet = UNet2DConditionModel(**layout.unet)
        return attach(unet, TemporalLayers.for_network(unet, LayerSet.text()))

    video = with_random_weights(build, "cpu", dtype)
    words = torch.randn(1, TEXT_TOKENS, layout.text_width).to(dtype)
    return video, lambda frames: video(torch.randn(1, frames, 4, *layout.latent_size).to(dtype), TIME, words).sample


def svd(layout: Layout, dtype: torch.dtype, *, tokens: int) -> tuple[nn.Module, Call]:
    """Stable Video Diffusion's network."""
    network = with_random_weights(lambda: UNetSpatioTemporalConditionModel(**layout.svd), "cpu", dtype)
    channels, ids = network.config["in_channels"], torch.tensor([[6.0, 127.0, 0.02]], dtype=dtype)
    context = torch.randn(1, tokens, network.config["cross_attention_dim"]).to(dtype)

    def call(frames: int) -> Tensor:
        return network(torch.randn(1, frames, channels, *layout.latent_size).to(dtype), TIME, context, ids).sample

    return network, call


SUBJECTS: dict[str, Callable[[Layout, torch.dtype], tuple[nn.Module, Call]]] = {
    "image": image,
    "ours": ours,
    "SVD, 1 token": lambda layout, dtype: svd(layout, dtype, tokens=1),
    "SVD, 77 tokens": lambda layout, dtype: svd(layout, dtype, tokens=TEXT_TOKENS),
}


@torch.no_grad()
def evaluated(name: str, layout: Layout, *, rows: int = 0) -> Result:
    """One evaluation in this process; ``rows`` above 0 prints where the time went, operation by operation."""
    torch.manual_seed(0)
    network, call = SUBJECTS[name](layout, preferred_dtype())
    call(1)
    results: list[Tensor] = []
    if rows:
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as record:
            seconds = core_seconds(lambda: results.append(call(layout.video.first.num_frames)))
        averages = record.key_averages(group_by_input_shape=True)
        print(averages.table(sort_by="self_cpu_time_total", row_limit=rows), file=sys.stderr)
    else:
        seconds = core_seconds(lambda: results.append(call(layout.video.first.num_frames)))
    if not bool(results[0].isfinite().all()):
        raise ValueError(f"{name}: the random weights gave numbers that are not finite")
    parameters = list(network.parameters())
    return Result(
        core_seconds=seconds,
        memory=most_memory(),
        weights=sum(parameter.nbytes for parameter in parameters),
        parameters=sum(parameter.numel() for parameter in parameters),
    )


def in_a_process(name: str, size: str, profiled: int) -> Result:
    """``evaluated`` in a process of its own."""
    command = [sys.executable, __file__, "--subject", name, "--size", size, "--profile", str(profiled)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Result(**json.loads(answer.splitlines()[-1]))


def medians(results: list[Result]) -> Result:
    """Of time and memory; the rest does not vary."""
    seconds = statistics.median(result.core_seconds for result in results)
    memory = int(statistics.median(result.memory for result in results))
    last = asdict(results[-1])
    return Result(**{**last, "core_seconds": seconds, "memory": memory})


def markdown(results: dict[str, list[Result]], machine: dict[str, Any], dtype: torch.dtype) -> str:
    """The result file for readers."""
    middle = {name: medians(rows) for name, rows in results.items()}
    base, theirs = middle["image"].core_seconds, middle["SVD, 1 token"].core_seconds
    facts = ", ".join(f"{key} {value}" for key, value in machine.items() if key not in ("command", "flags"))
    lines = ["# One evaluation at the true size of Stable Diffusion 2.1", "", (__doc__ or "").split("\n\n")[2]]
    lines += [f"`{machine['command']}`: {dtype}, {facts}, flags {' '.join(machine['flags'])}", ""]
    lines += ["| network | parameters (M) | core-s | range | over image | of SVD, 1 token | weights (GB) | peak (GB) |"]
    lines += ["|" + "---|" * 8]
    for name, row in middle.items():
        times = [result.core_seconds for result in results[name]]
        cells = [name, f"{row.parameters / 1e6:.0f}", f"{row.core_seconds:.1f}", f"{min(times):.1f}-{max(times):.1f}"]
        cells += [f"{row.core_seconds / base - 1:+.0%}", f"{row.core_seconds / theirs:.2f}"]
        cells += [f"{row.weights / 1e9:.2f}", f"{row.memory / 1e9:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write(results: dict[str, list[Result]], output: Path) -> None:
    """Markdown, and JSON beside it; after each evaluation, so that a run that is cut off leaves what it has."""
    machine, dtype = describe_machine(), preferred_dtype()
    output.write_text(markdown(results, machine, dtype), encoding="utf-8")
    every = {name: [asdict(result) for result in rows] for name, rows in results.items()}
    data = {"machine": machine, "dtype": str(dtype), "evaluations": every}
    output.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="Markdown; JSON of every evaluation beside it")
    parser.add_argument("--size", choices=LAYOUTS, default="full", help="tiny: does the script run at all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subject", choices=SUBJECTS, help="one evaluation in this process, as JSON")
    parser.add_argument("--profile", type=int, default=0, metavar="ROWS", help="with --subject: the slowest operations")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.subject:
        print(json.dumps(asdict(evaluated(options.subject, LAYOUTS[options.size], rows=options.profile))))
        return
    results: dict[str, list[Result]] = defaultdict(list)
    for index in range(options.rounds):
        for name in SUBJECTS:
            results[name].append(in_a_process(name, options.size, options.profile))
            print(index, name, results[name][-1], flush=True)
            if options.output is not None and len(results) == len(SUBJECTS):
                write(results, options.output)
    print(markdown(results, describe_machine(), preferred_dtype()))


if __name__ == "__main__":
    main()
