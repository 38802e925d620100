"""``latentloom demo``: a driving video from the embedded stack, and the same noise without temporal layers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latentloom.cli.options import Seed, Threads, check_output_folder, compute_device, use_threads

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
    from latentloom.cli.generate import print_request
    from latentloom.cli.progress import progress
    from latentloom.generation.asked import Asked
    from latentloom.generation.clips import sample, write_clip
    from latentloom.generation.videos import Generation, open_stack

    stack = open_stack(STACK, "auto", compute_device())
    output.mkdir(parents=True, exist_ok=True)
    generation = Generation.of(stack, Asked(prompt=PROMPT, seed=seed), [output / NAMES[0]])
    print_request(generation)
    request, (files,) = generation.request.clip, generation.outputs
    latents = sample(stack, request, seed=seed, show=progress)
    write_clip(stack, request, latents, files, seed=seed, show=progress)
    _compare(stack, request, latents, seed, output / NAMES[3])
    print(f"{files.video}   the clip: play it")
    print(f"{files.sheet}   its frames in reading order: road, line and hills hold still; trees and sky shimmer")
    print(f"{output / NAMES[3]}   above the clip, below the same noise without temporal layers: every frame for itself")
    print(f"{files.receipt}   how it was made; the same command gives the same video")


def _compare(stack: "Stack", request: "ClipRequest", latents: "Tensor", seed: int, path: Path) -> None:
    """Eight frames of the clip over the images of the image model alone for the noise of these very frames."""
    from dataclasses import replace

    import torch

    from latentloom.cli.progress import progress
    from latentloom.data.clips import spread
    from latentloom.diffusion.sampler import clip_noise
    from latentloom.generation.clips import sample
    from latentloom.generation.files import DECODED_AT_ONCE, write_sheet
    from latentloom.stages.decoding import decode_frames
    from latentloom.stages.request import seeded_generator

    chosen = spread(request.num_frames, COLUMNS)
    noise = clip_noise(tuple(latents.shape), seeded_generator(seed), stack.execution_device, stack.unet.dtype)
    alone = replace(request, num_frames=len(chosen), temporal_strength=0.0)
    images = sample(stack, alone, noise=noise[:, chosen], title="without temporal layers", show=progress)
    rows = torch.cat([latents[:, chosen], images], dim=1)
    frames = list(decode_frames(stack.autoencoder, rows, DECODED_AT_ONCE))
    write_sheet(torch.stack(frames), path, columns=len(chosen))
