"""From what was asked for to finished files: plan, start frame, windows with progress and journal, video, receipt.

Imported by the commands when they run: it imports torch and diffusers.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentloom.cli.clip_files import DECODED_AT_ONCE, ClipFiles, write_video_files
from latentloom.cli.options import compute_device
from latentloom.cli.progress import Advance, progress
from latentloom.cli.tables import print_table
from latentloom.data.scenes import Scene
from latentloom.data.video import read_image
from latentloom.diffusion.guidance import num_predictions
from latentloom.diffusion.sampler import num_evaluations
from latentloom.diffusion.schedule import noise_scheduler
from latentloom.files import digest_of, remove_debris
from latentloom.models.untrusted import read_json
from latentloom.precision import preferred_dtype
from latentloom.receipt import environment
from latentloom.seeds import seed_of
from latentloom.shapes import from_pixels
from latentloom.stack import Stack
from latentloom.stack_folder import SCENE_ENCODER, UPSAMPLER, UPSAMPLER_LAYERS, StackFolder
from latentloom.stages.cascade import FUTURE, CascadeRequest, generate_latents
from latentloom.stages.interpolation import FACTOR
from latentloom.stages.journal import Journal, Remember, make_anew
from latentloom.stages.request import ClipRequest, seeded_generator
from latentloom.stages.sampling import size_factor
from latentloom.stages.start_frame import SceneConditions, generate_start_frame
from latentloom.stages.steering import steering_of
from latentloom.stages.upsampling import UpsamplingRequest, upsample_frames

Enlarge = Callable[[Iterator[Tensor]], Iterator[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a user said; None is the stack's own value. ``changes`` are fields of ``ClipRequest``."""

    prompt: str
    changes: dict[str, Any]
    frames: int | None = None
    seconds: float | None = None
    fps: float | None = None
    passes: int = 0
    start_frame: Path | None = None
    rollouts: int = 1
    steer: str | None = None
    scene: Scene | None = None
    upsampling: UpsamplingRequest | None = None
    seed: int = 0

    @property
    def needs_start_frame(self) -> bool:
        """Whether the video begins with one frame instead of key frames: then all else is prediction."""
        asked = (self.start_frame, self.steer, self.scene)
        return self.rollouts > 1 or any(value is not None for value in asked)


def make_videos(
    source: StackFolder, asked: Asked, outputs: list[Path], *, dtype: str, save_latents: bool, force: bool
) -> None:
    """Make one video per output, the futures of one start where there are several; those finished before are kept.

    Raises:
        ValueError: what the stack cannot make, or a journal or receipt of another generation beside an output.
    """
    stack = open_stack(source, dtype)
    request = checked_cascade(stack, asked)
    files = [ClipFiles.beside(output, save_latents=save_latents) for output in outputs]
    remove_debris(outputs[0].parent)  # what a killed run of this command was writing
    print_plan(stack, request, asked, files)
    start: Tensor | None = None
    for future, beside in enumerate(files):
        one = replace(request, future=future)
        if len(files) > 1 and beside.receipt.is_file() and not force:
            _check_made_before(beside, one, asked)
            print(f"done before: {beside.video}")
            continue
        if asked.needs_start_frame and start is None:
            start = start_of(stack, request.clip, asked)
        try:
            make_video(stack, one, beside, asked, start)
        except KeyboardInterrupt:
            if beside.journal.is_dir():
                print(f"stopped: what is finished is kept in {beside.journal}; the same command goes on", flush=True)
            raise
        print(f"done: {beside.video}; look at {beside.sheet}, settings and checksums are in {beside.receipt}")


def _check_made_before(files: ClipFiles, request: CascadeRequest, asked: Asked) -> None:
    """Refuse a receipt of another generation. Raises ``ValueError``."""
    receipt = read_json(files.receipt)
    wanted = json.loads(json.dumps({"request": asdict(request.clip), "seed": asked.seed}))
    settings = json.loads(json.dumps(_settings(request, asked)))
    made = receipt.get("settings")
    same = isinstance(made, dict) and all(made.get(name) == value for name, value in settings.items())
    if not same or any(receipt.get(name) != value for name, value in wanted.items()):
        raise ValueError(f"{files.video} exists and was made otherwise; choose another name or overwrite with --force")


def open_stack(source: str | StackFolder, dtype: str) -> Stack:
    """The stack of a name or a folder, in the dtype that ``dtype`` names, on the device of this machine."""
    device = compute_device()
    return Stack.load(source, dtype=preferred_dtype(device, dtype), device=device)


