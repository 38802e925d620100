"""``latentloom generate``: a video from a sentence."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentloom.cli.options import Dtype, Force, Seed, Size, Threads, check_outputs, parsed_size, use_threads

if TYPE_CHECKING:
    from latentloom.cli.clip_files import ClipFiles
    from latentloom.stack import Stack
    from latentloom.stack_folder import StackFolder
    from latentloom.stages.request import ClipRequest


def generate(
    stack: Annotated[str, typer.Argument(help="A model folder, or the name of an embedded stack: drive-small.")],
    prompt: Annotated[str, typer.Argument(help="What the video shows.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The video; sheet and receipt go beside it.")],
    frames: Annotated[int | None, typer.Option(help="Number of frames.", show_default="the stack's")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length, instead of --frames.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second.", show_default="the stack's")] = None,
    size: Size = None,
    seed: Seed = 0,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.", show_default="the stack's")] = None,
    guidance: Annotated[float | None, typer.Option(help="How strictly the prompt is followed; 1: plainly.")] = None,
    negative_prompt: Annotated[str, typer.Option(help="What the video should not show.")] = "",
    temporal_strength: Annotated[float, typer.Option(help="0: unrelated images, to 1: the layers as learnt.")] = 1.0,
    save_latents: Annotated[bool, typer.Option("--save-latents", help="Keep the latents too.")] = False,
    dtype: Dtype = "auto",
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Make a video from a sentence.

    Beside OUT.mp4 lie a contact sheet OUT.png and a receipt OUT.json, which is written last."""
    height, width = parsed_size(size) or (None, None)
    wanted = {
        "num_frames": frames,
        "height": height,
        "width": width,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "fps": fps,
        "negative_prompt": negative_prompt,
        "temporal_strength": temporal_strength,
    }
    wanted = {name: value for name, value in wanted.items() if value is not None}
    _check_outputs(output, save_latents, force)
    _check_numbers(prompt, wanted, seconds, seed)
    use_threads(threads)
    from latentloom.stack_folder import StackFolder

    folder = StackFolder.open(stack)  # refused before anything that takes seconds is imported
    from latentloom.cli import clip_files

    files = clip_files.ClipFiles.beside(output, save_latents=save_latents)
    opened = open_stack(folder, dtype)
    if seconds is not None:
        wanted["num_frames"] = max(1, round(seconds * wanted.get("fps", opened.info.fps)))
    request = checked_request(opened, prompt, wanted)
    print_plan(opened, request, seed, files)
    latents = clip_files.sample(opened, request, seed=seed)
    clip_files.write_clip(opened, request, latents, files, seed=seed)
    print(f"done: {files.video}; look at {files.sheet}, settings and checksums are in {files.receipt}")


def open_stack(source: "str | StackFolder", dtype: str) -> "Stack":
    """The stack of a name or a folder, in the dtype that ``dtype`` names, on the device of this machine."""
    from latentloom.cli.options import compute_device
    from latentloom.precision import preferred_dtype
    from latentloom.stack import Stack

    device = compute_device()
    return Stack.load(source, dtype=preferred_dtype(device, dtype), device=device)


def checked_request(stack: "Stack", prompt: str, changes: dict[str, Any]) -> "ClipRequest":
    """A request with the stack's defaults, its size one the stack can make. Raises ``ValueError``."""
    from latentloom.stages.sampling import size_factor

    request = stack.info.request(prompt, **changes)
    if "temporal/keyframes" not in stack.members:
        raise ValueError(
            f"{stack.info.name} is an image model without temporal layers; train some with `latentloom animate`"
        )
    request.check_size(size_factor(stack))
    return request


def print_plan(stack: "Stack", request: "ClipRequest", seed: int, files: "ClipFiles") -> None:
    """What is about to be made, of what, and where it goes."""
    import torch

    from latentloom.cli.tables import print_table
    from latentloom.diffusion.sampler import num_evaluations

    fps = request.fps or stack.info.fps
    branches = 1 if request.guidance_scale in (0, 1) else 2
    evaluations = num_evaluations(stack.scheduler, request.num_inference_steps)
    parameters = sum(row.get("parameters", 0) for row in stack.describe()["members"].values())
    print_table(
        ("", ""),
        [
            ("prompt", request.prompt or "(none)"),
            ("clip", f"{request.num_frames} frames of {request.height}x{request.width}, {fps:g} a second"),
            ("sampling", f"{evaluations} evaluations of {branches * request.num_frames} frames, seed {seed}"),
            ("guidance", f"{request.guidance_scale:g}, temporal strength {request.temporal_strength:g}"),
            ("stack", f"{stack.info.name}, {parameters / 1e6:.1f} M parameters"),
            (
                "compute",
                f"{stack.device}, {str(stack.dtype).removeprefix('torch.')}, {torch.get_num_threads()} CPU threads",
            ),
            ("files", ", ".join(str(path) for path in files.paths)),
        ],
    )


def _check_outputs(output: Path, save_latents: bool, force: bool) -> None:
    if output.suffix.lower() != ".mp4":
        raise ValueError(f"{output}: videos are written as .mp4; give the output such a name")
    suffixes = [".mp4", ".png", ".json", *([".safetensors"] if save_latents else [])]
    check_outputs([output.with_suffix(suffix) for suffix in suffixes], force=force)


def _check_numbers(prompt: str, wanted: dict[str, Any], seconds: float | None, seed: int) -> None:
    """Refuse what no stack can make, before any is opened; what is not given counts as harmless here."""
    from latentloom.stages.request import MAX_FRAMES, ClipRequest, check_number, seeded_generator

    harmless = {"num_frames": 1, "height": 1, "width": 1, "num_inference_steps": 1, "guidance_scale": 1.0}
    ClipRequest(prompt=prompt, **(harmless | wanted))
    if seconds is not None and "num_frames" in wanted:
        raise ValueError("--frames and --seconds both say how long the clip is; give one of them")
    if seconds is not None:
        check_number("seconds", seconds, 0.001, float(MAX_FRAMES))
    seeded_generator(seed)
