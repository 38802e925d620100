"""F1-F4: what temporal layers cost, beside diffusers' video networks, in core-seconds of alternating runs in one job.

    python benchmarks/temporal_layers.py [--sections forward-M forward-L training memory] [--dtype bf16]

F1 temporal overhead ``(network - image) / image``; F2 the video forward pass against SVD's and Motion's; F3 a step that
trains temporal parameters only (forward and backward); F4 its memory above the model, in fp32. About 15 minutes of one
core in all; each section adds its table to ``benchmarks/results/DATE-temporal-layers-CPU.{json,md}``.
"""

import argparse
import json
import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import ROOT, alternate, describe_machine, peak_memory
from video_networks import FORWARD, SIZES, TRAINING, Clip, Subject

from latentloom.precision import preferred_dtype

Row = dict[str, Any]


def forward_pass(subject: Subject, clip: Clip) -> Callable[[], None]:
    """One evaluation without gradients."""

    def run() -> None:
        with torch.no_grad():
            subject.call(clip)

    return run


def training_step(subject: Subject, clip: Clip) -> Callable[[], None]:
    """Forward and backward of a temporal-only training step."""

    def run() -> None:
        for parameter in subject.parameters:
            parameter.grad = None
        subject.call(clip).float().square().mean().backward()

    return run


def millions(subject: Subject) -> float:
    """Trained parameters in millions."""
    return round(sum(parameter.numel() for parameter in subject.parameters) / 1e6, 2)


def measure_forward(size_name: str, dtype: torch.dtype, rounds: int) -> list[Row]:
    """F1 and F2."""
    size = SIZES[size_name]
    clip = Clip.random(size, dtype)
    subjects = {name: build(size, dtype) for name, build in FORWARD.items()}
    seconds = alternate({name: forward_pass(subject, clip) for name, subject in subjects.items()}, rounds)
    return [
        {
            "network": name,
            "temporal parameters (M)": millions(subjects[name]),
            "core-s": round(value, 3),
            "overhead over image (F1)": round(value / seconds["image"] - 1, 3),
            "of SVD (F2)": round(value / seconds["SVD"], 3),
            "of Motion (F2)": round(value / seconds["Motion"], 3),
        }
        for name, value in seconds.items()
    ]


def measure_training(dtype: torch.dtype, rounds: int) -> list[Row]:
    """F3, at size S."""
    clip = Clip.random(SIZES["S"], dtype)
    subjects = {name: build(SIZES["S"], dtype) for name, build in TRAINING.items()}
    seconds = alternate({name: training_step(subject, clip) for name, subject in subjects.items()}, rounds)
    return [
        {
            "network": name,
            "trained parameters (M)": millions(subjects[name]),
            "core-s a step (F3)": round(value, 3),
            "of ours": round(value / seconds["ours"], 3),
        }
        for name, value in seconds.items()
    ]


def step_memory(name: str) -> float:
    """F4 for one network, in a process of its own: MB (1e6 bytes) above the model during its second step."""
    torch.set_num_threads(1)
    clip = Clip.random(SIZES["S"], torch.float32)
    return peak_memory(training_step(TRAINING[name](SIZES["S"], torch.float32), clip)) / 1e6


def measure_memory() -> list[Row]:
    """F4, at size S in fp32. Each network in a fresh process, so that freed memory is not taken for free."""
    rows = []
    for name in TRAINING:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append({"network": name, "MB above the model (F4)": round(pool.apply(step_memory, (name,)))})
    return rows


def sections(dtype: torch.dtype, rounds: int) -> dict[str, Callable[[], list[Row]]]:
    """Name to measurement."""
    return {
        "forward-M": lambda: measure_forward("M", dtype, rounds),
        "forward-L": lambda: measure_forward("L", dtype, rounds),
        "forward-S": lambda: measure_forward("S", dtype, rounds),
        "training": lambda: measure_training(dtype, rounds),
        "memory": measure_memory,
    }


def markdown(results: dict[str, Any]) -> str:
    """The result file for readers."""
    lines = ["# Temporal layers beside diffusers (F1-F4)", "", __doc__.split("\n\n")[2].replace("\n", " "), ""]
    for title, section in results.items():
        machine, rows = section["machine"], section["rows"]
        facts = ", ".join(f"{key} {value}" for key, value in machine.items() if key not in ("command", "flags"))
        lines += [f"## {title}", "", f"`{machine['command']}`: {facts}, flags {' '.join(machine['flags'])}", ""]
        lines += ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
        lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows] + [""]
    return "\n".join(lines)


def write(section: str, rows: list[Row], dtype: torch.dtype, folder: Path) -> Path:
    """Add one section to today's result files of this CPU."""
    machine = describe_machine()
    cpu = re.sub(r"[^a-z0-9]+", "-", machine["cpu"].lower()).strip("-")
    path = folder / f"{machine['date']}-temporal-layers-{cpu}.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    name = (
        "fp32" if section == "memory" else str(dtype).removeprefix("torch.").replace("float", "fp").replace("bfp", "bf")
    )
    results[f"{section} {name}"] = {"machine": machine, "rows": rows}
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(results), encoding="utf-8")
    return path


def main() -> None:
    """Measure the chosen sections with one thread."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", default=["forward-M", "forward-L", "training", "memory"])
    parser.add_argument("--dtype", choices=["auto", "fp32", "bf16"], default="auto", help="auto asks the machine")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds after one that warms up")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    dtype = preferred_dtype("cpu", options.dtype)
    for section in options.sections:
        rows = sections(dtype, options.rounds)[section]()
        print(section, json.dumps(rows, indent=1), write(section, rows, dtype, options.output), sep="\n", flush=True)


if __name__ == "__main__":
    main()
