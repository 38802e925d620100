"""What upsampling costs against patch, frames of a portion and tile (the paper's open question on its upsampler).

    python -m runs.experiments.upsampler_cost work/upsampler_cost --page
    python -m runs.experiments.upsampler_cost work/tiny --tiny        # small networks and frames, seconds

Expected: tables of docs/results/upsampler.md and docs/results/upsampler_cost.json in about six core-minutes, no GPU, no
download. ``drive-small``'s pixel upsampler is counted and measured (core-seconds and growth of the process; on a GPU
``--device cuda``: seconds between events and memory of tensors); Stable Diffusion's x4 upscaler with the paper's
temporal layers, to 1280x2048 pixels, is counted on tensors without values and has not run. Counted are operations and
the bytes of tensors alive at once; tiles are those that the stage cuts, with all they see around themselves.

A frame that two portions share is made twice: costs are for each frame that is new. Not here: quality
(``upsampler``), and the denoising steps, by which everything is multiplied.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from benchmarks.layouts import LAYOUTS, Layout
from runs.experiments.results import PAGES, check_page, drawn, machine, markdown, put_table
from runs.experiments.trials import command
from runs.experiments.upsampler_counting import (
    OVERLAP,
    Case,
    Cost,
    Counted,
    large_decoding,
    latent_evaluation,
    measured,
    pixel_evaluation,
)

from latentloom.files import write_text
from latentloom.offload import num_bytes
from latentloom.precision import preferred_dtype
from latentloom.stack import Stack


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is tried, in small pixels: ``size`` is the frame; ``sizes`` other frames, whole, at ``portion`` frames."""

    size: tuple[int, int]
    sizes: Sequence[tuple[int, int]]
    frames: Sequence[int]
    tiles: Sequence[int | None]
    portion: int = 8


PIXELS = Size(size=(128, 256), sizes=((32, 64), (64, 128)), frames=(1, 2, 3, 4, 8, 16), tiles=(None, 64, 32))
MEASURED = (*((frames, None) for frames in (1, 2, 4, 8, 16)), (8, 64), (4, 64), (8, 32))
LATENTS = Size(
    size=(320, 512),
    sizes=((80, 128), (160, 256), (640, 1024)),
    frames=(1, 3, 4, 8, 16),
    tiles=(None, 256, 128, 64),
)
TABLES = ("cost of the pixel upsampler", "cost of the SD x4 upscaler", "cheapest", "exponents", "decoding")
REACHES = (None, 128, 64, 32)
TINY_PIXELS = Size(size=(16, 32), sizes=((8, 16),), frames=(3, 4), tiles=(None, 8), portion=4)
TINY_LATENTS = Size(size=(64, 64), sizes=((32, 32),), frames=(3, 4), tiles=(None, 32), portion=4)


def grid(size: Size) -> list[Case]:
    """Portions and tiles of the frame, then whole frames of the other sizes."""
    cases = [Case(size=size.size, frames=frames, tile=tile) for tile in size.tiles for frames in size.frames]
    return cases + [Case(size=other, frames=size.portion) for other in size.sizes]


def exponent(points: Mapping[float, float]) -> float:
    """The power with which a cost grows: the slope of its logarithm, by least squares."""
    xs, ys = ([math.log(value) for value in values] for values in (points, points.values()))
    dx, dy = ([value - mean(values) for value in values] for values in (xs, ys))
    return sum(a * b for a, b in zip(dx, dy, strict=True)) / sum(a * a for a in dx)


def exponents(costs: Sequence[Cost], size: Size) -> dict[str, dict[str, float]]:
    """Powers of pixels of a frame (at the usual portion) and of frames (whole ones), of each cost there is."""
    whole = [cost for cost in costs if cost.case.tile is None]
    by = {
        "pixels": {math.prod(c.case.size): c for c in whole if c.case.frames == size.portion},
        "frames": {c.case.frames: c for c in whole if c.case.size == size.size},
    }
    found: dict[str, dict[str, float]] = {}
    for axis, row in by.items():
        for name in ("operations", "live", "seconds", "memory"):
            points = {x: getattr(cost, name) for x, cost in row.items() if getattr(cost, name) is not None}
            if len(points) > 1:
                found.setdefault(axis, {})[name] = exponent(points)
    return found


