"""What a user asked for, completed with the stack's own values and checked against what it can make."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from latentloom.data.scenes import Scene
from latentloom.stack import Stack
from latentloom.stack_folder import SCENE_ENCODER, StageInfo
from latentloom.stages.cascade import CascadeRequest, num_keyframes
from latentloom.stages.interpolation import FACTOR, interpolated_count
from latentloom.stages.request import UpsamplingRequest
from latentloom.stages.sampling import size_factor
from latentloom.stages.steering import steering_of, steering_seconds

FAMILIAR = 1.6
"""Up to this ratio a frame rate is like another: layers meet footage at rates around their own (`clip_windows`)."""

GIVEN = ("context_noise", "context_guidance_scale")
"""What a user may say of the frames that prediction is given; it counts more than the stage's own values."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a user said; None is the stack's own value.

    Attributes:
        changes: fields of ``ClipRequest``.
        frames, seconds, fps: of the finished video; ``frames`` counts more than ``seconds``.
        passes: interpolations.
        start_frame: a picture to go on from; ``scene`` asks for one instead, with guidance ``scene_guidance``.
        rollouts: futures of one start frame.
        steer: a drive in words (``stages.steering``), which says how long the video is where nothing else does.
        upsampling: how frames are made larger; None leaves them.
    """

    prompt: str
    changes: dict[str, Any] = field(default_factory=dict)
    frames: int | None = None
    seconds: float | None = None
    fps: float | None = None
    passes: int = 0
    start_frame: Path | None = None
    scene: Scene | None = None
    scene_guidance: float = 2.0
    rollouts: int = 1
    steer: str | None = None
    upsampling: UpsamplingRequest | None = None
    seed: int = 0

    @property
    def needs_start_frame(self) -> bool:
        """Whether the video begins with one frame instead of key frames: then all else is prediction."""
        asked = (self.start_frame, self.steer, self.scene)
        return self.rollouts > 1 or any(value is not None for value in asked)


def checked_cascade(stack: Stack, asked: Asked) -> CascadeRequest:
    """The request with the stack's defaults, of layers the stack has and a size it can make. Raises ``ValueError``."""
    _check_members(stack, asked)
    info, stages, predicts = stack.info, stack.info.stages, "temporal/prediction" in stack.members
    fps = asked.fps or (stages["interpolation"].fps[-1] if asked.passes and "interpolation" in stages else info.fps)
    keyframe_fps = fps / FACTOR**asked.passes
    num_frames = _num_frames(asked, fps, interpolated_count(info.num_frames, asked.passes))
    keyframes = num_keyframes(num_frames, asked.passes)
    # without prediction all key frames are one clip: layers store no length
    length = min(keyframes, info.num_frames) if predicts else keyframes
    clip = info.request(asked.prompt, **{**asked.changes, "num_frames": length, "fps": keyframe_fps})
    clip.check_size(size_factor(stack))
    request = CascadeRequest(clip=clip, num_frames=num_frames, passes=asked.passes)
    if predicts:
        stage = stages.get("prediction", StageInfo(num_frames=info.num_frames, fps=(info.fps,)))
        said = {name: asked.changes[name] for name in GIVEN if name in asked.changes}
        predicted = replace(stage.window(clip), **said)
        overlap = max(1, min(CascadeRequest.overlap, predicted.num_frames - 1))
        request = replace(request, prediction=predicted, overlap=overlap)
    if "interpolation" in stages:
        request = replace(request, interpolation=stages["interpolation"].window(clip))
    if asked.steer is not None:
        if "steering" not in stack.temporal_layers("prediction").number_names:
            raise ValueError(f"the prediction layers of {info.name} take no steering; train others with labels")
        request = replace(request, numbers={"steering": steering_of(asked.steer, keyframe_fps, keyframes)})
    return request


def unfamiliar_rate(stack: Stack, request: CascadeRequest) -> str | None:
    """What to say of key frames at another rate than their layers have seen; None where there is nothing to say."""
    seen = {stack.info.fps} if stack.keyframe_set == "keyframes" else set[float]()
    if "prediction" in stack.info.stages:
        seen |= set(stack.info.stages["prediction"].fps)
    fps = request.clip.fps
    if fps is None or not seen or any(1 / FAMILIAR < fps / rate < FAMILIAR for rate in seen):
        return None
    rates = " or ".join(f"{rate:g}" for rate in sorted(seen))
    return f"key frames come at {fps:g} a second, their layers were trained at {rates}: expect less of them"


def _num_frames(asked: Asked, fps: float, usual: int) -> int:
    if asked.frames is not None:
        return asked.frames
    seconds = asked.seconds
    if seconds is None and asked.steer is not None:
        seconds = steering_seconds(asked.steer)
    return usual if seconds is None else max(1, round(seconds * fps))


def _check_members(stack: Stack, asked: Asked) -> None:
    """Refuse what the stack has no networks for. Raises ``ValueError``."""
    needs = (
        (
            asked.needs_start_frame,
            "temporal/prediction",
            "has no prediction layers, which --start-frame, --boxes, --light, --vehicles, --rollouts and --steer need",
            "train prediction",
        ),
        (
            asked.scene is not None,
            SCENE_ENCODER,
            "knows no scenes, which --boxes, --light and --vehicles need",
            "train boxes",
        ),
        (
            asked.passes > 0,
            "temporal/interpolation",
            "has no interpolation layers, which --interpolate needs",
            "train interpolation",
        ),
    )
    name = stack.info.name
    if stack.keyframe_set is None:
        raise ValueError(f"{name} is an image model without temporal layers; train them with `latentloom animate`")
    for asked_for, member, lack, command in needs:
        if asked_for and member not in stack.members:
            raise ValueError(f"{name} {lack}; train them with `latentloom {command}`")
    if asked.upsampling is not None and not stack.has_upsampler:
        raise ValueError(
            f"{name} has no upsampler, which --upsample needs; train one with `latentloom train upsampler` or name"
            " another model's with --upsampler"
        )
