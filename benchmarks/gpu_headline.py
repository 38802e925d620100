"""The paper's text-to-video stack at full size on one GPU: single calls beside their floors, and a whole video.

    python benchmarks/gpu_headline.py -o work/gpu-headline.json              # one GPU of 80 GB or more, about 8 minutes
    python benchmarks/gpu_headline.py --size tiny -o work/tiny.json          # its CPU twin: core-seconds, a minute
    python benchmarks/gpu_headline.py --count-only -o work/gpu-floors.json   # operations and floors, no GPU

**It has not run on a GPU yet**; its twin has, and operations were counted (``benchmarks/results/README.md``).

Random weights at full size, bfloat16: an evaluation of 16 frames with guidance, a training step of temporal layers, the
two evaluations of the cascade, decoding, the upscaler, decoding of large frames; then 113 frames of 1280x2048 in 50
steps, added up from these calls as the cascade orders them, or with ``--whole`` really made. A floor is the larger of
two times: operations (counted on tensors without values) over the speed of a large product measured here, and the
fewest bytes over the speed of a large copy measured here. No version runs much faster. Times lie between CUDA events,
medians after calls that warm up; memory is what tensors held at most, weights included.

On a lent machine without a registry: fetch the wheels of ``diffusers``, ``importlib_metadata`` and ``lazy-importer`` at
the versions of constraints.txt into an ignored folder ``.whl`` (7 MB), name it in ``carry``, and run, as one command:

    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target .site .whl/*.whl || exit;
    export PYTHONPATH=$PWD/.site:$PWD/src PYTHONUNBUFFERED=1;
    python3 benchmarks/gpu_headline.py --counts benchmarks/results/2026-11-22-gpu-floors.json --deadline 480
    -o $OUT/headline.json

What is there is written after each job, so that a command that is cut off leaves its rows. ``--whole`` is a command of
its own (``--jobs --whole``; ten minutes may not do). ``--compile`` is untested: five minutes of a CPU were too few.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_jobs import Job, Place, jobs
from gpu_video import UPSCALER_SCALES, made, total
from layouts import LAYOUTS, Layout
from machine import describe_machine, median_seconds, most_memory_on
from torch._subclasses.fake_tensor import FakeTensorMode

from latentloom.operations import operations_of
from latentloom.precision import preferred_dtype

STATED = {"operations": 790e12, "bytes": 4.3e12}
"""Of an H200, a second, as the project's goals state them (not measured by us): for floors without a GPU."""
VIDEO_GOAL = 480.0
OVERLAPS = (0, 2)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One job: seconds and bytes; None where it was only counted."""

    name: str
    what: str
    operations: float
    moved: int
    floor: float
    goal: float | None
    seconds: float | None = None
    memory: int | None = None


def ceilings(place: Place, size: str) -> dict[str, float]:
    """Operations and bytes a second that this device reaches: a large product, a large copy."""
    side, length = (8192, 2**31) if size == "full" else (256, 2**20)
    left, right = place.random(side, side), place.random(side, side)
    source = torch.ones(length, device=place.device, dtype=torch.uint8)
    target = torch.empty_like(source)
    product = median_seconds(place.device, lambda: left @ right, 20, warm_up=5)
    copy = median_seconds(place.device, lambda: target.copy_(source), 20, warm_up=5)
    return {"operations": 2 * side**3 / product, "bytes": 2 * length / copy}


def counted(job: Job, dtype: torch.dtype) -> tuple[float, int]:
    """Operations and fewest bytes of a job, on tensors that have no values."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        work = job.build(Place(device=torch.device("cpu"), dtype=dtype))
        return operations_of(work.counted), work.moved


def counts_in(path: Path, size: str) -> dict[str, tuple[float, int]]:
    """What ``--count-only`` counted, by job.

    Raises:
        ValueError: counted at another size.
    """
    report = json.loads(path.read_text(encoding="utf-8"))
    if report["size"] != size:
        raise ValueError(f"{path} was counted at size {report['size']}, this run is of size {size}")
    return {row["name"]: (row["operations"], row["moved"]) for row in report["rows"]}


