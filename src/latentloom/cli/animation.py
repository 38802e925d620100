"""Footage into a video model, stage by stage, each of which continues where a killed run was.

OUTPUT.work/dataset     the prepared clips and their latents
OUTPUT.work/image       the run that moves the image layers towards the footage (paper, Sec. 4: on video frames)
OUTPUT.work/temporal    the run of the temporal layers
OUTPUT.work/stack       the model folder while it is judged; renamed to OUTPUT in the end
"""

import hashlib
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from latentloom.adapted import image_model
from latentloom.cli.animation_report import evaluate
from latentloom.cli.prepare import print_report
from latentloom.cli.progress import progress
from latentloom.cli.training_runs import (
    cached_latents,
    new_layers,
    save_once,
    starting_layers,
    tell_what_stays,
    training_progress,
)
from latentloom.cli.training_settings import recipe_for
from latentloom.data.clips import Window, clip_windows
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.data.prepare import prepare
from latentloom.layers.layer_set import LayerSet
from latentloom.locks import locked
from latentloom.models.untrusted import read_json
from latentloom.precision import preferred_dtype
from latentloom.recipes import driving
from latentloom.stack import Stack
from latentloom.stack_folder import StackFolder, StackInfo
from latentloom.stages.request import MAX_FPS, MAX_FRAMES, check_count, check_number
from latentloom.stages.sampling import size_factor
from latentloom.training.image import ImageTraining, train_image
from latentloom.training.run_folder import agree_on_config
from latentloom.training.temporal import TemporalTraining, train_temporal

MOST_STEPS = 10**7
MAX_SIDE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class AnimateRequest:
    """What a user may say about an animation; None is the model's own value.

    Raises:
        ValueError: a number out of range.
    """

    caption: str | None
    image_steps: int
    steps: int
    num_frames: int | None
    fps: float | None
    batch_size: int
    image_batch_size: int
    seed: int
    dtype: str
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_number("image_steps", self.image_steps, 0, MOST_STEPS)
        check_count("steps", self.steps, MOST_STEPS)
        check_count("batch_size", self.batch_size, MOST_STEPS)
        check_count("image_batch_size", self.image_batch_size, MOST_STEPS)
        check_number("seed", self.seed, 0, 2**63 - 1)
        preferred_dtype(name=self.dtype)
        for side in self.size or ():
            check_count("size", side, MAX_SIDE)
        if self.num_frames is not None:
            check_count("frames", self.num_frames, MAX_FRAMES)
        if self.fps is not None:
            check_number("fps", self.fps, 1e-3, MAX_FPS)


def animate_footage(source: str | StackFolder, videos: Path, output: Path, request: AnimateRequest) -> None:
    """Make the video model; returns at once when the same command has made it before.

    Raises:
        ValueError: a stack or footage that is refused, an output that exists, or a run begun with other settings.
    """
    folder = source if isinstance(source, StackFolder) else StackFolder.open(source)
    stack = Stack.load(folder)
    if request.size is not None:
        stack = stack.replace(replace(stack.info, size=request.size))
        stack.info.request("").check_size(size_factor(stack))
    settings = {"stack": _digest_of(stack), "footage": digest_of_folder(videos), **asdict(request)}
    if output.exists() and any(output.iterdir()):
        _check_made_by(output, settings)
        print(f"done before: {output}")
        return
    work = output.with_name(f"{output.name}.work")
    try:
        with locked(work):
            made = _make(folder, stack, videos, work, request, settings, name=output.resolve().name)
            if output.exists():
                output.rmdir()
            made.replace(output)
    finally:
        with suppress(OSError):
            work.rmdir()  # only where a refusal left it empty
    print(f"done: {output}; look at {output / 'evaluation.png'} and {output / 'sample.mp4'}")
    print(f"{work} is of no more use")


def _make(
    folder: StackFolder,
    stack: Stack,
    videos: Path,
    work: Path,
    request: AnimateRequest,
    settings: dict[str, Any],
    *,
    name: str,
) -> Path:
    """The finished model folder, still inside ``work``."""
    if (work / "config.json").is_file():
        agree_on_config(work, settings)
    dataset = _prepared(stack, videos, work / "dataset", request)
    image, temporal = training_settings(stack, request, recipe_for(folder))
    windows = clip_windows(dataset, temporal.num_frames, temporal.fps)
    agree_on_config(work, settings)
    _print_plan(stack, dataset, windows, image, temporal)
    cache = cached_latents(dataset, stack.vae)
    if image is not None:
        tell_what_stays(stack, "temporal/keyframes")
        stack = _fine_tuned(stack, image, dataset, cache, work / "image")
    stack, layers = stack.replace(_info(stack, name, windows)), new_layers(folder)
    stack = _woven(stack, layers, temporal, dataset, cache, work / "temporal")
    save_once(stack, work / "stack")
    evaluate(work / "stack", dataset, windows, request, settings)
    return work / "stack"


