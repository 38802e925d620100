"""Videos from what was asked for: start frame, windows with a journal, decoding and upsampling as they stream to disk.

Killed at any moment, the same generation goes on from what its journal holds and gives the same bytes.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentloom.adapted import with_lora
from latentloom.allocator import keep_freed_memory
from latentloom.data.scenes import Scene
from latentloom.data.video import read_image
from latentloom.diffusion.sampler import num_evaluations
from latentloom.files import digest_of, remove_debris
from latentloom.generation.asked import Asked, checked_cascade
from latentloom.generation.files import DECODED_AT_ONCE, VideoFiles, write_video_files
from latentloom.generation.progress import Show, Windows, show_nothing
from latentloom.models.latent_upsampler import LatentUpsampler
from latentloom.models.text import warn_about_losses
from latentloom.models.untrusted import read_json
from latentloom.precision import preferred_dtype
from latentloom.receipt import environment
from latentloom.seeds import Stream, seed_of
from latentloom.shapes import from_pixels
from latentloom.stack import Stack
from latentloom.stack_folder import UPSAMPLER_LAYERS, StackFolder
from latentloom.stages.cascade import CascadeRequest, CascadeStage, generate_latents
from latentloom.stages.journal import Journal, Remember
from latentloom.stages.request import UpsamplingRequest, seeded_generator
from latentloom.stages.start_frame import SceneConditions, generate_start_frame
from latentloom.stages.upsampling import completed, num_portions, upsample_frames, upsampling_steps

Enlarge = Callable[[Iterator[Tensor]], Iterator[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A video that is there; ``before`` says that an earlier run of the same command made it."""

    files: VideoFiles
    before: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Generation:
    """A stack, what was asked of it, the request that follows, and where each future goes."""

    stack: Stack
    asked: Asked
    request: CascadeRequest
    outputs: tuple[VideoFiles, ...]
    decoded_at_once: int = DECODED_AT_ONCE

    @classmethod
    def of(cls, stack: Stack, asked: Asked, outputs: list[Path], *, save_latents: bool = False) -> "Generation":
        """The generation of one video per output, the futures of one start where there are several.

        Raises:
            ValueError: what the stack cannot make.
        """
        warn_about_losses(stack.tokenizer, [asked.prompt, asked.changes.get("negative_prompt", "")])
        files = tuple(VideoFiles.beside(output, save_latents=save_latents) for output in outputs)
        request = checked_cascade(stack, asked)
        if asked.upsampling is not None:
            text = {"prompt": asked.prompt, "negative_prompt": request.clip.negative_prompt}
            upsampling = completed(replace(asked.upsampling, **text), stack.upsampler)
            asked = replace(asked, upsampling=upsampling)
        return cls(stack=stack, asked=asked, request=request, outputs=files)

    @property
    def stages(self) -> list[CascadeStage]:
        """What is made for a video before it is decoded."""
        return self.request.stages(from_frame=self.asked.needs_start_frame)

    @property
    def num_windows(self) -> int:
        """Clips that are made for a video."""
        return sum(stage.num_windows for stage in self.stages)

    @property
    def work(self) -> dict[str, tuple[int, int]]:
        """Stage to windows and evaluations of each, as a journal names them; upsampling counts its portions."""
        scheduler = self.stack.scheduler
        work = {stage.name: (stage.num_windows, stage.num_evaluations(scheduler)) for stage in self.stages}
        if self.asked.upsampling is not None:
            steps = upsampling_steps(self.stack.upsampler, self.asked.upsampling)
            work["upsampling"] = (self.portions, steps)
        return work

    @property
    def portions(self) -> int:
        """How often the upsampler is called for a video."""
        upsampling = self.asked.upsampling
        if upsampling is None:
            return 0
        return num_portions(self.request.num_frames, upsampling, together=UPSAMPLER_LAYERS in self.stack.members)

    @property
    def made_of(self) -> dict[str, Any]:
        """All that the bits depend on, as JSON values: a journal goes on, and a video is kept, where it is the same."""
        everything = {
            "request": asdict(self.request.clip),
            "seed": self.asked.seed,
            **self.settings,
            "stack": self.stack.digests,
            "environment": environment(self.stack.dtype, self.stack.device),
        }
        return json.loads(json.dumps(everything))

    @property
    def settings(self) -> dict[str, Any]:
        """What they depend on beside clip, seed, stack and machine."""
        asked = self.asked
        start = "text" if asked.needs_start_frame else None
        if asked.start_frame is not None:
            start = digest_of(asked.start_frame)
        if asked.scene is not None:
            start = {"scene": asked.scene.model_dump(mode="json"), "guidance": asked.scene_guidance}
        cascade = {name: value for name, value in asdict(self.request).items() if name != "clip"}
        upsampling = None if asked.upsampling is None else asdict(asked.upsampling)
        own = {"start_frame": start, "upsampling": upsampling, "decoded_at_once": self.decoded_at_once}
        return {**cascade, **own}


def open_stack(
    source: str | StackFolder,
    dtype: str,
    device: str,
    *,
    upsampler: str | StackFolder | None = None,
    loras: Iterable[tuple[Path, float]] = (),
    memory: int | None = None,
) -> Stack:
    """The stack of a name or a folder, on ``device``, in the dtype that ``dtype`` names ("auto" asks the machine).

    ``upsampler`` is another one, or an upscaler, whose upsampler takes the place of its own; ``loras`` are files and
    scales of adapters of its image model. Where all weights would take more than half of ``memory`` bytes on a GPU they
    are loaded beside it.

    On a CPU freed memory stays with the process from now on: large frames take half the time (docs/log.md).
    """
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    how = {"dtype": preferred_dtype(device, dtype), "device": device}
    stack = Stack.load(source, **how)
    if upsampler is not None:
        stack = stack.with_upsampler_of(Stack.load(upsampler, **how))
    stack.offloads = memory is not None and stack.device.type != "cpu" and 2 * stack.num_bytes > memory
    for path, scale in loras:
        stack = with_lora(stack, path, scale)
    return stack


