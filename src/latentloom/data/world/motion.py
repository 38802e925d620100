"""How the camera moves: its speed by time, its drift within the lane, and the pinhole camera itself.

Everything is a closed formula of time, so a frame does not depend on the frame rate or on the frames before it. The
camera never rolls or pitches: image rows below the horizon are lines of equal depth, and so are columns of a wall.
"""

import cmath
import math
from dataclasses import dataclass

from latentloom.data.world.noise import cell_rng
from latentloom.data.world.road import Road
from latentloom.data.world.scene import WorldScene

WHEELBASE = 2.7
"""Metres between the axles, for the steering angle of a bicycle model."""
FULL_LOCK = math.radians(25.0)
"""Wheel angle that counts as steering 1."""
SPEED_CELL = 5.0
"""Seconds between two speeds of the profile."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pose and a pinhole. Pixel coordinates are continuous, the first pixel spans 0..1."""

    position: complex
    heading: float
    height: float
    """Metres above the ground."""
    focal: float
    """Pixels."""
    horizon: float
    """Row of the horizon, pixels."""
    middle: float
    """Column of the optical axis, pixels."""

    def see(self, point: complex) -> tuple[float, float]:
        """Right and forward coordinates (metres) of a ground position."""
        seen = (point - self.position) * cmath.exp(-1j * self.heading)
        return -seen.imag, seen.real


@dataclass(frozen=True, kw_only=True)
class EgoState:
    """The camera car at one moment."""

    time: float
    s: float
    camera: Camera
    speed: float
    """m/s over the ground."""
    steering: float
    """-1 full left .. 1 full right: wheel angle of a bicycle model over 25 degrees."""
    yaw_rate: float
    """rad/s, positive to the left."""


class Ego:
    """The camera's drive through a scene."""

    def __init__(self, scene: WorldScene, road: Road, height: int, width: int) -> None:
        self._scene, self._road = scene, road
        self._size = (height, width)
        self._speeds: list[float] = []
        self._distances = [scene.start]
        first, second, phase, other = cell_rng(scene.seed, 3, 0).random(4).tolist()
        self._waves = [(6.28 / (8 + 5 * first), 6.28 * phase, 0.65), (6.28 / (14 + 6 * second), 6.28 * other, 0.35)]
        """Rate (rad/s), phase and share of the drift's waves."""

    def _knot(self, index: int) -> float:
        while len(self._speeds) <= index:
            stray = float(cell_rng(self._scene.seed, 2, len(self._speeds)).uniform(-1, 1))
            self._speeds.append(max(self._scene.speed * (1 + self._scene.speed_change * stray), 0.5))
        return self._speeds[index]

    def distance(self, time: float) -> float:
        """Arc length of the road at which the camera is: the speed profile integrated in closed form."""
        cell, part = divmod(time / SPEED_CELL, 1.0)
        while len(self._distances) <= cell:
            done = len(self._distances) - 1
            self._distances.append(self._distances[-1] + SPEED_CELL * (self._knot(done) + self._knot(done + 1)) / 2)
        first, last = self._knot(int(cell)), self._knot(int(cell) + 1)
        return self._distances[int(cell)] + SPEED_CELL * (first * part + (last - first) * (part**3 - part**4 / 2))

    def _pose(self, time: float) -> tuple[complex, float]:
        s, step = self.distance(time), 1e-3
        ahead = self.distance(time + step) - s
        offset = self._scene.road.lane_offset(self._scene.lane)
        drift, slope = 0.0, 0.0
        for rate, phase, share in self._waves:
            drift += self._scene.wander * share * math.sin(rate * time + phase)
            slope += self._scene.wander * share * rate * math.cos(rate * time + phase)
        heading, curvature = self._road.course(s)
        along = ahead / step * (1 + curvature * (offset + drift))
        return self._road.place(s, offset + drift), heading - math.atan2(slope, along)

    def at(self, time: float) -> EgoState:
        """The camera car ``time`` seconds after the start (>= 0)."""
        height, width = self._size
        position, heading = self._pose(time)
        step = 0.02  # seconds to either side for the rates; one-sided at the very start
        before, after = max(time - step, 0.0), time + step
        (place_0, heading_0), (place_1, heading_1) = self._pose(before), self._pose(after)
        speed = abs(place_1 - place_0) / (after - before)
        yaw_rate = (heading_1 - heading_0) / (after - before)
        camera = Camera(
            position=position,
            heading=heading,
            height=self._scene.camera_height,
            focal=self._scene.focal * width,
            horizon=self._scene.horizon * height,
            middle=width / 2,
        )
        steering = -math.atan(WHEELBASE * yaw_rate / max(speed, 0.5)) / FULL_LOCK
        return EgoState(
            time=time,
            s=self.distance(time),
            camera=camera,
            speed=speed,
            steering=min(max(steering, -1.0), 1.0),
            yaw_rate=yaw_rate,
        )
