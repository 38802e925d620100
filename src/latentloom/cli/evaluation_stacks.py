"""Videos that ``latentloom evaluate`` asks of a stack: after captions of the real ones, kept, each made once."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.cli.evaluation_inputs import VideoSet, set_of_files
from latentloom.cli.evaluation_options import EvaluationOptions
from latentloom.cli.options import compute_device
from latentloom.cli.progress import progress
from latentloom.files import printable, write_text

if TYPE_CHECKING:
    from latentloom.generation.videos import Generation
    from latentloom.stack import Stack
    from latentloom.stack_folder import StackFolder


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A video to be made: ``file`` in the folder, from a text and a seed of its own."""

    file: str
    prompt: str
    seed: int


def stack_at(path: Path) -> "StackFolder | None":
    """The stack that a path or a name is, checked but not loaded; None where it is neither.

    Raises:
        ValueError: a damaged stack.
    """
    from latentloom.stack_folder import ASSETS, StackFolder

    named = not path.exists() and (ASSETS / str(path).replace("-", "_") / "stack.json").is_file()
    if not named and not (path / "stack.json").is_file():
        return None
    return StackFolder.open(str(path))


def check_options(stack: "StackFolder | None", fake: Path, options: EvaluationOptions, real: VideoSet) -> None:
    """Refuse what is said of making videos where none are made, and making without saying how many. ``ValueError``."""
    if stack is None:
        if not fake.exists():
            from latentloom.stack_folder import ASSETS

            known = ", ".join(sorted(path.parent.name.replace("_", "-") for path in ASSETS.glob("*/stack.json")))
            raise ValueError(f"{printable(fake)}: no such folder of videos, and no embedded stack, which are: {known}")
        for name in ("frames", "steps", "made"):
            if getattr(options, name) is not None:
                raise ValueError(
                    f"--{name} is for a stack that makes the videos, and {printable(fake)} is none (no stack.json)"
                )
        return
    if options.paired:
        raise ValueError("--paired compares videos with those they should be; what a stack makes is free")
    num_real = len(real.videos)
    if options.videos is None:
        raise ValueError(
            f"{printable(fake)} is a stack: say how many videos it should make, such as --videos {min(num_real, 16)}"
            f" (real ones: {num_real})"
        )
    prompts = len({video.caption for video in real.videos})
    if options.diversity and options.videos <= prompts:
        raise ValueError(
            f"--diversity compares videos of one prompt: {printable(real.path)} has {prompts} captions, and --videos"
            f" {options.videos} need not make two of any; ask for more than {prompts}"
        )
    if options.made is None and options.output is None:
        raise ValueError("say where the videos that are made are kept: --made FOLDER, or -o FILE and they go beside it")


def wanted_videos(texts: Sequence[str], count: int, seed: int) -> list[Wanted]:
    """``count`` videos after the texts in turn, from the first again where there are fewer.

    ``prompt001-1.mp4``, ``prompt001-2.mp4``: videos of one prompt share a number (``--diversity`` compares them). The
    k-th video has the seed ``seed + k``; asking for more of them changes none.
    """
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts), 1)}
    made = dict.fromkeys(numbers, 0)
    wanted = []
    for k in range(count):
        text = texts[k % len(texts)]
        made[text] += 1
        wanted.append(Wanted(file=f"prompt{numbers[text]:03}-{made[text]}.mp4", prompt=text, seed=seed + k))
    return wanted


def made_videos(
    folder: "StackFolder", wanted: Sequence[Wanted], real: VideoSet, options: EvaluationOptions
) -> VideoSet:
    """The videos of a stack at the rate of the ``real`` ones, made where they are not there yet.

    Raises:
        ValueError: a stack that makes no such video, or shorter ones than a window, or videos in the folder that were
            made otherwise.
    """
    fps = options.fps or sorted(video.fps for video in real.videos)[len(real.videos) // 2]
    kept = _kept(options)
    from latentloom.generation.videos import open_stack

    stack = open_stack(folder, "auto", compute_device())
    generations = [_generation(stack, one, kept, fps, options) for one in wanted]
    _check_length(generations[0], options)
    if not any(one.prompt for one in wanted):
        print(f"{printable(real.path)} has no captions: {stack.info.name} makes its videos without a prompt")
    _make(generations, kept, options)
    made = _receipt(stack, generations[0], wanted)
    files = set_of_files("generated", kept, [kept / one.file for one in wanted], options.judged_size, options.fps)
    return VideoSet(side=files.side, path=files.path, videos=files.videos, made=made)


def _kept(options: EvaluationOptions) -> Path:
    if options.made is not None:
        return options.made
    assert options.output is not None
    return options.output.with_name(f"{options.output.stem}-videos")


def _generation(stack: "Stack", wanted: Wanted, kept: Path, fps: float, options: EvaluationOptions) -> "Generation":
    from latentloom.generation.asked import Asked
    from latentloom.generation.videos import Generation

    changes = {} if options.steps is None else {"num_inference_steps": options.steps}
    asked = Asked(prompt=wanted.prompt, changes=changes, frames=options.frames, fps=fps, seed=wanted.seed)
    return Generation.of(stack, asked, [kept / wanted.file])


def _check_length(generation: "Generation", options: EvaluationOptions) -> None:
    """Refuse videos that are too short to judge before they are made. Raises ``ValueError``."""
    num_frames, span = generation.request.num_frames, options.windows.span
    if num_frames < span:
        raise ValueError(
            f"{generation.stack.info.name} would make {num_frames} frames, and a window covers {span}: ask for more"
            f" (--frames {span}) or judge shorter ones (--window {num_frames})"
        )


def _make(generations: "list[Generation]", kept: Path, options: EvaluationOptions) -> None:
    from latentloom.generation.videos import make_videos

    kept.mkdir(parents=True, exist_ok=True)
    _tell(generations, kept)
    with progress("making videos") as advance:
        for done, generation in enumerate(generations):
            video = generation.outputs[0].video
            advance(done, len(generations), video.name)
            try:
                list(make_videos(generation))
            except ValueError:
                if not options.force:
                    raise
                list(make_videos(generation, force=True))  # made otherwise before; what was made so is kept
            if generation.asked.prompt:
                write_text(video.with_suffix(".txt"), generation.asked.prompt + "\n")
        advance(len(generations), len(generations))


def _tell(generations: "list[Generation]", kept: Path) -> None:
    """What is about to be made, and where it goes."""
    from latentloom.generation.asked import unfamiliar_rate

    stack, request = generations[0].stack, generations[0].request
    clip = f"{request.num_frames} frames of {request.clip.height}x{request.clip.width}, {request.fps:g} a second"
    steps = f"{request.clip.num_inference_steps} steps"
    print(f"{stack.info.name} makes {len(generations)} videos: {clip}, {steps}; kept in {printable(kept)}")
    if note := unfamiliar_rate(stack, request):
        print(f"note: {note}")


def _receipt(stack: "Stack", generation: "Generation", wanted: Sequence[Wanted]) -> dict[str, Any]:
    """What the videos owe to: the stack with its checksums, the request that all share, prompt and seed of each."""
    request = {name: value for name, value in asdict(generation.request.clip).items() if name != "prompt"}
    members = dict(sorted(stack.digests.items()))
    together = hashlib.sha256("\n".join(f"{name} {digest}" for name, digest in members.items()).encode()).hexdigest()
    return {
        "stack": {"name": stack.info.name, "digest": together, "members": members},
        "frames": generation.request.num_frames,
        "fps": generation.request.fps,
        "request": request,
        "videos": {one.file: {"prompt": one.prompt, "seed": one.seed} for one in wanted},
    }
