"""The ground plane as a camera sees it: where on it every pixel lies, and where along the road that is."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from latentloom.data.world.motion import Camera
from latentloom.data.world.road import Stretch

FAR = 1500.0
"""Metres at which the plane ends in haze."""

Plane = Float[np.ndarray, "rows w"]
Row = Float[np.ndarray, "rows 1"]


@dataclass(frozen=True, kw_only=True)
class GroundPixels:
    """Where the pixels below the horizon lie on the plane, in metres; fixed for a camera that never pitches."""

    top: int
    """First row of the frame that shows ground."""
    right: Plane
    forward: Row
    across: Row
    """What a pixel covers sideways."""
    along: Row
    """What a pixel covers in depth."""
    ray: Float[np.ndarray, "1 w"]
    """Right over forward, by column."""


@dataclass(frozen=True, kw_only=True)
class RoadPixels:
    """Road coordinates of the pixels below the horizon, in metres."""

    start: int
    """Arc length that ``s`` counts from: kept apart, so that float32 stays exact far down the road."""
    s: Plane
    d: Plane
    """To the right of the road's middle."""
    side: Plane
    """Absolute value of d."""
    wide: Plane
    """What a pixel covers of d."""
    long: Plane
    """What a pixel covers of s."""

    def since(self, period: float) -> Plane:
        """``s`` shifted by whole periods, so that patterns of this period keep their place on the road."""
        return self.s + np.float32(self.start % period)


def ground_pixels(camera: Camera, height: int, width: int) -> GroundPixels:
    """The pixels of the plane."""
    top = int(np.ceil(camera.horizon - 0.5 + 1e-6))
    below = np.arange(top, height, dtype=np.float64)[:, None] + 0.5 - camera.horizon
    rise = camera.focal * camera.height
    forward = np.minimum(rise / np.maximum(below, 1e-3), FAR)
    along = np.minimum(rise / np.maximum(below - 0.5, 1e-3), 2 * FAR) - rise / (below + 0.5)
    ray = (np.arange(width)[None] + 0.5 - camera.middle) / camera.focal
    return GroundPixels(
        top=top,
        right=(ray * forward).astype(np.float32),
        forward=forward.astype(np.float32),
        across=(forward / camera.focal).astype(np.float32),
        along=along.astype(np.float32),
        ray=ray.astype(np.float32),
    )


class _Foot(NamedTuple):
    """A step of the search for the point of the road nearest to each pixel."""

    s: Plane
    d: Plane
    sine: Plane
    """Of the road's direction there against the view, positive to the right."""
    cosine: Plane


def _foot(pixels: GroundPixels, stretch: Stretch, guess: Plane) -> _Foot:
    """From the grid point nearest to the guess along the arc through it."""
    index = np.clip(guess + 0.5, 0, len(stretch.right) - 1).astype(np.int32)
    x, z = pixels.right - stretch.right.take(index), pixels.forward - stretch.forward.take(index)
    sine, cosine = stretch.sine.take(index), stretch.cosine.take(index)
    curvature = stretch.curvature.take(index)
    along, across = x * sine + z * cosine, x * cosine - z * sine
    inside = np.maximum(1.0 + curvature * across, 0.3)
    step = along / inside
    lost = np.maximum(np.abs(step) - 1.5, 0.0)  # beyond the ends, or no foot point: far from the road
    d = across + 0.5 * curvature * along * step
    return _Foot((index + step).astype(np.float32), d + np.copysign(lost, d), sine, cosine)


def road_pixels(pixels: GroundPixels, stretch: Stretch) -> RoadPixels:
    """Road coordinates, by fixed-point iteration."""
    foot = _foot(pixels, stretch, _first_guess(pixels, stretch))
    for _ in range(2):
        foot = _foot(pixels, stretch, foot.s)
    # how far d and s move over one pixel, in both directions of the picture
    deep, flat = pixels.ray * foot.cosine - foot.sine, foot.cosine + pixels.ray * foot.sine
    wide = np.sqrt((pixels.across * foot.cosine) ** 2 + (pixels.along * deep) ** 2)
    long = np.sqrt((pixels.along * flat) ** 2 + (pixels.across * foot.sine) ** 2)
    return RoadPixels(start=stretch.start, s=foot.s, d=foot.d, side=np.abs(foot.d), wide=wide, long=long)


def _first_guess(pixels: GroundPixels, stretch: Stretch) -> Plane:
    """Arc length where the road is as far ahead as the pixel, moved along the road's direction there."""
    turned_away = np.flatnonzero(np.diff(stretch.forward) <= 0.05)
    count = int(turned_away[0]) + 1 if len(turned_away) else len(stretch.forward)
    metres = np.arange(len(stretch.right))
    ahead = np.interp(pixels.forward[:, 0], stretch.forward[:count], metres[:count])
    middle = np.interp(ahead, metres, stretch.right)[:, None]
    sine = np.interp(ahead, metres, stretch.sine)[:, None]
    return (ahead[:, None] + (pixels.right - middle) * sine).astype(np.float32)