def cheapest(costs: Sequence[Cost], size: Size, weights: int, limit: float) -> Cost | None:
    """The portion and tile with fewest operations for a new frame among those that fit ``limit`` bytes with weights."""
    own = [cost for cost in costs if cost.case.size == size.size and cost.case.frames > OVERLAP]
    return min((cost for cost in own if weights + cost.live <= limit), key=lambda cost: cost.each, default=None)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An upsampler, what it costs and how its figures are told.

    Attributes:
        weights: bytes of the network and its layers.
        unit: operations of the tables, 1e9 or 1e12; ``limits``: bytes of memory to choose for.
    """

    name: str
    size: Size
    costs: Sequence[Cost]
    weights: int
    unit: float
    limits: Sequence[float]


def pixel_subject(size: Size, device: torch.device, rounds: int, picked: Sequence[tuple[int, int | None]]) -> Subject:
    """``drive-small``'s: counted, and measured for the portions and tiles ``picked`` and the other sizes."""
    stack = Stack.load("drive-small", dtype=preferred_dtype(device), device=device)
    upsampler, layers = stack.upsampler, stack.upsampler_layers
    assert layers is not None
    weights = num_bytes((upsampler, layers))
    evaluate = pixel_evaluation(stack)
    counted = Counted(lambda: (evaluate, weights), upsampler.receptive_radius, upsampler.size_multiple)
    costs = list[Cost]()
    for case in grid(size):
        cost = counted.cost(case)
        if case.size != size.size or (case.frames, case.tile) in picked:
            cost = measured(cost, stack, rounds)
        print(cost, flush=True)
        costs.append(cost)
    limits = (0.25e9, 0.5e9, 1e9, 2e9)
    return Subject(name="pixel upsampler", size=size, costs=costs, weights=weights, unit=1e9, limits=limits)


def latent_subject(size: Size, layout: Layout) -> Subject:
    """Stable Diffusion's: counted."""
    network = Counted(lambda: latent_evaluation(layout), None, 8)
    costs = list[Cost]()
    for case in grid(size):
        costs.append(network.cost(case))
        print(costs[-1], flush=True)
    limits = (4e9, 8e9, 16e9, 24e9)
    return Subject(name="SD x4 upscaler", size=size, costs=costs, weights=network.weights, unit=1e12, limits=limits)


def decodings(size: tuple[int, int], layout: Layout) -> dict[str, Cost]:
    """A large frame through the upscaler's decoder, by how far its middle looks, in latent positions."""
    found = {}
    for reach in REACHES:
        counted = Counted(partial(large_decoding, layout, reach), None, 8)
        found["everywhere" if reach is None else str(reach)] = counted.cost(Case(size=size, frames=1))
    return found


# ---- what is told ----


def cost_table(subject: Subject) -> str:
    """Portions and tiles of the frame; measured columns where anything was measured."""
    own = [cost for cost in subject.costs if cost.case.size == subject.size.size]
    timed = any(cost.seconds is not None for cost in own)
    head = ["frames", "tile", f"{_power(subject)} a new frame", "times the least", "live, GB"]
    least, rows = min(cost.each for cost in own if cost.case.frames > OVERLAP), list[list[str]]()
    for cost in own:
        case = cost.case
        row = [str(case.frames), _tile(case), f"{cost.each / subject.unit:.3g}", f"{cost.each / least:.2f}"]
        row += [f"{cost.live / 1e9:.3g}"]
        if timed:
            row += ["" if cost.seconds is None else f"{cost.seconds / case.fresh:.3g}"]
            row += ["" if cost.memory is None else f"{cost.memory / 1e9:.3g}"]
        rows.append(row)
    return markdown([*head, *(["seconds a new frame", "process grew, GB"] if timed else [])], rows)


def cheapest_table(subjects: Sequence[Subject]) -> str:
    """The best portion and tile for some limits of memory."""
    rows = list[list[str]]()
    for subject in subjects:
        for limit in subject.limits:
            best = cheapest(subject.costs, subject.size, subject.weights, limit)
            told = ["does not fit", "", "", ""]
            if best is not None:
                held, each = (subject.weights + best.live) / 1e9, best.each / subject.unit
                told = [str(best.case.frames), _tile(best.case), f"{held:.3g}", f"{each:.3g} {_power(subject)}"]
            rows.append([subject.name, f"{limit / 1e9:g}", *told])
    return markdown(["", "limit, GB", "frames", "tile", "held, GB", "a new frame"], rows)


