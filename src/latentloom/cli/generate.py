"""``latentloom generate``: a video from a sentence, or from a picture and a sentence. The work is in ``generation``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentloom.cli.generation_options import GenerationOptions
from latentloom.cli.options import Force, check_outputs, compute_device, use_threads
from latentloom.cli.shared_options import takes

if TYPE_CHECKING:
    from latentloom.generation.videos import Generation
    from latentloom.stages.cascade import CascadeStage


Prompt = Annotated[str, typer.Argument(help="What the video shows.")]
Model = Annotated[str, typer.Argument(help="A model folder, or the name of an embedded stack: drive-small.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="The video; sheet and receipt go beside it.")]


@takes(GenerationOptions)
def generate(
    stack: Model,
    prompt: Prompt,
    output: Output,
    options: GenerationOptions,
    save_latents: Annotated[bool, typer.Option("--save-latents", help="Keep the latents too.")] = False,
    force: Force = False,
) -> None:
    """Make a video from a sentence.

    Beside OUT.mp4 lie a contact sheet OUT.png and a receipt OUT.json, which is written last. Longer videos than the
    model's clips are predicted window by window; killed at any moment, the same command goes on (OUT.journal)."""
    options.check(prompt)
    outputs = _outputs(output, options.rollouts)
    _check_outputs(outputs, save_latents, force)
    use_threads(options.threads)
    from latentloom.stack_folder import StackFolder

    upsampler = None if options.upsampler is None else StackFolder.open(options.upsampler)
    folder = StackFolder.open(stack)  # refused before anything that takes seconds is imported
    from latentloom.generation.videos import Generation, open_stack

    parts = {"upsampler": upsampler, "loras": options.loras, "memory": options.memory}
    opened = open_stack(folder, options.dtype, compute_device(), **parts)
    generation = Generation.of(opened, options.asked(prompt), outputs, save_latents=save_latents)
    if options.memory is not None:
        from latentloom.budget import fitted

        generation, planned = fitted(generation, options.memory)
        print(f"memory: {planned.memory / 1e6:,.0f} MB planned of {options.memory / 1e6:,.0f}{_pieces(generation)}")
    print_request(generation)
    _make(generation, force=force)


def _pieces(generation: "Generation") -> str:
    """What keeps it small, beside what is usual."""
    upsampling = generation.asked.upsampling
    parts = [f"{generation.decoded_at_once} frames decoded at once"]
    if upsampling is not None:
        tile = "" if upsampling.tile is None else f" in tiles of {upsampling.tile[0]}x{upsampling.tile[1]}"
        parts.append(f"enlarged by {upsampling.portion}{tile}")
    parts += ["networks take turns on the GPU"] if generation.stack.offloads else []
    return "; " + ", ".join(parts)


def _make(generation: "Generation", *, force: bool) -> None:
    from latentloom.cli.progress import progress
    from latentloom.generation.videos import make_videos

    try:
        for finished in make_videos(generation, show=progress, force=force):
            files = finished.files
            if finished.before:
                print(f"done before: {files.video}")
            else:
                print(f"done: {files.video}; look at {files.sheet}, settings and checksums are in {files.receipt}")
    except KeyboardInterrupt:
        for journal in (files.journal for files in generation.outputs if files.journal.is_dir()):
            print(f"stopped: what is finished is kept in {journal}; the same command goes on", flush=True)
        raise


def print_request(generation: "Generation") -> None:
    """What is about to be made, of what, and where it goes."""
    import torch

    from latentloom.cli.tables import print_table
    from latentloom.generation.asked import unfamiliar_rate

    stack, asked, request = generation.stack, generation.asked, generation.request
    clip, windows = request.clip, generation.num_windows
    predicted = request.predicted
    sampling = ", ".join(_told_of(stage, stack.scheduler, windows > 1) for stage in generation.stages)
    parameters = sum(row.get("parameters", 0) for row in stack.describe()["members"].values())
    larger = "" if asked.upsampling is None else f", then {stack.upsampler.factor} times larger"
    rows = [
        ("prompt", clip.prompt or "(none)"),
        ("clip", f"{request.num_frames} frames of {clip.height}x{clip.width}, {request.fps:g} a second{larger}"),
        ("sampling", f"{sampling}; seed {asked.seed}"),
        ("guidance", f"{clip.guidance_scale:g}, temporal strength {clip.temporal_strength:g}"),
        ("stack", f"{stack.info.name}, {parameters / 1e6:.1f} M parameters"),
        (
            "compute",
            f"{stack.device}, {str(stack.dtype).removeprefix('torch.')}, {torch.get_num_threads()} CPU threads",
        ),
        ("files", ", ".join(str(path) for files in generation.outputs for path in files.paths)),
    ]
    if note := unfamiliar_rate(stack, request):
        rows.append(("note", note))
    if windows > 1:
        rows.insert(4, ("context", f"guidance {predicted.context_guidance_scale:g}, noise {predicted.context_noise}"))
        rows.insert(5, ("futures", str(len(generation.outputs))))
    print_table(("", ""), rows)


def _told_of(stage: "CascadeStage", scheduler: Any, several: bool) -> str:
    """``"prediction 4 x 15 evaluations of 32 frames"``."""
    from latentloom.diffusion.guidance import num_predictions

    frames = num_predictions(*stage.guidance_scales) * stage.window.num_frames
    each = f"{stage.num_evaluations(scheduler)} evaluations of {frames} frames"
    return f"{stage.name} {stage.num_windows} x {each}" if several else each


def _outputs(output: Path, rollouts: int) -> list[Path]:
    """The videos that will be written."""
    if output.suffix.lower() != ".mp4":
        raise ValueError(f"{output}: videos are written as .mp4; give the output such a name")
    if rollouts == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{number + 1}.mp4") for number in range(rollouts)]


def _check_outputs(outputs: list[Path], save_latents: bool, force: bool) -> None:
    suffixes = [".mp4", ".png", ".json", *([".safetensors"] if save_latents else [])]
    if len(outputs) > 1:  # of several futures those with a receipt are finished, and kept if they are of this command
        outputs = [output for output in outputs if force or not output.with_suffix(".json").is_file()]
    for output in outputs:  # what lies beside a journal is its own: killed at the end, perhaps with the receipt written
        begun = output.with_suffix(".journal").is_dir()
        check_outputs([output.with_suffix(suffix) for suffix in suffixes], force=force or begun)
