"""The road's course: a plane curve by arc length, extended as far as anyone drives.

Positions on the ground are complex numbers (metres), headings radians anticlockwise. Curvature (1/m, positive to the
left) runs smoothly between random knots; heading and position are integrated on a one-metre grid. ``d`` is metres to
the right of the road's middle.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from latentloom.data.world.noise import smoothstep
from latentloom.data.world.scene import WorldScene

BEHIND = 400
"""Metres of road that exist behind the start."""


class Stretch(NamedTuple):
    """A piece of the grid, one entry per metre, as seen from a camera: its right and forward coordinates."""

    start: int
    right: Float[np.ndarray, "n"]
    forward: Float[np.ndarray, "n"]
    sine: Float[np.ndarray, "n"]
    """Tangent's right component (negative where the road turns left)."""
    cosine: Float[np.ndarray, "n"]
    curvature: Float[np.ndarray, "n"]


class Road:
    """Centre line of a scene, by arc length ``s`` in metres; its heading at s = 0 is 0."""

    def __init__(self, scene: WorldScene) -> None:
        self._rng = np.random.default_rng([scene.seed, 1])
        self._place, self._scale = scene.road, scene.curviness
        self._spacing = float(np.clip(scene.road.radius * 0.6, 45, 140))
        self._knots: list[float] = [0.0]
        self._positions = np.zeros(1, np.complex128)
        self._headings = np.zeros(1)
        self._curvatures = np.zeros(1)
        self._extend(2 * BEHIND)
        self._positions -= self._positions[BEHIND]
        self._positions *= np.exp(-1j * self._headings[BEHIND])
        self._headings -= self._headings[BEHIND]

    def _next_knot(self) -> float:
        """Curvature of the next knot: straight, or a bend that more often swings back than on."""
        straight, sharp, side = self._rng.random(3)
        if straight < self._place.straight:
            return 0.0
        last = np.sign(self._knots[-1])
        sign = -last if last and side < 0.65 else (1.0 if side * 7 % 1 < 0.5 else -1.0)
        return float(sign * self._scale * (0.25 + 0.75 * sharp**1.3) / self._place.radius)

    def _extend(self, count: int) -> None:
        """Lengthen the grid to at least ``count`` metres, in equal pieces: rounding is the same for every caller."""
        while len(self._headings) < count:
            self._add_piece()

    def _add_piece(self) -> None:
        have = len(self._headings)
        s = np.arange(have - 1, have + 1024)
        while len(self._knots) < s[-1] / self._spacing + 2:
            self._knots.append(self._next_knot())
        knot = (s / self._spacing).astype(int)
        knots = np.array(self._knots)
        bend = knots[knot] + (knots[knot + 1] - knots[knot]) * smoothstep(s / self._spacing - knot)
        turn = np.concatenate([[0.0], np.cumsum((bend[1:] + bend[:-1]) / 2)]) + self._headings[-1]
        step = np.exp(0.5j * (turn[1:] + turn[:-1])) * np.sinc((turn[1:] - turn[:-1]) / (2 * np.pi))
        place = np.concatenate([[0.0], np.cumsum(step)]) + self._positions[-1]
        self._positions = np.concatenate([self._positions[:-1], place])
        self._headings = np.concatenate([self._headings[:-1], turn])
        self._curvatures = np.concatenate([self._curvatures[:-1], bend])

    def _locate(self, s: Float[np.ndarray, "n"]) -> tuple[np.ndarray, np.ndarray]:
        at = np.maximum(s + BEHIND, 0.0)
        self._extend(int(np.max(at, initial=0)) + 2)
        index = at.astype(np.int64)
        return index, at - index

    def place(self, s: float, d: float) -> complex:
        """Ground position ``d`` metres to the right of the middle at ``s``."""
        return complex(self.point(np.array([s]), np.array([d]))[0])

    def course(self, s: float) -> tuple[float, float]:
        """Heading and curvature at ``s``."""
        index, part = self._locate(np.array([s]))
        at, share = int(index[0]), float(part[0])
        heading = self._headings[at] + (self._headings[at + 1] - self._headings[at]) * share
        return float(heading), float(self._curvatures[at] + (self._curvatures[at + 1] - self._curvatures[at]) * share)

    def heading(self, s: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Direction of the road at ``s``."""
        index, part = self._locate(s)
        return self._headings[index] * (1 - part) + self._headings[index + 1] * part

    def point(self, s: Float[np.ndarray, "n"], d: Float[np.ndarray, "n"]) -> Complex[np.ndarray, "n"]:
        """Ground positions ``d`` metres to the right of the middle at ``s``."""
        index, part = self._locate(s)
        start, stop = self._positions[index], self._positions[index + 1]
        first, last = np.exp(1j * self._headings[index]), np.exp(1j * self._headings[index + 1])
        bow = part * (1 - part) * ((1 - part) * (first - (stop - start)) - part * (last - (stop - start)))
        return start + part * (stop - start) + bow - 1j * d * np.exp(1j * self.heading(s))

    def stretch(self, start: int, count: int, origin: complex, heading: float) -> Stretch:
        """``count`` metres of the grid from ``start`` on, as seen from ``origin`` looking along ``heading``."""
        first = max(start + BEHIND, 0)
        self._extend(first + count + 1)
        piece = slice(first, first + count)
        seen = np.asarray((self._positions[piece] - origin) * np.exp(-1j * heading), np.complex128)
        turned = self._headings[piece] - heading
        return Stretch(
            start=first - BEHIND,
            right=(-seen.imag).astype(np.float32),
            forward=seen.real.astype(np.float32),
            sine=(-np.sin(turned)).astype(np.float32),
            cosine=np.cos(turned).astype(np.float32),
            curvature=self._curvatures[piece].astype(np.float32),
        )
