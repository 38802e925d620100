"""Flat pictures that stand upright at the roadside: trees, bushes, posts, lamps, signs; and how they are drawn.

A sprite keeps summed-area tables of its texture, so that drawing it at any size is an exact box filter: it shrinks
smoothly to nothing with distance, and never shimmers.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float

SpriteKind = Literal["tree", "poplar", "conifer", "bush", "pole", "lamp", "post", "sign", "limit", "board", "signal"]

SIZES: dict[str, tuple[float, float]] = {
    "tree": (7.0, 8.0),
    "poplar": (3.4, 10.0),
    "conifer": (4.6, 9.5),
    "bush": (3.2, 1.9),
    "pole": (2.2, 7.5),
    "lamp": (3.4, 8.0),
    "post": (0.16, 1.05),
    "sign": (0.9, 2.9),
    "limit": (0.8, 2.7),
    "board": (4.6, 6.0),
    "signal": (0.7, 4.2),
}
"""Width and height in metres at scale 1."""
PLANTS = ("tree", "poplar", "conifer", "bush")
VARIANTS = 6
"""Different pictures of each plant."""

Texture = Float[np.ndarray, "h w 4"]


@dataclass(frozen=True, eq=False)
class Sprite:
    """Summed-area tables (rows + 1, columns + 1, 4) of a premultiplied texture, at full size, half, quarter, ..."""

    tables: tuple[np.ndarray, ...]


def sprite_of(texture: Texture) -> Sprite:
    """Tables of a texture (red, green, blue multiplied by alpha; alpha), sides powers of two."""
    tables: list[np.ndarray] = []
    while True:
        height, width = texture.shape[:2]
        table = np.zeros((height + 1, width + 1, 4), np.float32)
        table[1:, 1:] = texture.astype(np.float64).cumsum(0).cumsum(1)
        tables.append(table)
        if min(height, width) <= 4:
            return Sprite(tuple(tables))
        texture = texture.reshape(height // 2, 2, width // 2, 2, 4).mean((1, 3))


def _edges(low: float, high: float, first: int, last: int, texels: int) -> tuple[np.ndarray, np.ndarray]:
    """Both edges of the filter of pixels ``first..last - 1``, in texels, and the filter's widths."""
    scale = texels / (high - low)
    middle = (np.arange(first, last) + (0.5 - low)) * scale
    half = 0.5 * max(scale, 1.0)  # at least a texel wide: enlarging then interpolates
    return np.concatenate([middle - half, middle + half]).clip(0, texels), np.full(last - first, 2 * half, np.float32)