def measured(job: Job, place: Place, options: argparse.Namespace) -> tuple[float, int]:
    """Median seconds of a call, and the most bytes held."""
    work = job.build(place)
    if options.compile:
        for network in work.networks:
            network.compile()
    if options.channels_last:
        for network in work.networks:
            network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    seconds = median_seconds(place.device, work.call, options.rounds)
    return seconds, most_memory_on(place.device, work.call)


def totals(layout: Layout, seconds: dict[str, float]) -> list[dict[str, Any]]:
    """The whole video from single calls, for each way of upscaling."""
    return [
        {"shared frames": overlap, "upscaler predictions": count, "parts": parts, "seconds": sum(parts.values())}
        for count in UPSCALER_SCALES
        for overlap in OVERLAPS
        for parts in [total(layout, seconds, overlap=overlap, predictions=count)]
    ]


def markdown(report: dict[str, Any]) -> str:
    """The result file for readers."""
    machine, limits = report["machine"], report["ceilings"]
    facts = ", ".join(f"{key} {value}" for key, value in machine.items() if key not in ("command", "flags"))
    peaks = f"{limits['operations'] / 1e12:.4g} T operations and {limits['bytes'] / 1e12:.3g} TB a second"
    where = "measured here" if report["measured"] else "as stated, of an H200; nothing below was measured"
    lines = ["# The full-size text-to-video stack on one GPU", "", f"`{machine['command']}`: {facts}", ""]
    lines += [f"Ceilings: {peaks}, {where}. Size {report['size']}, {report['dtype']}.", ""]
    lines += [
        "| job | of | T operations | floor, ms | measured, ms | over floor | goal, ms | peak, GB |",
        "|" + "---|" * 8,
    ]
    for row in report["rows"]:
        seconds, floor, goal = row["seconds"], row["floor"], row["goal"]
        cells = [row["name"], row["what"], f"{row['operations'] / 1e12:.4g}", f"{floor * 1e3:.4g}"]
        cells += ["-", "-"] if seconds is None else [f"{seconds * 1e3:.4g}", f"{seconds / floor:.2f}"]
        cells += ["-" if goal is None else f"{goal * 1e3:.3g}"]
        cells += ["-" if seconds is None else f"{row['memory'] / 1e9:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    if report["floors"]:
        lines += ["", *_video_lines(report)]
    return "\n".join(lines) + "\n"


def _video_lines(report: dict[str, Any]) -> list[str]:
    """The whole video: floors, extrapolated, made."""
    count = LAYOUTS[report["size"]].video.num_frames
    lines = [f"{count} frames, added up from these calls, seconds (goal at full size: {VIDEO_GOAL:g}):", ""]
    lines += ["| upscaler: predictions | shared frames | floor | extrapolated | over floor | share of the upscaler |"]
    lines += ["|" + "---|" * 6]
    for index, floor in enumerate(report["floors"]):
        summed = report["extrapolated"][index] if report["extrapolated"] else None
        share = (summed or floor)["parts"]["upscaler"] / (summed or floor)["seconds"]
        cells = [floor["upscaler predictions"], floor["shared frames"], f"{floor['seconds']:.4g}"]
        cells += [f"{summed['seconds']:.4g}", f"{summed['seconds'] / floor['seconds']:.2f}"] if summed else ["-", "-"]
        lines.append("| " + " | ".join(str(cell) for cell in [*cells, f"{share:.0%}"]) + " |")
    if report["whole"]:
        parts = {name: seconds for name, seconds in report["whole"].items() if not name.startswith("building")}
        words = ", ".join(f"{name} {seconds:.4g} s" for name, seconds in parts.items())
        lines += ["", f"Really made in {sum(parts.values()):.4g} s, networks built before: {words}."]
    return lines


def write(report: dict[str, Any], output: Path | None) -> None:
    """JSON, and Markdown beside it; after each job, so that a run that is cut off leaves what it has."""
    if output is not None:
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        output.with_suffix(".md").write_text(markdown(report), encoding="utf-8")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="JSON; Markdown beside it")
    parser.add_argument("--size", choices=LAYOUTS, default="full", help="tiny: on the CPU, does it run at all")
    parser.add_argument("--jobs", nargs="*", metavar="NAME", help="only these; sums need all")
    parser.add_argument("--rounds", type=int, default=10, help="timed calls of each job")
    parser.add_argument("--recomputing", choices=("none", "layers", "all"), default="none", help="in the training step")
    parser.add_argument("--whole", action="store_true", help="really make the video, portions sharing 2 frames")
    parser.add_argument("--upscaler-guidance", action="store_true", help="two predictions of the upscaler, --whole")
    parser.add_argument("--compile", action="store_true", help="torch.compile the networks of each job")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN try its algorithms")
    parser.add_argument("--count-only", action="store_true", help="floors alone, by the stated ceilings of an H200")
    parser.add_argument("--counts", type=Path, help="take operations from such a file instead of counting again")
    parser.add_argument("--deadline", type=float, default=86400.0, help="seconds after which no job begins")
    return parser.parse_args()


