"""The picture under construction: colour, depth and owner of every pixel, and how a patch is painted into it.

Patches arrive roughly from far to near with their own depth; a depth test settles what the order cannot. Owners and
depths make the truth (boxes, flow); they change hands where a patch covers at least half of a pixel.
"""

import numpy as np
from jaxtyping import Bool, Float

SKY, GROUND = 0, 1
"""Owners that are not objects."""


class Canvas:
    """``colour`` h w 3 in 0..1, ``depth`` h w in metres along the optical axis, ``owner`` h w keys (int64)."""

    def __init__(self, height: int, width: int) -> None:
        self.colour = np.zeros((height, width, 3), np.float32)
        self.depth = np.full((height, width), np.inf, np.float32)
        self.owner = np.full((height, width), SKY, np.int64)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.depth.shape
        return height, width

    def paint(
        self,
        corner: tuple[int, int],
        colour: Float[np.ndarray, "h w 3"],
        alpha: Float[np.ndarray, "h w"],
        depth: Float[np.ndarray, "#h #w"] | float,
        owner: int,
    ) -> Bool[np.ndarray, "h w"]:
        """Lay a patch (``colour`` already multiplied by ``alpha``) with its first pixel at row, column ``corner``.

        Returns where the patch was solid, whether seen or hidden.
        """
        rows = slice(corner[0], corner[0] + alpha.shape[0])
        columns = slice(corner[1], corner[1] + alpha.shape[1])
        under = self.depth[rows, columns]
        seen = (under > depth).astype(np.float32)
        picture = self.colour[rows, columns]
        picture *= (1.0 - alpha * seen)[..., None]
        picture += colour * seen[..., None]
        solid = alpha >= 0.5
        taken = solid & (seen > 0)
        np.copyto(under, depth, where=taken)
        np.copyto(self.owner[rows, columns], owner, where=taken)
        return solid

    def glow(self, u: float, v: float, radius: float, colour: np.ndarray, depth: float) -> None:
        """Add light around a lamp at column ``u``, row ``v``, unless something nearer hides it."""
        height, width = self.size
        row, column = int(v), int(u)
        if not (0 <= row < height and 0 <= column < width) or self.depth[row, column] < depth - 1.0:
            return
        reach = 3.0 * radius
        top, bottom = max(int(v - reach), 0), min(int(v + reach) + 1, height)
        left, right = max(int(u - reach), 0), min(int(u + reach) + 1, width)
        y = (np.arange(top, bottom, dtype=np.float32) + 0.5 - v) / radius
        x = (np.arange(left, right, dtype=np.float32) + 0.5 - u) / radius
        # a product of two one-dimensional bells is a round bell
        self.colour[top:bottom, left:right] += (np.exp(-y * y)[:, None] * np.exp(-x * x))[..., None] * colour