def _between(table: np.ndarray, edges: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Mean over intervals along the first axis of a cumulative table."""
    index = np.minimum(edges.astype(np.int64), len(table) - 2)
    part = (edges - index).astype(np.float32).reshape(-1, *[1] * (table.ndim - 1))
    low = table[index]
    value = low + (table[index + 1] - low) * part
    count = len(widths)
    return (value[count:] - value[:count]) / widths.reshape(-1, *[1] * (table.ndim - 1))


def resample(
    sprite: Sprite, box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[tuple[int, int], Texture] | None:
    """The sprite filling ``box`` (u0, v0, u1, v1 in pixels) of a frame: first pixel and patch; None if outside."""
    u0, v0, u1, v1 = box
    top, bottom = max(int(np.floor(v0)), 0), min(int(np.ceil(v1)), size[0])
    left, right = max(int(np.floor(u0)), 0), min(int(np.ceil(u1)), size[1])
    if top >= bottom or left >= right:
        return None
    ratio = (sprite.tables[0].shape[0] - 1) / (v1 - v0)
    table = sprite.tables[int(np.clip(np.log2(max(ratio, 1e-6)) - 0.5, 0, len(sprite.tables) - 1))]
    rows, heights = _edges(v0, v1, top, bottom, table.shape[0] - 1)
    columns, widths = _edges(u0, u1, left, right, table.shape[1] - 1)
    strip = _between(table, rows, heights)
    patch = _between(strip.swapaxes(0, 1), columns, widths)
    return (top, left), patch.swapaxes(0, 1)


def _blank(height: int, width: int) -> tuple[Texture, np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.zeros((height, width, 4), np.float32), (x + 0.5) / width, (y + 0.5) / height


def _lay(texture: Texture, cover: np.ndarray, colour: tuple[float, float, float] | np.ndarray) -> None:
    alpha = np.clip(cover, 0, 1)[..., None]
    texture[..., :3] += alpha * (np.asarray(colour, np.float32) - texture[..., :3])
    texture[..., 3:] += alpha * (1 - texture[..., 3:])


def _leaves(
    texture: Texture,
    x: np.ndarray,
    y: np.ndarray,
    blobs: list[tuple[float, float, float]],
    green: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Round tufts, dark ones first, each lit from above."""
    for depth, (u, v, radius) in enumerate(blobs):
        fray = 0.12 * np.sin(np.arctan2(y - v, x - u) * rng.integers(5, 9) + rng.uniform(0, 6)) * radius
        inside = np.clip((radius + fray - np.hypot(x - u, y - v)) * 45 + 0.5, 0, 1)
        light = 0.55 + 0.5 * depth / len(blobs) - 0.55 * (y - v) / max(radius, 0.05) * 0.5
        speckle = 1 + 0.16 * rng.standard_normal(x.shape).astype(np.float32)
        _lay(texture, inside, green * (light * speckle)[..., None])


def _plant(kind: str, variant: int) -> Texture:
    rng = np.random.default_rng([variant, len(kind), ord(kind[0])])
    texture, x, y = _blank(128, 64 if kind in ("poplar", "conifer") else 128)
    autumn = rng.random() ** 2
    green = np.array([0.2 + 0.16 * autumn, 0.33 - 0.02 * autumn, 0.12], np.float32) * rng.uniform(0.85, 1.2)
    bark = np.array([0.24, 0.18, 0.13], np.float32)
    if kind == "bush":
        blobs = [(0.5 + rng.uniform(-0.3, 0.3), rng.uniform(0.45, 0.8), rng.uniform(0.14, 0.2)) for _ in range(18)]
    elif kind == "tree":
        _lay(texture, np.clip((0.03 + 0.02 * y - np.abs(x - 0.5)) * 128, 0, 1) * (y > 0.55), bark)
        angle, reach = rng.uniform(0, 6.28, 30), rng.uniform(0, 1, 30) ** 0.6
        blobs = [
            (0.5 + 0.3 * r * np.cos(a), 0.36 + 0.24 * r * np.sin(a), rng.uniform(0.1, 0.16))
            for a, r in zip(angle, reach, strict=True)
        ]
    elif kind == "poplar":
        _lay(texture, np.clip((0.05 - np.abs(x - 0.5)) * 64, 0, 1) * (y > 0.8), bark)
        blobs = [(0.5 + rng.uniform(-0.14, 0.14), v, 0.13 + 0.1 * np.sin(v * 3.4)) for v in rng.uniform(0.14, 0.86, 26)]
    else:
        _lay(texture, np.clip((0.04 - np.abs(x - 0.5)) * 64, 0, 1) * (y > 0.8), bark)
        tiers = (y * 7) % 1
        half = 0.05 + 0.42 * (y / 0.94) * (0.62 + 0.38 * tiers)
        cover = np.clip((half - np.abs(x - 0.5) + 0.02 * rng.standard_normal(x.shape)) * 40, 0, 1) * (y < 0.94)
        tone = (0.62 + 0.35 * tiers) * (1 + 0.15 * rng.standard_normal(x.shape))
        _lay(texture, cover, np.array([0.13, 0.26, 0.15], np.float32) * tone[..., None])
        return texture
    blobs.sort(key=lambda blob: -blob[1])
    _leaves(texture, x, y, blobs, green, rng)
    return texture


def _furniture(kind: str) -> Texture:
    tall = {"post": (64, 16), "sign": (128, 32), "limit": (128, 32), "board": (128, 128), "signal": (128, 16)}
    texture, x, y = _blank(*tall.get(kind, (128, 64)))
    grey = (0.42, 0.43, 0.45)
    if kind == "pole":
        _lay(texture, np.clip((0.045 - np.abs(x - 0.5)) * 64, 0, 1), (0.3, 0.23, 0.17))
        _lay(texture, (np.abs(y - 0.07) < 0.014).astype(float) + (np.abs(y - 0.15) < 0.014), (0.27, 0.21, 0.16))
    elif kind == "lamp":  # the mast stands in the middle, the arm reaches to the left (over the road, if on the right)
        _lay(texture, np.clip((0.026 - np.abs(x - 0.5)) * 64, 0, 1) * (y > 0.03), grey)
        _lay(texture, ((np.abs(y - 0.03) < 0.01) & (x < 0.5) & (x > 0.08)).astype(float), grey)
        _lay(texture, ((np.abs(y - 0.045) < 0.012) & (x < 0.24) & (x > 0.05)).astype(float), (0.8, 0.8, 0.76))
    elif kind == "post":
        _lay(texture, np.ones_like(x), (0.92, 0.92, 0.9))
        _lay(texture, (np.abs(y - 0.22) < 0.12).astype(float), (0.12, 0.12, 0.12))
        _lay(texture, (np.abs(y - 0.22) < 0.07) * (np.abs(x - 0.5) < 0.3) * 1.0, (0.85, 0.25, 0.12))
    elif kind == "board":
        _lay(texture, (np.abs(np.abs(x - 0.5) - 0.3) < 0.02).astype(float), grey)
        _lay(texture, (y < 0.48).astype(float), (0.92, 0.93, 0.92))
        _lay(texture, ((y < 0.455) & (y > 0.025) & (np.abs(x - 0.5) < 0.475)).astype(float), (0.05, 0.33, 0.2))
        for row, end in ((0.12, 0.8), (0.24, 0.62), (0.36, 0.72)):
            words = (np.abs(y - row) < 0.03) & (x > 0.12) & (x < end) & ((x * 23) % 1 > 0.25)
            _lay(texture, words.astype(float), (0.9, 0.92, 0.9))
    elif kind == "signal":
        _lay(texture, np.clip((0.14 - np.abs(x - 0.5)) * 16, 0, 1), (0.25, 0.26, 0.27))
        _lay(texture, (y < 0.27).astype(float), (0.08, 0.08, 0.08))
        for row, colour in ((0.05, (0.3, 0.05, 0.04)), (0.13, (0.3, 0.22, 0.03)), (0.21, (0.1, 0.95, 0.4))):
            _lay(texture, np.clip((0.032 - np.hypot((x - 0.5) * 0.14, y - row)) * 90, 0, 1), colour)
    else:
        _lay(texture, np.clip((0.05 - np.abs(x - 0.5)) * 32, 0, 1) * (y > 0.2), grey)
        away = np.hypot(x - 0.5, (y - 0.16) * 3.2) if kind == "limit" else np.abs(x - 0.5) + np.abs((y - 0.16) * 3.2)
        rim, face = ((0.8, 0.1, 0.08), (0.95, 0.95, 0.93)) if kind == "limit" else ((0.1, 0.1, 0.1), (0.95, 0.78, 0.12))
        _lay(texture, np.clip((0.48 - away) * 32, 0, 1), rim)
        _lay(texture, np.clip((0.36 - away) * 32, 0, 1), face)
        _lay(texture, (np.hypot(x - 0.5, (y - 0.16) * 3.2) < 0.16).astype(float), (0.13, 0.13, 0.13))
    return texture


@lru_cache(maxsize=128)
def sprite(kind: SpriteKind, variant: int) -> Sprite:
    """The picture of a thing; ``variant`` in 0..5 changes plants only."""
    return sprite_of(_plant(kind, variant) if kind in PLANTS else _furniture(kind))
