"""The options of ``generate`` and ``plan``, and what they ask for, checked before any model is opened."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentloom.cli.options import Dtype, Seed, Size, Threads, parsed_bytes, parsed_lora, parsed_size

if TYPE_CHECKING:
    from latentloom.data.scenes import Scene
    from latentloom.generation.asked import Asked
    from latentloom.stages.request import UpsamplingRequest

MAX_ROLLOUTS = 100
MAX_LENGTH = 10**6


class Light(StrEnum):
    """Of a start frame."""

    DAY = "day"
    NIGHT = "night"


def _of_stack(text: str) -> Any:
    return typer.Option(help=text, show_default="the stack's")


def _of_upsampler(text: str) -> Any:
    return typer.Option(help=text, show_default="the upsampler's")


def _untold(text: str) -> Any:
    return typer.Option(help=text, show_default="not told")


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """What a user may say about a video; None is the stack's value."""

    frames: Annotated[int | None, _of_stack("Number of frames.")] = None
    seconds: Annotated[float | None, typer.Option(help="Length, instead of --frames.")] = None
    fps: Annotated[float | None, _of_stack("Frames per second.")] = None
    interpolate: Annotated[int, typer.Option(help="Passes of 3 new frames between each two: 0, 1 or 2.")] = 0
    start_frame: Annotated[Path | None, typer.Option(help="A picture to go on from.")] = None
    boxes: Annotated[Path | None, typer.Option(help="A scene file: what the first frame holds, and where.")] = None
    light: Annotated[Light | None, _untold("Of the first frame.")] = None
    vehicles: Annotated[int | None, _untold("In the first frame, 0 to 16.")] = None
    scene_guidance: Annotated[float, typer.Option(help="How strictly boxes, light and vehicles are followed.")] = 2.0
    rollouts: Annotated[int, typer.Option(help="Futures of one start frame: OUT-1.mp4, OUT-2.mp4, ...")] = 1
    steer: Annotated[str | None, typer.Option(help="A drive to follow, such as left:2s,straight:3s.")] = None
    upsample: Annotated[bool, typer.Option("--upsample", help="Larger frames, by the stack's upsampler.")] = False
    upsampler: Annotated[
        str | None,
        typer.Option(help="Another model's, such as Stable Diffusion's x4 upscaler.", show_default="the stack's"),
    ] = None
    upsample_steps: Annotated[int | None, _of_upsampler("Its denoising steps.")] = None
    upsample_noise: Annotated[
        int | None, _of_upsampler("On what it enlarges, 0 to 999: more hides and invents more.")
    ] = None
    upsample_guidance: Annotated[float | None, _of_upsampler("How strictly it follows the prompt.")] = None
    tile: Annotated[str | None, typer.Option(help="It works in such tiles.", metavar="HxW")] = None
    decoder_reach: Annotated[
        int | None,
        typer.Option(help="How far the decoder of a latent one looks, for very large frames.", show_default="all over"),
    ] = None
    lora: Annotated[
        list[str] | None,
        typer.Option("--lora", help="A LoRA of the image model; repeatable.", metavar="FILE[@SCALE]"),
    ] = None
    size: Size = None
    seed: Seed = 0
    steps: Annotated[int | None, _of_stack("Denoising steps.")] = None
    guidance: Annotated[float | None, _of_stack("How strictly the prompt is followed; 1: plainly.")] = None
    context_guidance: Annotated[float | None, _of_stack("How strictly given frames are.")] = None
    context_noise: Annotated[int | None, _of_stack("On given frames, 0 to 999.")] = None
    negative_prompt: Annotated[str, typer.Option(help="What the video should not show.")] = ""
    temporal_strength: Annotated[float, typer.Option(help="0: unrelated images, to 1: the layers as learnt.")] = 1.0
    max_memory: Annotated[
        str | None,
        typer.Option(help="Work in smaller pieces where more were needed.", metavar="SIZE", show_default="no limit"),
    ] = None
    dtype: Dtype = "auto"
    threads: Threads = None

    def asked(self, prompt: str) -> "Asked":
        """What is asked for. Raises ``ValueError`` as ``check`` does."""
        self.check(prompt)
        from latentloom.generation.asked import Asked

        return Asked(
            prompt=prompt,
            changes=self._changes,
            frames=self.frames,
            seconds=self.seconds,
            fps=self.fps,
            passes=self.interpolate,
            start_frame=self.start_frame,
            scene=self._scene,
            scene_guidance=self.scene_guidance,
            rollouts=self.rollouts,
            steer=self.steer,
            upsampling=self._upsampling(),
            seed=self.seed,
        )

    @property
    def _changes(self) -> dict[str, Any]:
        height, width = parsed_size(self.size) or (None, None)
        said = {
            "height": height,
            "width": width,
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "context_guidance_scale": self.context_guidance,
            "context_noise": self.context_noise,
            "negative_prompt": self.negative_prompt,
            "temporal_strength": self.temporal_strength,
        }
        return {name: value for name, value in said.items() if value is not None}

    def check(self, prompt: str) -> None:
        """Refuse what no stack can make, before any is opened; what is not given counts as harmless here.

        Raises:
            ValueError: a value out of range, files that are not there, options that exclude each other.
        """
        from latentloom.stages.request import MAX_GUIDANCE, ClipRequest, check_count, check_number, seeded_generator

        harmless = {"num_frames": 1, "height": 1, "width": 1, "num_inference_steps": 1, "guidance_scale": 1.0}
        ClipRequest(prompt=prompt, fps=self.fps, **(harmless | self._changes))
        check_number("interpolate", self.interpolate, 0, 2)
        check_number("scene_guidance", self.scene_guidance, 0.0, MAX_GUIDANCE)
        check_count("rollouts", self.rollouts, MAX_ROLLOUTS)
        if self.seconds is not None and self.frames is not None:
            raise ValueError("--frames and --seconds both say how long the clip is; give one of them")
        if self.frames is not None:
            check_count("num_frames", self.frames, MAX_LENGTH)
        if self.seconds is not None:
            check_number("seconds", self.seconds, 0.001, float(MAX_LENGTH))
        seeded_generator(self.seed)
        if self.start_frame is not None and not self.start_frame.is_file():
            raise ValueError(f"{self.start_frame}: no such picture to start from")
        _ = self.memory, self.loras
        _ = self._scene, self._upsampling()  # refuses bad scenes and options of no upsampler

    @property
    def loras(self) -> list[tuple[Path, float]]:
        """Files and scales of ``--lora``. Raises ``ValueError`` where a file is not there or a scale is no number."""
        return [parsed_lora(text) for text in self.lora or ()]

    @property
    def memory(self) -> int | None:
        """``--max-memory`` in bytes. Raises ``ValueError`` where it is no size."""
        return None if self.max_memory is None else parsed_bytes(self.max_memory)

    @cached_property
    def _scene(self) -> "Scene | None":
        """What the first frame should hold; options count more than the file."""
        if self.boxes is None and self.light is None and self.vehicles is None:
            return None
        if self.start_frame is not None:
            raise ValueError("--start-frame is the first frame; --boxes, --light and --vehicles ask for another one")
        from latentloom.data.scenes import Scene
        from latentloom.scenes import MAX_BOXES

        if self.vehicles is not None and not 0 <= self.vehicles <= MAX_BOXES:
            raise ValueError(f"vehicles is {self.vehicles}, expected a whole number from 0 to {MAX_BOXES}")
        scene = Scene() if self.boxes is None else Scene.read(self.boxes)
        told = {"light": None if self.light is None else self.light.value, "vehicles": self.vehicles}
        return scene.model_copy(update={name: value for name, value in told.items() if value is not None})

    def _upsampling(self) -> "UpsamplingRequest | None":
        said = {
            "num_inference_steps": self.upsample_steps,
            "noise_level": self.upsample_noise,
            "guidance_scale": self.upsample_guidance,
            "decoder_reach": self.decoder_reach,
            "tile": parsed_size(self.tile),
        }
        said = {name: value for name, value in said.items() if value is not None}
        if not self.upsample and self.upsampler is None:
            if said:
                raise ValueError("--upsample-..., --tile and --decoder-reach are of the upsampler; add --upsample")
            return None
        from latentloom.stages.request import UpsamplingRequest

        return UpsamplingRequest(**said)