def main() -> None:
    options, begun = parsed(), time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() and options.size == "full" else "cpu")
    if device.type == "cpu" and options.size == "full" and not options.count_only:
        raise SystemExit("the full size needs a GPU; here --size tiny and --count-only run")
    torch.backends.cudnn.benchmark = options.cudnn_benchmark
    dtype = torch.bfloat16 if options.size == "full" else preferred_dtype(device)
    report = run(options, Place(device=device, dtype=dtype), lambda: time.monotonic() - begun > options.deadline)
    print(markdown(report))


def run(options: argparse.Namespace, place: Place, late: Callable[[], bool]) -> dict[str, Any]:
    """Count, measure, add up, make; ``late`` says that nothing more may begin."""
    layout = LAYOUTS[options.size]
    every = jobs(layout, recomputing=options.recomputing)
    listed = [job for job in every if options.jobs is None or job.name in options.jobs]
    limits = STATED if options.count_only else ceilings(place, options.size)
    counts = {} if options.counts is None else counts_in(options.counts, options.size)
    report: dict[str, Any] = {"machine": describe_machine(), "size": options.size, "dtype": str(place.dtype)}
    report |= {"measured": not options.count_only, "ceilings": limits, "options": _plain(options)}
    report |= {"rows": [], "floors": [], "extrapolated": [], "whole": {}}
    for job in listed:
        if late():
            break
        operations, moved = counts.get(job.name) or counted(job, place.dtype)
        floor = max(operations / limits["operations"], moved / limits["bytes"])
        found = (None, None) if options.count_only else measured(job, place, options)
        counted_row = {"operations": operations, "moved": moved, "floor": floor, "goal": job.goal}
        row = Row(name=job.name, what=job.what, **counted_row, seconds=found[0], memory=found[1])
        report["rows"].append(asdict(row))
        print(row, flush=True)
        write(report, options.output)
        _free(place)
    if len(report["rows"]) == len(every):
        report["floors"] = totals(layout, {row["name"]: row["floor"] for row in report["rows"]})
        if not options.count_only:
            report["extrapolated"] = totals(layout, {row["name"]: row["seconds"] for row in report["rows"]})
        write(report, options.output)
    if options.whole and not late():
        scale = UPSCALER_SCALES[2 if options.upscaler_guidance else 1]
        report["whole"] = made(layout, place, overlap=OVERLAPS[-1], scale=scale)
        write(report, options.output)
    return report


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if not isinstance(value, Path)}


def _free(place: Place) -> None:
    gc.collect()  # networks and their hooks refer to each other
    if place.device.type == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
