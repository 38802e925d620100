"""Frames of a world with their truth: one by one for as long as wanted, or a clip of known length."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from torch import Tensor

from latentloom.data.world.picture import Painter, Picture
from latentloom.data.world.scene import WorldScene
from latentloom.data.world.traffic import cars_at
from latentloom.data.world.truth import Box, flow_between, list_boxes
from latentloom.data.world.words import WorldWords, describe

DARKNESS = {"day": 0.0, "dusk": 0.5, "night": 1.0}


@dataclass(frozen=True, kw_only=True)
class WorldFrame:
    """A frame and what is true of it."""

    pixels: UInt8[Tensor, "h w 3"]
    time: float
    """Seconds after the start."""
    speed: float
    """m/s."""
    steering: float
    """-1 full left .. 1 full right (25 degrees of the wheels)."""
    yaw_rate: float
    """rad/s, positive to the left."""
    boxes: tuple[Box, ...]
    flow: Float32[Tensor, "h w 2"] | None
    """Pixels (right, down) to the next frame of the stream."""
    flow_valid: Bool[Tensor, "h w"] | None


@dataclass(frozen=True, kw_only=True)
class WorldClip:
    """A rendered clip: ``t`` frames and their truth. Lists have one entry per frame."""

    scene: WorldScene
    frames: UInt8[Tensor, "t h w 3"]
    fps: float
    times: Float64[Tensor, "t"]
    speed: Float[Tensor, "t"]
    """m/s."""
    steering: Float[Tensor, "t"]
    """-1 full left .. 1 full right."""
    yaw_rate: Float[Tensor, "t"]
    """rad/s, positive to the left."""
    boxes: tuple[tuple[Box, ...], ...]
    flow: Float32[Tensor, "t-1 h w 2"] | None
    """Pixels (right, down) from frame k to k + 1; see ``truth.flow_between``."""
    flow_valid: Bool[Tensor, "t-1 h w"] | None

    @property
    def words(self) -> WorldWords:
        """The whole clip in words."""
        return self.words_of(0, len(self.frames))

    @property
    def caption(self) -> str:
        """The whole clip in a sentence."""
        return self.words.caption

    def words_of(self, start: int, stop: int) -> WorldWords:
        """Frames ``start`` to ``stop - 1`` in words.

        Raises:
            ValueError: no such frames.
        """
        if not 0 <= start < stop <= len(self.frames):
            raise ValueError(f"frames {start} to {stop} were asked of {len(self.frames)}: expected 0 <= start < stop")
        vehicles = [float(len(boxes)) for boxes in self.boxes[start:stop]]
        return describe(self.scene, self.speed[start:stop].tolist(), self.yaw_rate[start:stop].tolist(), vehicles)

    @property
    def labels(self) -> dict[str, list[float]]:
        """Numbers per frame: speed (m/s), steering (-1..1), vehicles (boxes), night (0 day, 0.5 dusk, 1 night)."""
        return {
            "speed": self.speed.tolist(),
            "steering": self.steering.tolist(),
            "vehicles": [float(len(boxes)) for boxes in self.boxes],
            "night": [DARKNESS[self.scene.time_of_day]] * len(self.frames),
        }


def _pixels(picture: Picture) -> UInt8[Tensor, "h w 3"]:
    colour = picture.canvas.colour * 255.0
    colour += 0.5
    return torch.from_numpy(np.clip(colour, 0, 255, out=colour).astype(np.uint8))


def frames(
    scene: WorldScene, fps: float, *, height: int = 128, width: int = 256, flow: bool = False
) -> Iterator[WorldFrame]:
    """Frames 0, 1, 2, ... of a scene, for ever, in memory that does not grow with their number.

    Raises:
        ValueError: fps or size out of range.
    """
    if not 0 < fps <= 1000:
        raise ValueError(f"fps is {fps}, expected more than 0 and at most 1000")
    if not (16 <= height <= 4096 and 16 <= width <= 4096):
        raise ValueError(f"the size is {height}x{width}, expected 16 to 4096 both ways")
    return _frames(scene, fps, height, width, flow)


def _frames(scene: WorldScene, fps: float, height: int, width: int, flow: bool) -> Iterator[WorldFrame]:
    painter, number = Painter(scene, height, width), 0
    picture = painter.draw(0.0)
    while True:
        number += 1
        after = painter.draw(number / fps) if flow else None
        motion = valid = None
        if after is not None:
            later = cars_at(scene, after.ego.s, after.ego.time)
            motion, valid = (torch.from_numpy(part) for part in flow_between(picture, after, later, painter.road))
        yield WorldFrame(
            pixels=_pixels(picture),
            time=picture.ego.time,
            speed=picture.ego.speed,
            steering=picture.ego.steering,
            yaw_rate=picture.ego.yaw_rate,
            boxes=list_boxes(picture),
            flow=motion,
            flow_valid=valid,
        )
        picture = after if after is not None else painter.draw(number / fps)


def render(
    scene: WorldScene, num_frames: int, fps: float, height: int = 128, width: int = 256, flow: bool = False
) -> WorldClip:
    """The first ``num_frames`` frames of a scene at ``fps`` frames per second.

    Frame k shows the scene k / fps seconds after its start, so a longer clip begins with the shorter one's frames and
    another frame rate samples the same drive. ``flow`` adds optical flow (about half as fast).

    Raises:
        ValueError: num_frames, fps or the size out of range.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames is {num_frames}, expected at least 1")
    drawn = list(islice(frames(scene, fps, height=height, width=width, flow=flow), num_frames))
    motions = [(frame.flow, frame.flow_valid) for frame in drawn[:-1]]
    return WorldClip(
        scene=scene,
        frames=torch.stack([frame.pixels for frame in drawn]),
        fps=float(fps),
        times=torch.tensor([frame.time for frame in drawn], dtype=torch.float64),
        speed=torch.tensor([frame.speed for frame in drawn]),
        steering=torch.tensor([frame.steering for frame in drawn]),
        yaw_rate=torch.tensor([frame.yaw_rate for frame in drawn]),
        boxes=tuple(frame.boxes for frame in drawn),
        flow=torch.stack([m for m, _ in motions if m is not None]) if flow and motions else None,
        flow_valid=torch.stack([v for _, v in motions if v is not None]) if flow and motions else None,
    )
