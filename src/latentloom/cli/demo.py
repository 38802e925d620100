"""``latentloom demo``: a driving video from the embedded stack, and the same noise without temporal layers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latentloom.cli.options import Seed, Threads, check_output_folder, use_threads

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.stack import Stack
    from latentloom.stages.request import ClipRequest

STACK = "drive-small"
PROMPT = "real video, daytime, driving on a highway, going straight, no traffic, a yellow line on the left"
COLUMNS = 8
NAMES = ("drive.mp4", "drive.png", "drive.json", "comparison.png")


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into; made if missing.")] = Path(
        "demo"
    ),
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Make a driving video from the embedded stack.

    A minute on two cores. Files of an earlier demo in the folder are overwritten."""
    check_output_folder(output)
    use_threads(threads)
    from latentloom.cli import clip_files
    from latentloom.cli.generation import Asked, checked_cascade, open_stack, print_plan

    stack = open_stack(STACK, "auto")
    asked = Asked(prompt=PROMPT, changes={}, seed=seed)
    cascade = checked_cascade(stack, asked)
    request = cascade.clip
    output.mkdir(parents=True, exist_ok=True)
    files = clip_files.ClipFiles.beside(output / NAMES[0])
    print_plan(stack, cascade, asked, [files])
    latents = clip_files.sample(stack, request, seed=seed)
    clip_files.write_clip(stack, request, latents, files, seed=seed)
    _compare(stack, request, latents, seed, output / NAMES[3])
    print(f"{files.video}   the clip: play it")
    print(f"{files.sheet}   its frames in reading order: road, line and hills hold still; trees and sky shimmer")
    print(f"{output / NAMES[3]}   above the clip, below the same noise without temporal layers: every frame for itself")
    print(f"{files.receipt}   how it was made; the same command gives the same video")


def _compare(stack: "Stack", request: "ClipRequest", latents: "Tensor", seed: int, path: Path) -> None:
    """Eight frames of the clip over the images of the image model alone for the noise of these very frames."""
    from dataclasses import replace

    import torch

    from latentloom.cli import clip_files
    from latentloom.data.clips import spread
    from latentloom.diffusion.sampler import clip_noise
    from latentloom.stages.decoding import decode_frames
    from latentloom.stages.request import seeded_generator

    chosen = spread(request.num_frames, COLUMNS)
    noise = clip_noise(tuple(latents.shape), seeded_generator(seed), stack.execution_device, stack.unet.dtype)
    alone = replace(request, num_frames=len(chosen), temporal_strength=0.0)
    images = clip_files.sample(stack, alone, noise=noise[:, chosen], title="without temporal layers")
    rows = torch.cat([latents[:, chosen], images], dim=1)
    frames = list(decode_frames(stack.autoencoder, rows, clip_files.DECODED_AT_ONCE))
    clip_files.write_sheet(torch.stack(frames), path, columns=len(chosen))
