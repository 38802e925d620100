"""Convex polygons on the screen with smooth edges, and flat faces in front of a camera."""

import numpy as np
from jaxtyping import Float

NEAR = 0.35
"""Metres; nothing nearer is drawn."""

Window = tuple[tuple[int, int], tuple[int, int]]
"""First pixel (row, column) and shape (rows, columns) of a part of the frame."""


def touched(polygon: Float[np.ndarray, "n 2"], frame: Window, margin: int = 1) -> Window | None:
    """The part of ``frame`` a polygon (columns, rows) may touch, or None."""
    u0, v0, u1, v1 = *polygon.min(0).tolist(), *polygon.max(0).tolist()
    (top, left), (rows, columns) = frame
    first_row, last_row = max(int(v0 // 1) - margin, top), min(int(v1 // 1) + 1 + margin, top + rows)
    first, last = max(int(u0 // 1) - margin, left), min(int(u1 // 1) + 1 + margin, left + columns)
    if first_row >= last_row or first >= last:
        return None
    return (first_row, first), (last_row - first_row, last - first)


def pixel_centres(window: Window) -> tuple[Float[np.ndarray, "1 w"], Float[np.ndarray, "h 1"]]:
    """Columns and rows of the centres of a window's pixels."""
    (row, column), (rows, columns) = window
    x = np.arange(column, column + columns, dtype=np.float32)[None] + np.float32(0.5)
    y = np.arange(row, row + rows, dtype=np.float32)[:, None] + np.float32(0.5)
    return x, y


def covers(polygons: Float[np.ndarray, "p n 2"], window: Window, soft: float = 1.0) -> Float[np.ndarray, "p h w"]:
    """Share of each pixel inside each polygon (clockwise, corners may repeat); edges are ``soft`` pixels wide."""
    x, y = pixel_centres(window)
    edge = np.roll(polygons, -1, 1) - polygons
    length = np.hypot(edge[..., 0], edge[..., 1])
    real = length > 1e-6
    scale = np.where(real, 1.0 / (np.maximum(length, 1e-6) * soft), 0.0)
    a, b = -edge[..., 1] * scale, edge[..., 0] * scale
    c = np.where(real, -(a * polygons[..., 0] + b * polygons[..., 1]), 1e9)
    a, b, c = (part.astype(np.float32)[..., None, None] for part in (a, b, c))
    rows, columns = b * y, a * x + c
    inside = rows[:, 0] + columns[:, 0]
    for corner in range(1, polygons.shape[1]):
        np.minimum(inside, rows[:, corner] + columns[:, corner], out=inside)
    inside += np.float32(0.5)
    return np.clip(inside, 0.0, 1.0, out=inside)


def clip_near(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 3"]:
    """The part of a polygon (right, down, forward) beyond the near plane."""
    if points[:, 2].min() >= NEAR:
        return points
    kept: list[np.ndarray] = []
    for first, second in zip(points, np.roll(points, -1, 0), strict=True):
        if first[2] >= NEAR:
            kept.append(first)
        if (first[2] >= NEAR) != (second[2] >= NEAR):
            kept.append(first + (second - first) * (NEAR - first[2]) / (second[2] - first[2]))
    return np.array(kept).reshape(-1, 3)
