"""Upright flat walls with a pattern: facades, guard rails, noise barriers.

For a camera without roll and pitch every column of a wall has one depth. So the position along the wall is a function
of the column, height above the ground of column and row, and patterns made of bars filter exactly in both.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float

from latentloom.data.world.filters import pulses
from latentloom.data.world.light import Colour, rgb
from latentloom.data.world.motion import Camera
from latentloom.data.world.polygons import NEAR


@dataclass(frozen=True, kw_only=True)
class WallPixels:
    """A wall's pixels: positions in metres along the wall and above the ground, with what a pixel covers of each."""

    along: Float[np.ndarray, "w"]
    along_footprint: Float[np.ndarray, "w"]
    above: Float[np.ndarray, "h w"]
    above_footprint: Float[np.ndarray, "w"]


class WallPattern(Protocol):
    """What is painted on a wall: unlit colour and light of its own."""

    def __call__(self, pixels: WallPixels) -> tuple[np.ndarray, np.ndarray | None]: ...


@dataclass(frozen=True, kw_only=True)
class WallView:
    """A wall as a camera sees it."""

    corner: tuple[int, int]
    alpha: Float[np.ndarray, "h w"]
    depth: Float[np.ndarray, "1 w"]
    right: Float[np.ndarray, "1 w"]
    pixels: WallPixels


def see_wall(
    camera: Camera, start: complex, stop: complex, low: float, high: float, size: tuple[int, int]
) -> WallView | None:
    """The wall from ``start`` to ``stop`` on the ground, ``low`` to ``high`` metres above it; None if outside."""
    (x0, z0), (x1, z1) = camera.see(start), camera.see(stop)
    if max(z0, z1) < NEAR:
        return None
    length = abs(stop - start)
    ends = []
    for (x, z), (other_x, other_z) in (((x0, z0), (x1, z1)), ((x1, z1), (x0, z0))):
        if z < NEAR:
            part = (NEAR - z) / (other_z - z)
            x, z = x + part * (other_x - x), NEAR
        ends.append(camera.middle + camera.focal * x / z)
    u0, u1 = min(ends), max(ends)
    left, right = max(int(np.floor(u0)), 0), min(int(np.ceil(u1)), size[1])
    if left >= right:
        return None
    column = np.arange(left, right)
    # a sliver of a wall at the border of the first and last column would otherwise be looked at beyond its end
    ray = (np.clip(column + 0.5, u0, u1) - camera.middle) / camera.focal
    slant = (x1 - x0) - ray * (z1 - z0)
    part = np.clip((ray * z0 - x0) / np.where(np.abs(slant) < 1e-6, 1e-6, slant), 0, 1)
    depth = np.maximum(z0 + part * (z1 - z0), NEAR)
    scale = camera.focal / depth
    top = camera.horizon + (camera.height - high) * scale
    bottom = camera.horizon + (camera.height - low) * scale
    first, last = max(int(np.floor(top.min())), 0), min(int(np.ceil(bottom.max())), size[0])
    if first >= last:
        return None
    row = np.arange(first, last)[:, None]
    tall = np.minimum(row + 1, bottom) - np.maximum(row, top)
    wide = np.minimum(column + 1, u1) - np.maximum(column, u0)
    alpha = (np.clip(tall, 0, 1) * np.clip(wide, 0, 1)).astype(np.float32)
    footprint = np.abs(length * (x0 * (z1 - z0) - z0 * (x1 - x0)) / np.maximum(slant * slant, 1e-9)) / camera.focal
    pixels = WallPixels(
        along=(part * length).astype(np.float32),
        along_footprint=np.maximum(footprint, 1e-3).astype(np.float32),
        above=(camera.height - (row + 0.5 - camera.horizon) / scale).astype(np.float32),
        above_footprint=(1 / scale).astype(np.float32),
    )
    across = ((column + 0.5 - camera.middle) / scale)[None].astype(np.float32)
    return WallView(
        corner=(first, left), alpha=alpha, depth=depth[None].astype(np.float32), right=across, pixels=pixels
    )


@dataclass(frozen=True, kw_only=True)
class Facade:
    """Windows in rows on a plain wall, a base at street level, a cornice."""

    wall: Colour
    glass: Colour
    window: tuple[float, float]
    """Distance between windows and their width."""
    storey: float
    height: float
    lit: float
    """Share of windows with light, 0 by day."""
    lit_seed: int

    def __call__(self, pixels: WallPixels) -> tuple[np.ndarray, np.ndarray | None]:
        period, width = self.window
        shift = pixels.along - 0.5 * (period - width)
        columns = pulses(shift, period, width, pixels.along_footprint)
        storeys = pulses(pixels.above - 1.0, self.storey, self.storey * 0.52, pixels.above_footprint)
        glass = storeys * columns
        glass *= (pixels.above > self.storey * 0.9) & (pixels.above < self.height - 0.35)
        plain = np.clip(0.9 + 0.02 * pixels.above, 0, 1)
        plain -= 0.08 * pulses(pixels.above, self.storey, 0.16, pixels.above_footprint)
        shops = pulses(shift, period * 2, period * 1.6, pixels.along_footprint)
        street = 0.75 * shops * (pixels.above < self.storey * 0.85)
        # three weights per pixel, then one product with the three colours
        weights = np.stack([plain * (1 - glass - street), glass, street], -1, dtype=np.float32)
        colour = weights @ np.stack([self.wall, self.glass, rgb(0.2, 0.21, 0.23)])
        if not self.lit:
            return colour, None
        number = np.floor(shift / period) * 131 + np.floor((pixels.above - 1.0) / self.storey) * 71 + self.lit_seed
        chance = np.abs(np.sin(number * 12.9898)) * 437.585 % 1.0
        sharp = np.clip(1.5 - 2.0 * pixels.along_footprint / period, 0, 1)  # far away the lit share is all that is left
        on = (chance < self.lit) * sharp + self.lit * (1 - sharp)
        warm = rgb(1.0, 0.8, 0.45) * (0.55 + 0.35 * chance[..., None] / max(self.lit, 1e-3))
        return colour, ((glass + 0.6 * street) * on)[..., None] * warm


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A wall of one colour with horizontal ribs and upright joints."""

    colour: Colour
    rib: float
    joint: float
    offset: float
    """Where along a longer wall this piece starts."""

    def __call__(self, pixels: WallPixels) -> tuple[np.ndarray, np.ndarray | None]:
        ribs = pulses(pixels.above, self.rib, self.rib * 0.4, pixels.above_footprint)
        joints = pulses(pixels.along + self.offset, self.joint, 0.12, pixels.along_footprint)
        return self.colour * (1 - 0.2 * ribs - 0.25 * joints)[..., None], None