def exponent_table(subjects: Sequence[Subject]) -> str:
    """The powers of pixels and of frames."""
    names = ("operations", "live", "seconds", "memory")
    rows = [
        [f"{subject.name}, with {axis}", *(f"{powers[name]:.2f}" if name in powers else "" for name in names)]
        for subject in subjects
        for axis, powers in exponents(subject.costs, subject.size).items()
    ]
    return markdown(["", "operations", "live bytes", "seconds", "growth of the process"], rows)


def decoding_table(found: Mapping[str, Cost]) -> str:
    """The upscaler's decoder."""
    rows = [[reach, f"{c.operations / 1e12:.3g}", f"{c.live / 1e9:.3g}"] for reach, c in found.items()]
    return markdown(["its middle looks", "10^12 operations a frame", "live, GB"], rows)


def plot(subject: Subject, path: Path) -> None:
    """Operations for a new frame against live memory: a line a tile, along which portions grow."""
    with drawn(path, (7.0, 4.2)) as axes:
        for tile in subject.size.tiles:
            costs = [c for c in subject.costs if (c.case.size, c.case.tile) == (subject.size.size, tile)]
            costs = [cost for cost in costs if cost.case.frames > OVERLAP]
            xs, ys = [cost.live / 1e9 for cost in costs], [cost.each / subject.unit for cost in costs]
            axes.plot(xs, ys, marker="o", label="whole frames" if tile is None else f"tiles of {tile}")
            for cost, x, y in zip(costs, xs, ys, strict=True):
                axes.annotate(str(cost.case.frames), (x, y), fontsize=7, xytext=(3, 3), textcoords="offset points")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("tensors alive at once, GB (weights not counted)")
        axes.set_ylabel(f"{_power(subject)} for a new frame")
        axes.set_title(f"{subject.name}: portions of so many frames, {OVERLAP} of them shared", fontsize=10)
        axes.legend(fontsize=8)


def _tile(case: Case) -> str:
    return "whole" if case.tile is None else str(case.tile)


def _power(subject: Subject) -> str:
    return f"10^{round(math.log10(subject.unit))} operations"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--page", action="store_true", help="fill docs/results/upsampler.md")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    if options.page:
        check_page("upsampler", TABLES, whole=not options.tiny)
    torch.set_num_threads(options.threads)
    pixels, latents, layout = PIXELS, LATENTS, LAYOUTS["full"]
    picked: Sequence[tuple[int, int | None]] = MEASURED
    if options.tiny:
        pixels, latents, layout, picked = TINY_PIXELS, TINY_LATENTS, LAYOUTS["tiny"], ((4, None), (4, 8))
    subjects = [
        pixel_subject(pixels, torch.device(options.device), options.rounds, picked),
        latent_subject(latents, layout),
    ]
    tell(subjects, decodings(latents.size, layout), options)


def tell(subjects: Sequence[Subject], decoded: Mapping[str, Cost], options: argparse.Namespace) -> None:
    """Tables, figures and plots, in the work folder and, where a page is named, there."""
    tables = {f"cost of the {subject.name}": cost_table(subject) for subject in subjects}
    tables |= {"cheapest": cheapest_table(subjects), "exponents": exponent_table(subjects)}
    tables |= {"decoding": decoding_table(decoded)}
    found = {
        "subjects": [asdict(subject) for subject in subjects],
        "decoding": {r: asdict(c) for r, c in decoded.items()},
    }
    folder = PAGES if options.page else options.work
    options.work.mkdir(parents=True, exist_ok=True)
    write_text(folder / "upsampler_cost.json", json.dumps({"machine": machine(), **found}, indent=1) + "\n")
    for subject, name in zip(subjects, ("pixel", "latent"), strict=True):
        plot(subject, folder / f"upsampler_cost_{name}.png")
    for name, content in tables.items():
        print(f"\n{name}\n{content}")
        if options.page:
            put_table(PAGES / "upsampler.md", name, content)


if __name__ == "__main__":
    command(main)
