"""``latentloom animate``: an image model and footage in, a video model out. The work is in ``animation``."""

from pathlib import Path
from typing import Annotated

import typer

from latentloom.cli.options import Dtype, Seed, Threads, check_output_folder, parsed_size, use_threads

IMAGE_STEPS, TEMPORAL_STEPS = 500, 400  # drive-small on two cores: 0.5 and 1.5 s a step, about 15 minutes in all


def animate(
    image_ldm: Annotated[str, typer.Argument(help="A stack or diffusers folder, or the name of an embedded stack.")],
    videos: Annotated[Path, typer.Argument(help="A folder of videos, with captions beside them if you have any.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model folder to make; it must be new.")],
    caption: Annotated[str | None, typer.Option(help="For videos without one: a prompt the model knows.")] = None,
    image_steps: Annotated[int, typer.Option(help="Steps of the image layers on the frames; 0: none.")] = IMAGE_STEPS,
    steps: Annotated[int, typer.Option(help="Steps of the temporal layers on the clips.")] = TEMPORAL_STEPS,
    frames: Annotated[int | None, typer.Option(help="Frames per clip.", show_default="the model's")] = None,
    fps: Annotated[float | None, typer.Option(help="About their rate.", show_default="the model's")] = None,
    size: Annotated[
        str | None, typer.Option(help="Of the frames, in pixels.", metavar="HxW", show_default="the model's")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Clips a step.")] = 2,
    image_batch_size: Annotated[int, typer.Option(help="Frames a step of the image layers.")] = 8,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    threads: Threads = None,
) -> None:
    """Make a video model of an image model and footage.

    Prepares the footage, moves the image layers towards it, weaves temporal layers in, trains and judges them. Killed
    at any moment, the same command continues with the same bits; what it needs for that is in OUTPUT.work.
    """
    check_output_folder(output)
    if not output.resolve().parent.is_dir():
        raise ValueError(f"{output.parent} is no folder to write {output.name} into; make it first")
    if not videos.exists():
        raise ValueError(f"{videos}: no such folder of videos")
    from latentloom.stack_folder import StackFolder

    folder = StackFolder.open(image_ldm)  # refused before anything that takes seconds is imported
    use_threads(threads)
    from latentloom.cli import animation

    request = animation.AnimateRequest(
        caption=caption,
        image_steps=image_steps,
        steps=steps,
        num_frames=frames,
        fps=fps,
        batch_size=batch_size,
        image_batch_size=image_batch_size,
        seed=seed,
        dtype=dtype,
        size=parsed_size(size),
    )
    animation.animate_footage(folder, videos, output, request)
