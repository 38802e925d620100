"""``latentloom plan``: what a generation will need, without making it."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from latentloom.cli.generation_options import GenerationOptions
from latentloom.cli.options import compute_device, use_threads
from latentloom.cli.shared_options import takes

if TYPE_CHECKING:
    from latentloom.plan import Plan

Model = Annotated[str, typer.Argument(help="A model folder, or the name of an embedded stack: drive-small.")]


@takes(GenerationOptions)
def plan(
    stack: Model,
    options: GenerationOptions,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: bytes and seconds.")] = False,
) -> None:
    """Say how much memory, time and disk `generate` needs with these options, stage by stage.

    Networks are run once on shapes alone, and once on few frames for the time."""
    options.check("")
    use_threads(options.threads)
    from latentloom.stack_folder import StackFolder

    upsampler = None if options.upsampler is None else StackFolder.open(options.upsampler)
    folder = StackFolder.open(stack)
    from pathlib import Path

    from latentloom.data.video import read_image
    from latentloom.generation.videos import Generation, open_stack
    from latentloom.plan import plan_of

    outputs = [Path(f"{number}.mp4") for number in range(options.rollouts)]
    parts = {"upsampler": upsampler, "loras": options.loras, "memory": options.memory}
    opened = open_stack(folder, options.dtype, compute_device(), **parts)
    generation = Generation.of(opened, options.asked(""), outputs)
    if generation.asked.start_frame is not None:
        read_image(generation.asked.start_frame)  # refused as `generate` would
    if options.memory is not None:
        from latentloom.budget import fitted

        generation, _ = fitted(generation, options.memory)
    if as_json:
        print(json.dumps(plan_of(generation).to_dict()))
        return
    request = generation.request
    print(f"{request.num_frames} frames of {request.clip.height}x{request.clip.width}, {request.fps:g} a second")
    print_stages(plan_of(generation))


def print_stages(plan: "Plan") -> None:
    """A line per stage, and the whole."""
    from latentloom.cli.progress import clock
    from latentloom.cli.tables import print_table

    heads = ("stage", "calls", "operations", "memory", "disk", "time")
    rows: list[tuple[object, ...]] = [
        (
            stage.stage,
            stage.calls,
            f"{stage.operations:.2g}",
            megabytes(stage.memory),
            megabytes(stage.disk),
            "" if stage.seconds is None else clock(stage.seconds),
        )
        for stage in plan.stages
    ]
    total = "" if plan.seconds is None else clock(plan.seconds)
    rows.append(("this process holds", "", "", megabytes(plan.resident), "", ""))
    operations = sum(stage.operations for stage in plan.stages)
    rows.append(("all", "", f"{operations:.2g}", megabytes(plan.memory), megabytes(plan.disk), total))
    print_table(heads, rows)


def megabytes(size: float) -> str:
    """``"1,234 MB"``."""
    return f"{size / 1e6:,.0f} MB"
