"""The shapes of vehicles: a few flat faces each, in metres."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from latentloom.data.world.scene import CarKind

Material = Literal["body", "lower", "glass", "dark", "tail", "head", "plate", "tyre", "hub", "under"]
MATERIALS: tuple[str, ...] = get_args(Material)
Corner = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Measures of a kind of vehicle: the body, and the cabin on it as (back, front) at its foot and at its roof."""

    length: float
    width: float
    height: float
    belt: float
    """Height of the body's upper edge."""
    hood: float
    """Height of the body at its front."""
    foot: tuple[float, float]
    roof: tuple[float, float]
    narrow: float
    """Width of the roof over that of the body."""
    wheel: float = 0.33


SHAPES: dict[CarKind, Shape] = {
    "car": Shape(
        length=4.4, width=1.8, height=1.45, belt=0.93, hood=0.78, foot=(-1.8, 1.0), roof=(-1.1, 0.2), narrow=0.78
    ),
    "suv": Shape(
        length=4.6, width=1.88, height=1.7, belt=1.05, hood=0.95, foot=(-2.25, 1.1), roof=(-1.95, 0.4), narrow=0.82
    ),
    "van": Shape(
        length=5.2, width=1.98, height=2.2, belt=1.2, hood=1.05, foot=(-2.58, 1.9), roof=(-2.5, 1.2), narrow=0.92
    ),
    "truck": Shape(
        length=9.0,
        width=2.45,
        height=3.5,
        belt=1.1,
        hood=1.1,
        foot=(-4.5, 4.45),
        roof=(-4.5, 4.3),
        narrow=1,
        wheel=0.48,
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Mesh:
    """Faces in painting order; corners clockwise as seen from outside, in the vehicle's frame (right, up, forward).

    Faces with fewer corners repeat their last one.
    """

    corners: Float[np.ndarray, "p n 3"]
    counts: Int[np.ndarray, "p"]
    materials: Int[np.ndarray, "p"]


class _Drawing:
    """Collects faces."""

    def __init__(self, detailed: bool) -> None:
        self.detailed = detailed
        self.faces: list[tuple[list[Corner], Material]] = []

    def add(self, corners: list[Corner], material: Material, detail: bool = False) -> None:
        if self.detailed or not detail:
            self.faces.append((corners, material))

    def end(self, z: float, x: tuple[float, float], y: tuple[float, float], material: Material, detail: bool) -> None:
        """An upright rectangle across the vehicle at ``z``, to be seen from outside."""
        corners = [(x[0], y[0], z), (x[0], y[1], z), (x[1], y[1], z), (x[1], y[0], z)]
        self.add(corners if z < 0 else corners[::-1], material, detail)

    def slope(self, back: Corner, front: Corner, material: Material) -> None:
        """A surface from edge to edge of the vehicle that looks up: (half width, height, forward) of its two ends."""
        (x0, y0, z0), (x1, y1, z1) = back, front
        self.add([(-x0, y0, z0), (-x1, y1, z1), (x1, y1, z1), (x0, y0, z0)], material)

    def side(self, profile: list[tuple[float, float]], x: float, material: Material, detail: bool = False) -> None:
        """A profile of (forward, up) points, clockwise from the right side, at ``x`` to the right or (x < 0) left."""
        corners = [(x, up, forward) for forward, up in profile]
        self.add(corners if x > 0 else corners[::-1], material, detail)

    def mesh(self) -> Mesh:
        most = max(len(corners) for corners, _ in self.faces)
        padded = [corners + [corners[-1]] * (most - len(corners)) for corners, _ in self.faces]
        return Mesh(
            corners=np.array(padded, np.float64),
            counts=np.array([len(corners) for corners, _ in self.faces]),
            materials=np.array([MATERIALS.index(material) for _, material in self.faces]),
        )


@lru_cache
def mesh_of(kind: CarKind, detailed: bool) -> Mesh:
    """The mesh of a kind of vehicle; without its details it serves at a distance."""
    shape, drawing = SHAPES[kind], _Drawing(detailed)
    _under(drawing, shape)
    _body(drawing, shape)
    _wheels(drawing, shape)
    _cabin(drawing, shape, kind)
    _lamps(drawing, shape)
    return drawing.mesh()


_LOW = 0.26  # ground clearance


def _under(drawing: _Drawing, shape: Shape) -> None:
    """The dark below the body, between and on the tyres."""
    half, z = 0.92 * shape.width / 2, 0.4 * shape.length
    for sign in (1, -1):
        drawing.end(-z * sign, (-half, half), (0.1, _LOW + 0.05), "under", False)
        for x in (0.74 * half, -0.98 * half):
            drawing.end(-z * sign, (x, x + 0.24 * half), (0.0, _LOW + 0.05), "tyre", False)
        drawing.side([(-z, 0.12), (-z, _LOW + 0.05), (z, _LOW + 0.05), (z, 0.12)], sign * half, "under")


def _body(drawing: _Drawing, shape: Shape) -> None:
    half, back, front = shape.width / 2, -shape.length / 2, shape.length / 2
    tuck = 0.94 * half  # the ends are a little narrower than the doors
    for sign in (1, -1):
        outline = [(back, _LOW), (back, shape.belt), (shape.foot[1], shape.belt), (front, shape.hood), (front, _LOW)]
        drawing.side(outline, sign * half, "body")
        drawing.side([(back, _LOW), (back, 0.42), (front, 0.42), (front, _LOW)], sign * half, "lower", True)
    drawing.slope((half, shape.belt, back), (half, shape.belt, shape.foot[0]), "body")
    drawing.slope((half, shape.belt, shape.foot[1]), (tuck, shape.hood, front), "body")
    for z, top in ((back, shape.belt), (front, shape.hood)):
        drawing.end(z, (-half, half), (_LOW, top), "body", False)
        drawing.end(z, (-half, half), (_LOW, 0.46), "lower", False)


def _wheels(drawing: _Drawing, shape: Shape) -> None:
    turn = -np.arange(10) * (2 * np.pi / 10)
    for z in (-0.31 * shape.length, 0.32 * shape.length):
        for sign in (1, -1):
            for part in (1.0, 0.58):
                size = part * shape.wheel
                rim = [(float(z + size * np.cos(a)), float(shape.wheel + size * np.sin(a))) for a in turn]
                drawing.side(rim, sign * (shape.width / 2 + 0.01), "tyre" if part == 1.0 else "hub", True)


def _cabin(drawing: _Drawing, shape: Shape, kind: CarKind) -> None:
    half, roof, belt, top = shape.width / 2, shape.narrow * shape.width / 2, shape.belt, shape.height
    (foot_back, foot_front), (roof_back, roof_front) = shape.foot, shape.roof
    glass: Material = "body" if kind == "truck" else "glass"
    rear = [(-half, belt, foot_back), (-roof, top, roof_back), (roof, top, roof_back), (half, belt, foot_back)]
    screen = [(half, belt, foot_front), (roof, top, roof_front), (-roof, top, roof_front), (-half, belt, foot_front)]
    for pane in (rear, screen):
        drawing.add(pane, "body")
        drawing.add(_inset(pane, 0.86, 0.8), glass)
    right = [(half, belt, foot_back), (roof, top, roof_back), (roof, top, roof_front), (half, belt, foot_front)]
    for pane in (right, [(-x, y, z) for x, y, z in reversed(right)]):
        drawing.add(pane, "body")
        if kind == "car" or kind == "suv":
            drawing.add(_inset(pane, 0.9, 0.74), "glass")
        elif kind == "van":
            door = [(x, y, max(z, 0.55)) for x, y, z in _inset(pane, 0.9, 0.72)]
            drawing.add(door, "glass", True)
    drawing.slope((roof, top, roof_back), (roof, top, roof_front), "body")
    if kind == "truck":
        drawing.end(-shape.length / 2, (-0.03, 0.03), (belt + 0.1, top - 0.1), "dark", True)
        drawing.end(shape.length / 2, (-0.9 * half, 0.9 * half), (1.9, 2.8), "glass", False)


def _inset(pane: list[Corner], wide: float, tall: float) -> list[Corner]:
    """A smaller pane in the plane of a larger one, a hair outside it."""
    corners = np.array(pane)
    middle = corners.mean(0)
    grown = middle + (corners - middle) * [wide if np.ptp(corners[:, 0]) > 1 else 1.0, tall, wide]
    if np.ptp(corners[:, 0]) < 1:  # a side: x follows the slope of the pane
        grown[:, 0] = middle[0] + (corners[:, 0] - middle[0]) * tall + 0.006 * np.sign(middle[0])
    else:  # an end: z follows the slope
        grown[:, 2] = middle[2] + (corners[:, 2] - middle[2]) * tall
    return [(float(x), float(y), float(z)) for x, y, z in grown]


def _lamps(drawing: _Drawing, shape: Shape) -> None:
    half = shape.width / 2
    for z, rear, top in ((-shape.length / 2, True, shape.belt), (shape.length / 2, False, shape.hood)):
        lamp: Material = "tail" if rear else "head"
        for span in ((0.6 * half, 0.97 * half), (-0.97 * half, -0.6 * half)):
            drawing.end(z, span, (top - 0.27, top - 0.09), lamp, False)
        if rear:
            drawing.end(z, (-0.26, 0.26), (0.52, 0.64), "plate", True)
        else:
            drawing.end(z, (-0.5 * half, 0.5 * half), (top - 0.26, top - 0.11), "dark", False)