def checked_cascade(stack: Stack, asked: Asked) -> CascadeRequest:
    """The request with the stack's defaults, of layers the stack has and a size it can make. Raises ``ValueError``."""
    _check_members(stack, asked)
    fps = asked.fps or _usual_fps(stack, asked.passes)
    num_frames = asked.frames or (max(1, round(asked.seconds * fps)) if asked.seconds is not None else None)
    keyframe_fps = fps / FACTOR**asked.passes
    window = stack.info.num_frames
    if num_frames is None:
        num_frames = FACTOR**asked.passes * (window - 1) + 1
    predicts = "temporal/prediction" in stack.members
    given = _given_defaults(stack) if predicts else {}
    keyframes = math.ceil((num_frames - 1) / FACTOR**asked.passes) + 1
    if predicts and (keyframes > window or asked.needs_start_frame):
        window = stack.info.stages["prediction"].num_frames if "prediction" in stack.info.stages else window
    elif not predicts:  # one clip of any length: the layers store none
        window = keyframes
    clip = stack.info.request(asked.prompt, **{**given, **asked.changes, "num_frames": window, "fps": keyframe_fps})
    clip.check_size(size_factor(stack))
    request = CascadeRequest(clip=clip, num_frames=num_frames, passes=asked.passes, overlap=max(1, min(2, window - 1)))
    if "interpolation" in stack.info.stages:
        stage = stack.info.stages["interpolation"]
        noise = asked.changes.get("context_noise", stage.context_noise)
        request = replace(request, interpolation_window=stage.num_frames, interpolation_noise=noise)
    if request.num_keyframes <= window and not asked.needs_start_frame:
        request = replace(request, clip=clip.of_length(request.num_keyframes))
    if asked.steer is not None:
        if "steering" not in stack.temporal_layers("prediction").number_names:
            raise ValueError(f"the prediction layers of {stack.info.name} take no steering; train others with labels")
        steering = steering_of(asked.steer, keyframe_fps, request.num_keyframes)
        request = replace(request, numbers={"steering": steering})
    return request


def start_of(stack: Stack, clip: ClipRequest, asked: Asked) -> Tensor:
    """Latents of the first frame, ``1 1 c h w``: the user's picture, cropped and resized, or one from the text."""
    if asked.start_frame is None:
        with progress("start frame") as advance:
            total = num_evaluations(stack.scheduler, clip.num_inference_steps)
            return generate_start_frame(
                stack,
                clip,
                scene=None if asked.scene is None else _scene_conditions(stack, asked.scene),
                generator=seeded_generator(asked.seed),
                callback_on_step_end=lambda step, timestep, latents: advance(step + 1, total),
            )
    picture = read_image(asked.start_frame, (clip.height, clip.width))
    frames = from_pixels(picture[None])[None].to(stack.device, stack.dtype)
    return stack.autoencoder.encode(frames)


def make_video(stack: Stack, request: CascadeRequest, files: ClipFiles, asked: Asked, start: Tensor | None) -> None:
    """One video to its files; what is finished of a long one is kept in a journal until the receipt is written."""
    settings = _settings(request, asked)
    windows = request.num_windows(from_frame=start is not None)
    long = windows > 1 or asked.upsampling is not None
    begun = {
        "request": asdict(request.clip),
        "seed": asked.seed,
        **settings,
        "stack": dict(stack.checksums),
        "environment": environment(stack.dtype, stack.device),
    }
    journal = Journal.opened(files.journal, begun) if long else nullcontext()
    with journal as kept, progress("sampling") as advance:
        remember = make_anew if kept is None else kept.remember
        portions = _num_portions(stack, request.num_frames, asked)
        shown = _Shown(advance, windows + portions, num_evaluations(stack.scheduler, request.clip.num_inference_steps))
        pieces = generate_latents(
            stack,
            request,
            seed=asked.seed,
            start=start,
            remember=shown.counting(remember),
            callback_on_step_end=shown.step,
        )
        latents = (part.to(stack.device) for piece in pieces for part in piece.split(DECODED_AT_ONCE, 1))
        write_video_files(
            stack,
            request.clip,
            latents,
            files,
            seed=asked.seed,
            fps=_fps(request),
            enlarge=_enlarging(stack, asked, request.future, shown.counting(remember)),
            settings=settings,
        )


def _enlarging(stack: Stack, asked: Asked, future: int, remember: Remember) -> Enlarge | None:
    """The upsampler on a stream of frames; None where none was asked for."""
    if asked.upsampling is None:
        return None
    return partial(
        upsample_frames,
        stack.upsampler,
        stack.upsampler_layers,
        noise_scheduler(),
        request=asked.upsampling,
        seed=seed_of(asked.seed, FUTURE, future),
        remember=remember,
    )


def _scene_conditions(stack: Stack, scene: Scene) -> SceneConditions:
    assert stack.scene is not None
    encoder, layers = stack.scene
    return SceneConditions(scene=scene.tensors(), encoder=encoder, layers=layers)


def _num_portions(stack: Stack, num_frames: int, asked: Asked) -> int:
    """How often the upsampler is called."""
    if asked.upsampling is None:
        return 0
    overlap = asked.upsampling.overlap if UPSAMPLER_LAYERS in stack.members else 0
    return max(1, math.ceil((num_frames - overlap) / (asked.upsampling.portion - overlap)))