def make_videos(generation: Generation, *, show: Show = show_nothing, force: bool = False) -> Iterator[Finished]:
    """Each video when it is there; of several futures those finished before are kept, unless ``force``.

    Raises:
        ValueError: a journal or receipt of another generation lies beside an output.
    """
    remove_debris(generation.outputs[0].video.parent)  # what a killed run of this generation was writing
    futures = [
        replace(generation, request=replace(generation.request, future=future), outputs=(files,))
        for future, files in enumerate(generation.outputs)
    ]
    there = [not force and _made_before(one) for one in futures]  # all of them: refused before any work
    start: Tensor | None = None
    for one, before in zip(futures, there, strict=True):
        if not before:
            if generation.asked.needs_start_frame and start is None:
                start = start_of(generation, show)
            make_video(one, start, show, force=force)
        yield Finished(files=one.outputs[0], before=before)


def start_of(generation: Generation, show: Show = show_nothing) -> Tensor:
    """Latents of the first frame, ``1 1 c h w``: the user's picture, cropped and resized, or one from the text."""
    stack, asked, clip = generation.stack, generation.asked, generation.request.clip
    if asked.start_frame is not None:
        picture = read_image(asked.start_frame, (clip.height, clip.width))
        autoencoder = stack.autoencoder
        stack.bring(autoencoder)
        return autoencoder.encode(from_pixels(picture[None])[None].to(stack.device, stack.dtype))
    scene = None if asked.scene is None else scene_conditions(stack, asked.scene, asked.scene_guidance)
    with show("start frame") as advance:
        total = num_evaluations(stack.scheduler, clip.num_inference_steps)
        return generate_start_frame(
            stack,
            clip,
            scene=scene,
            generator=seeded_generator(asked.seed),
            callback_on_step_end=lambda step, timestep, latents: advance(step + 1, total),
        )


def scene_conditions(stack: Stack, scene: Scene, guidance: float = SceneConditions.scale) -> SceneConditions:
    """What the start frame is made with. Raises ``ValueError`` where the stack knows no scenes."""
    if stack.scene is None:
        raise ValueError(f"{stack.info.name} knows no scenes; train them with `latentloom train boxes`")
    encoder, layers = stack.scene
    return SceneConditions(scene=scene.tensors(), encoder=encoder, layers=layers, scale=guidance)


def make_video(generation: Generation, start: Tensor | None, show: Show = show_nothing, *, force: bool = False) -> None:
    """The video of the first output; what is finished of it lies in a journal until the receipt is written.

    Raises:
        ValueError: another process makes it, made it meanwhile, or, without ``force``, a journal of another generation.
    """
    stack, asked, request = generation.stack, generation.asked, generation.request
    (files,) = generation.outputs
    with Journal.opened(files.journal, generation.made_of, replace=force) as kept, show("sampling") as advance:
        if not force and files.receipt.is_file():
            raise ValueError(f"{files.video}: another process has made it meanwhile; choose another name")
        shown = Windows(advance, generation.work)
        pieces = generate_latents(
            stack,
            request,
            seed=asked.seed,
            start=start,
            remember=shown.counting(kept.remember),
            callback_on_step_end=shown.step,
        )
        assert request.fps is not None
        write_video_files(
            stack,
            request.clip,
            pieces,
            files,
            seed=asked.seed,
            fps=request.fps,
            decoded_at_once=generation.decoded_at_once,
            enlarge=_enlarging(stack, asked.upsampling, asked.seed, request.future, shown.counting(kept.remember)),
            settings=generation.settings,
        )


def _enlarging(
    stack: Stack, upsampling: UpsamplingRequest | None, seed: int, future: int, remember: Remember
) -> Enlarge | None:
    """The upsampler on a stream of frames; None where none was asked for."""
    if upsampling is None:
        return None
    upsampler, layers = stack.upsampler, stack.upsampler_layers
    if isinstance(upsampler, LatentUpsampler):
        upsampler.decoder_reach = upsampling.decoder_reach

    def enlarge(frames: Iterator[Tensor]) -> Iterator[Tensor]:
        begin = partial(stack.bring, *stack.upsampling_networks)
        own = {"request": upsampling, "seed": seed_of(seed, Stream.FUTURE, future), "remember": remember}
        return upsample_frames(upsampler, layers, frames, begin=begin, **own)

    return enlarge


def _made_before(generation: Generation) -> bool:
    """Whether the video is there, with all that was asked for beside it; what is left of its journal is removed.

    Raises:
        ValueError: it was made otherwise.
    """
    (files,) = generation.outputs
    if not files.receipt.is_file():
        return False
    receipt = read_json(files.receipt)
    parts = [receipt, *(receipt.get(name) for name in ("settings", "stack"))]
    _, settings, stack = (part if isinstance(part, dict) else {} for part in parts)
    made = {**settings, **receipt, "stack": stack.get("members")}
    if differing := sorted(name for name, value in generation.made_of.items() if made.get(name) != value):
        raise ValueError(
            f"{files.video} exists and was made with another {', '.join(differing)}; choose another name or overwrite"
            " with --force"
        )
    if not all(path.is_file() for path in files.paths):
        files.receipt.unlink()  # made again, the same bytes
        return False
    if files.journal.is_dir():
        Journal.discard(files.journal)
    return True