def _prepared(stack: Stack, videos: Path, folder: Path, request: AnimateRequest) -> Dataset:
    with progress("videos") as advance:
        report = prepare(
            videos, folder, size=stack.info.size, default_caption=request.caption, min_frames=2, progress=advance
        )
    print_report(report)
    return Dataset.load(folder)


def training_settings(
    stack: Stack, request: AnimateRequest, recipe: Any = driving
) -> tuple[ImageTraining | None, TemporalTraining]:
    """The settings of both trainings after a recipe; None where the image layers stay as they are.

    A stack with temporal layers goes on at the frames and rate it was trained for, another takes the recipe's.
    """
    loop = {"seed": request.seed, "dtype": request.dtype, "preview_steps": 0, "checkpoint_minutes": 1.0}
    temporal: TemporalTraining = recipe.temporal()
    known = stack.keyframe_set is not None
    temporal = replace(
        temporal,
        loop=replace(temporal.loop, steps=request.steps, batch_size=request.batch_size, **loop),
        num_frames=request.num_frames or (stack.info.num_frames if known else temporal.num_frames),
        fps=request.fps or (stack.info.fps if known else temporal.fps),
    )
    if not request.image_steps:
        return None, temporal
    image: ImageTraining = recipe.image()
    optimizer = image.optimizer.slowed(2) if recipe is driving else image.optimizer  # that one is for a beginning
    image = replace(
        image,
        loop=replace(
            image.loop, steps=request.image_steps, batch_size=request.image_batch_size, ema_decay=0.99, **loop
        ),
        optimizer=optimizer,
    )
    return image, temporal


def _fine_tuned(stack: Stack, config: ImageTraining, dataset: Dataset, cache: LatentCache, run: Path) -> Stack:
    with training_progress("image layers") as report:
        model = train_image(config, dataset, cache, run, model=image_model(stack), report=report)
    return stack.replace(unet=model.unet, text_encoder=model.text_encoder)


def _woven(
    stack: Stack, layer_set: LayerSet, config: TemporalTraining, dataset: Dataset, cache: LatentCache, run: Path
) -> Stack:
    layers = starting_layers(stack, "keyframes", layer_set, config.loop.seed)
    with training_progress("temporal layers") as report:
        layers = train_temporal(config, layers, image_model(stack), dataset, cache, run, report=report)
    return stack.replace(temporal={"keyframes": layers})


def _info(stack: Stack, name: str, windows: list[Window]) -> StackInfo:
    fps = Counter(window.fps for window in windows).most_common(1)[0][0]
    note = f"Made of {stack.info.name} by `latentloom animate`."
    return replace(stack.info, name=name, num_frames=windows[0].num_frames, fps=fps, note=note)


def _print_plan(
    stack: Stack,
    dataset: Dataset,
    windows: list[Window],
    image: ImageTraining | None,
    temporal: TemporalTraining,
) -> None:
    layers = "new" if stack.keyframe_set is None else "the model's own"
    if image is None:
        print("image layers: stay as they are")
    else:
        print(f"image layers: {image.loop.steps} steps of {image.loop.batch_size} frames")
    print(
        f"temporal layers: {layers}, {temporal.loop.steps} steps of {temporal.loop.batch_size} clips out of"
        f" {len(windows)}, {temporal.num_frames} frames at about {temporal.fps:g} a second"
    )
    if not dataset.captions:
        print("captions: none; the model learns this footage under the empty prompt (--caption names another)")


def digest_of_folder(videos: Path) -> str:
    """One checksum of the names and contents of all files in a folder, or of one file."""
    total = hashlib.sha256()
    paths = [videos] if videos.is_file() else sorted(path for path in videos.rglob("*") if not path.is_dir())
    for path in paths:
        total.update(str(path.relative_to(videos.parent)).encode("utf-8", "surrogateescape") + b"\0")
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _digest_of(stack: Stack) -> str:
    """One checksum of all members."""
    return hashlib.sha256("".join(map(str, sorted(stack.digests.items()))).encode()).hexdigest()


def _check_made_by(output: Path, settings: dict[str, Any]) -> None:
    report = output / "report.json"
    if not report.is_file():
        raise ValueError(f"{output} exists and was not made by this command; choose another output folder")
    made = read_json(report).get("settings")
    if made != settings:
        differing = [name for name in settings if not isinstance(made, dict) or made.get(name) != settings[name]]
        raise ValueError(
            f"{output} exists and was made with another {', '.join(differing)}; choose another output folder"
        )