class _Shown:
    """Windows and steps as progress."""

    def __init__(self, advance: Advance, windows: int, steps: int) -> None:
        self.advance, self.windows, self.steps, self.done = advance, windows, steps, 0
        self._show(0)

    def counting(self, remember: Any) -> Any:
        """``remember`` that counts the windows that are finished."""

        def counted(stage: str, index: int, make: Any, /) -> Tensor:
            result = remember(stage, index, make)
            self.done += 1
            self._show(0)
            return result

        return counted

    def step(self, step: int, timestep: Tensor, latents: Tensor) -> None:
        if step + 1 < self.steps:
            self._show(step + 1)

    def _show(self, step: int) -> None:
        total = self.windows * self.steps
        note = f"window {min(self.done + 1, self.windows)} of {self.windows}" if self.windows > 1 else ""
        self.advance(self.done * self.steps + step, total, note)


def print_plan(stack: Stack, request: CascadeRequest, asked: Asked, files: list[ClipFiles]) -> None:
    """What is about to be made, of what, and where it goes."""
    clip = request.clip
    scales = (clip.context_guidance_scale, clip.guidance_scale) if asked.needs_start_frame else (clip.guidance_scale,)
    branches = num_predictions(*scales)
    evaluations = num_evaluations(stack.scheduler, clip.num_inference_steps)
    parameters = sum(row.get("parameters", 0) for row in stack.describe()["members"].values())
    windows = request.num_windows(from_frame=asked.needs_start_frame)
    sampling = f"{evaluations} evaluations of {branches * clip.num_frames} frames, seed {asked.seed}"
    rows = [
        ("prompt", clip.prompt or "(none)"),
        ("clip", _clip_in_words(stack, request, asked)),
        ("sampling", sampling if windows == 1 else f"{windows} windows, of key frames {sampling}"),
        ("guidance", f"{clip.guidance_scale:g}, temporal strength {clip.temporal_strength:g}"),
        ("stack", f"{stack.info.name}, {parameters / 1e6:.1f} M parameters"),
        (
            "compute",
            f"{stack.device}, {str(stack.dtype).removeprefix('torch.')}, {torch.get_num_threads()} CPU threads",
        ),
        ("files", ", ".join(str(path) for beside in files for path in beside.paths)),
    ]
    if windows > 1:
        rows.insert(4, ("context", f"guidance {clip.context_guidance_scale:g}, noise {clip.context_noise}"))
        rows.insert(5, ("futures", str(len(files))))
    print_table(("", ""), rows)


def _clip_in_words(stack: Stack, request: CascadeRequest, asked: Asked) -> str:
    clip = request.clip
    larger = "" if asked.upsampling is None else f", then {stack.upsampler.factor} times larger"
    return f"{request.num_frames} frames of {clip.height}x{clip.width}, {_fps(request):g} a second{larger}"


def _fps(request: CascadeRequest) -> float:
    assert request.fps is not None
    return request.fps


def _check_members(stack: Stack, asked: Asked) -> None:
    if "temporal/keyframes" not in stack.members:
        raise ValueError(
            f"{stack.info.name} is an image model without temporal layers; train some with `latentloom animate`"
        )
    if asked.needs_start_frame and "temporal/prediction" not in stack.members:
        raise ValueError(
            f"{stack.info.name} has no prediction layers, which --start-frame, --boxes, --light, --vehicles, --rollouts"
            " and --steer need; train them with `latentloom train prediction`"
        )
    if asked.scene is not None and SCENE_ENCODER not in stack.members:
        raise ValueError(
            f"{stack.info.name} knows no scenes, which --boxes, --light and --vehicles need; train them with"
            " `latentloom train boxes`"
        )
    if asked.upsampling is not None and UPSAMPLER not in stack.members:
        raise ValueError(
            f"{stack.info.name} has no upsampler, which --upsample needs; train one with `latentloom train upsampler`"
        )
    if asked.passes and "temporal/interpolation" not in stack.members:
        raise ValueError(
            f"{stack.info.name} has no interpolation layers, which --interpolate needs; train them with"
            " `latentloom train interpolation`"
        )


def _usual_fps(stack: Stack, passes: int) -> float:
    stage = stack.info.stages.get("interpolation")
    return stack.info.fps if not passes or stage is None else stage.fps[-1]


def _given_defaults(stack: Stack) -> dict[str, Any]:
    known = stack.info.stages.get("prediction")
    if known is None:
        return {}
    return {"context_noise": known.context_noise, "context_guidance_scale": known.context_guidance_scale}


def _settings(request: CascadeRequest, asked: Asked) -> dict[str, Any]:
    """What the bits depend on beside request, seed, stack and machine: for the receipt."""
    start = None if asked.start_frame is None else digest_of(asked.start_frame)
    cascade = {name: value for name, value in asdict(request).items() if name != "clip"}
    upsampling = None if asked.upsampling is None else asdict(asked.upsampling)
    start = start or ("text" if asked.needs_start_frame else None)
    start = start if asked.scene is None else {"scene": asked.scene.model_dump(mode="json")}
    return {**cascade, "start_frame": start, "upsampling": upsampling}
