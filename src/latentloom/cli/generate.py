"""``latentloom generate``: a video from a sentence, or from a picture and a sentence. The work is in ``generation``."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentloom.cli.options import Dtype, Force, Seed, Size, Threads, check_outputs, parsed_size, use_threads

if TYPE_CHECKING:
    from latentloom.data.scenes import Scene

MAX_ROLLOUTS = 100
MAX_LENGTH = 10**6


class Light(StrEnum):
    """Of a start frame."""

    DAY = "day"
    NIGHT = "night"


Prompt = Annotated[str, typer.Argument(help="What the video shows.")]
Model = Annotated[str, typer.Argument(help="A model folder, or the name of an embedded stack: drive-small.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="The video; sheet and receipt go beside it.")]
Guidance = Annotated[float | None, typer.Option(help="How strictly the prompt is followed; 1: plainly.")]
ContextGuidance = Annotated[
    float | None, typer.Option(help="How strictly given frames are.", show_default="the stack's")
]
ContextNoise = Annotated[int | None, typer.Option(help="On given frames, 0 to 999.", show_default="the stack's")]
Strength = Annotated[float, typer.Option(help="0: unrelated images, to 1: the layers as learnt.")]


def generate(
    stack: Model,
    prompt: Prompt,
    output: Output,
    frames: Annotated[int | None, typer.Option(help="Number of frames.", show_default="the stack's")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length, instead of --frames.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second.", show_default="the stack's")] = None,
    interpolate: Annotated[int, typer.Option(help="Passes of 3 new frames between each two: 0, 1 or 2.")] = 0,
    start_frame: Annotated[Path | None, typer.Option(help="A picture to go on from.")] = None,
    boxes: Annotated[Path | None, typer.Option(help="A scene file: what the first frame holds, and where.")] = None,
    light: Annotated[Light | None, typer.Option(help="Of the first frame.", show_default="not told")] = None,
    vehicles: Annotated[int | None, typer.Option(help="In the first frame, 0 to 16.", show_default="not told")] = None,
    rollouts: Annotated[int, typer.Option(help="Futures of one start frame: OUT-1.mp4, OUT-2.mp4, ...")] = 1,
    steer: Annotated[str | None, typer.Option(help="A drive to follow, such as left:2s,straight:3s.")] = None,
    upsample: Annotated[bool, typer.Option("--upsample", help="Larger frames, by the stack's upsampler.")] = False,
    size: Size = None,
    seed: Seed = 0,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.", show_default="the stack's")] = None,
    guidance: Guidance = None,
    context_guidance: ContextGuidance = None,
    context_noise: ContextNoise = None,
    negative_prompt: Annotated[str, typer.Option(help="What the video should not show.")] = "",
    temporal_strength: Strength = 1.0,
    save_latents: Annotated[bool, typer.Option("--save-latents", help="Keep the latents too.")] = False,
    dtype: Dtype = "auto",
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Make a video from a sentence.

    Beside OUT.mp4 lie a contact sheet OUT.png and a receipt OUT.json, which is written last. Longer videos than the
    model's clips are predicted window by window; killed at any moment, the same command goes on (OUT.journal)."""
    height, width = parsed_size(size) or (None, None)
    wanted = {"height": height, "width": width, "num_inference_steps": steps, "guidance_scale": guidance}
    wanted |= {"context_guidance_scale": context_guidance, "context_noise": context_noise}
    wanted |= {"negative_prompt": negative_prompt, "temporal_strength": temporal_strength}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    outputs = _outputs(output, rollouts)
    _check_outputs(outputs, save_latents, force)
    _check_numbers(prompt, wanted, frames, seconds, fps, seed, interpolate)
    if start_frame is not None and not start_frame.is_file():
        raise ValueError(f"{start_frame}: no such picture to start from")
    scene = _scene(boxes, light, vehicles)
    if scene is not None and start_frame is not None:
        raise ValueError("--start-frame is the first frame; --boxes, --light and --vehicles ask for another one")
    use_threads(threads)
    from latentloom.stack_folder import StackFolder

    folder = StackFolder.open(stack)  # refused before anything that takes seconds is imported
    from latentloom.cli.generation import Asked, UpsamplingRequest, make_videos

    asked = Asked(prompt=prompt, changes=wanted, frames=frames, seconds=seconds, fps=fps, seed=seed)
    asked = replace(asked, passes=interpolate, start_frame=start_frame, rollouts=rollouts, steer=steer)
    asked = replace(asked, scene=scene, upsampling=UpsamplingRequest() if upsample else None)
    make_videos(folder, asked, outputs, dtype=dtype, save_latents=save_latents, force=force)


def _outputs(output: Path, rollouts: int) -> list[Path]:
    """The videos that will be written."""
    if output.suffix.lower() != ".mp4":
        raise ValueError(f"{output}: videos are written as .mp4; give the output such a name")
    from latentloom.stages.request import check_count

    check_count("rollouts", rollouts, MAX_ROLLOUTS)
    if rollouts == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{number + 1}.mp4") for number in range(rollouts)]


def _scene(boxes: Path | None, light: Light | None, vehicles: int | None) -> "Scene | None":
    """What the first frame should hold; options count more than the file."""
    if boxes is None and light is None and vehicles is None:
        return None
    from latentloom.data.scenes import MAX_BOXES, Scene

    if vehicles is not None and not 0 <= vehicles <= MAX_BOXES:
        raise ValueError(f"vehicles is {vehicles}, expected a whole number from 0 to {MAX_BOXES}")
    scene = Scene() if boxes is None else Scene.read(boxes)
    told = {"light": None if light is None else light.value, "vehicles": vehicles}
    return scene.model_copy(update={name: value for name, value in told.items() if value is not None})


def _check_outputs(outputs: list[Path], save_latents: bool, force: bool) -> None:
    suffixes = [".mp4", ".png", ".json", *([".safetensors"] if save_latents else [])]
    if len(outputs) > 1:  # of several futures those with a receipt are finished, and kept if they are of this command
        outputs = [output for output in outputs if force or not output.with_suffix(".json").is_file()]
    for output in outputs:  # a journal without a receipt: killed at the end, and what is there is its own
        begun = (output.with_suffix(".journal") / "settings.json").is_file()
        begun = begun and not output.with_suffix(".json").exists()
        check_outputs([output.with_suffix(suffix) for suffix in suffixes], force=force or begun)


def _check_numbers(
    prompt: str,
    wanted: dict[str, Any],
    frames: int | None,
    seconds: float | None,
    fps: float | None,
    seed: int,
    interpolate: int,
) -> None:
    """Refuse what no stack can make, before any is opened; what is not given counts as harmless here."""
    from latentloom.stages.request import ClipRequest, check_count, check_number, seeded_generator

    harmless = {"num_frames": 1, "height": 1, "width": 1, "num_inference_steps": 1, "guidance_scale": 1.0}
    ClipRequest(prompt=prompt, fps=fps, **(harmless | wanted))
    check_number("interpolate", interpolate, 0, 2)
    if seconds is not None and frames is not None:
        raise ValueError("--frames and --seconds both say how long the clip is; give one of them")
    if frames is not None:
        check_count("num_frames", frames, MAX_LENGTH)
    if seconds is not None:
        check_number("seconds", seconds, 0.001, float(MAX_LENGTH))
    seeded_generator(seed)
