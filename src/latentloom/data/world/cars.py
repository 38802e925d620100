"""Vehicles: small meshes of flat shaded faces, drawn with smooth edges, and their lamps.

A vehicle is drawn into its own patch first and laid on the canvas once, so its silhouette has no seams.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float

from latentloom.data.world.canvas import GROUND, Canvas
from latentloom.data.world.light import HEADLIGHT_COLOUR, Light, rgb
from latentloom.data.world.motion import Camera
from latentloom.data.world.road import Road
from latentloom.data.world.scene import CarKind
from latentloom.data.world.traffic import CarState
from latentloom.data.world.walls import NEAR

Material = Literal["body", "lower", "glass", "dark", "tail", "head", "plate", "tyre", "hub"]
Points = Float[np.ndarray, "n 3"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Measures of a kind of vehicle, metres: the body, and the cabin on it as (back, front) at its foot and its roof."""

    length: float
    width: float
    height: float
    belt: float
    """Height of the body's upper edge."""
    foot: tuple[float, float]
    roof: tuple[float, float]
    glazed: bool = True
    """False: the cabin is a closed load box."""


SHAPES: dict[CarKind, Shape] = {
    "car": Shape(length=4.4, width=1.8, height=1.45, belt=0.92, foot=(-1.75, 0.95), roof=(-1.1, 0.25)),
    "suv": Shape(length=4.6, width=1.88, height=1.72, belt=1.05, foot=(-2.2, 1.05), roof=(-1.95, 0.45)),
    "van": Shape(length=5.2, width=1.98, height=2.2, belt=1.2, foot=(-2.55, 1.9), roof=(-2.5, 1.2)),
    "truck": Shape(length=9.0, width=2.45, height=3.5, belt=1.1, foot=(-4.5, 4.45), roof=(-4.5, 4.3), glazed=False),
}


@dataclass(frozen=True, kw_only=True)
class Face:
    """A convex polygon, clockwise as seen from outside, in the vehicle's own frame (right, up, forward)."""

    points: Points
    material: Material
    detail: bool = False
    """Left out when the vehicle is small in the picture."""


def _quad(*points: tuple[float, float, float]) -> Points:
    return np.array(points, np.float64)


def _side(points: list[tuple[float, float]], x: float) -> Points:
    """A polygon on the right side (x > 0) or mirrored on the left, from (forward, up) points."""
    polygon = [(x, up, forward) for forward, up in points]
    return np.array(polygon if x > 0 else polygon[::-1], np.float64)


@lru_cache
def mesh(kind: CarKind) -> tuple[Face, ...]:
    """Faces of a kind of vehicle in painting order."""
    shape = SHAPES[kind]
    half, back, front, belt = shape.width / 2, -shape.length / 2, shape.length / 2, shape.belt
    low, mid, top = 0.26, 0.5, shape.height
    (foot_back, foot_front), (roof_back, roof_front) = shape.foot, shape.roof
    roof = half * (0.8 if shape.glazed and kind != "van" else 0.94 if shape.glazed else 1.0)
    hood = belt - (0.12 if shape.glazed else 0.0)
    faces: list[Face] = []

    def add(points: Points, material: Material, detail: bool = False) -> None:
        faces.append(Face(points=points, material=material, detail=detail))

    for x in (half, -half):
        add(_side([(back, low), (back, belt), (foot_front, belt), (front, hood), (front, low)], x), "body")
        add(_side([(back, low), (back, mid - 0.1), (front, mid - 0.1), (front, low)], x), "lower", True)
    add(_quad((-half, belt, back), (-half, belt, foot_back), (half, belt, foot_back), (half, belt, back)), "body")
    add(_quad((-half, belt, foot_front), (-half, hood, front), (half, hood, front), (half, belt, foot_front)), "body")
    for z, sign, upper in ((back, 1, belt), (front, -1, hood)):
        w = half * sign
        add(_quad((-w, low, z), (-w, upper, z), (w, upper, z), (w, low, z)), "body")
        add(_quad((-w, low, z), (-w, mid, z), (w, mid, z), (w, low, z)), "lower", True)
        for x in (0.72 * w, -0.72 * w):  # tyres below the body
            z_tyre = z * 0.82
            add(_quad((x - 0.12 * sign, 0, z_tyre), (x - 0.12 * sign, low, z_tyre), (x + 0.12 * sign, low, z_tyre), (x + 0.12 * sign, 0, z_tyre)), "tyre")
        lamp: Material = "tail" if sign > 0 else "head"
        y0, y1 = upper - 0.3, upper - 0.1
        for a, b in ((0.62, 0.97), (-0.97, -0.62)):
            add(_quad((a * w, y0, z), (a * w, y1, z), (b * w, y1, z), (b * w, y0, z)), lamp)
        add(_quad((-0.28 * w, mid + 0.03, z), (-0.28 * w, mid + 0.16, z), (0.28 * w, mid + 0.16, z), (0.28 * w, mid + 0.03, z)), "plate" if sign > 0 else "dark", True)
    turn = np.arange(10) * (2 * np.pi / 10)
    for z in (0.62 * back, 0.64 * front):
        for x in (half + 0.01, -half - 0.01):
            radius = 0.33 if shape.glazed else 0.45
            for size, material in ((radius, "tyre"), (0.55 * radius, "hub")):
                rim = [(z - size * np.cos(a), radius + size * np.sin(a)) for a in turn]
                add(_side(rim, x), material, material == "hub")
    cabin: Material = "glass" if shape.glazed else "body"
    add(_quad((-half, belt, foot_back), (-roof, top, roof_back), (roof, top, roof_back), (half, belt, foot_back)), "body" if kind == "van" else cabin)
    add(_quad((half, belt, foot_front), (roof, top, roof_front), (-roof, top, roof_front), (-half, belt, foot_front)), cabin)
    for sign in (1, -1):
        points = [(half * sign, belt, foot_back), (roof * sign, top, roof_back), (roof * sign, top, roof_front), (half * sign, belt, foot_front)]
        add(_quad(*(points if sign > 0 else points[::-1])), "body")
        if shape.glazed:
            add(_side_window(points if sign > 0 else points[::-1], kind == "van"), "glass", True)
    add(_quad((-roof, top, roof_back), (-roof, top, roof_front), (roof, top, roof_front), (roof, top, roof_back)), "body")
    _trim(add, kind, half, back, front, belt, top)
    return tuple(faces)


def _side_window(points: list[tuple[float, float, float]], van: bool) -> Points:
    corners = np.array(points, np.float64)
    middle = corners.mean(0)
    window = middle + (corners - middle) * np.array([1.0, 0.72, 0.86])
    window[:, 0] = corners[:, 0] + 0.005 * np.sign(corners[0, 0])
    if van:  # only the front third is glazed
        window[:, 2] = np.maximum(window[:, 2], 0.35 * corners[:, 2].max())
    return window


def _trim(add, kind: CarKind, half: float, back: float, front: float, belt: float, top: float) -> None:  # pyright: ignore
    """Rear window frame of cars, doors and screen of vans and trucks."""
    if kind == "van":
        low = belt + 0.15
        add(_quad((-0.75 * half, low, back), (-0.75 * half, top - 0.3, back), (0.75 * half, top - 0.3, back), (0.75 * half, low, back)), "glass", True)
    if kind == "truck":
        add(_quad((-0.02, belt + 0.1, back), (-0.02, top - 0.1, back), (0.02, top - 0.1, back), (0.02, belt + 0.1, back)), "dark", True)
        add(_quad((half * 0.9, 1.9, front), (half * 0.9, 2.8, front), (-half * 0.9, 2.8, front), (-half * 0.9, 1.9, front)), "glass", True)


@dataclass(frozen=True, kw_only=True)
class CarView:
    """What a vehicle came to in a frame."""

    state: CarState
    centre: complex
    heading: float
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 of its whole outline in pixels, clipped to the frame."""
    outline: int
    """Pixels of the frame its outline covers, whether seen or hidden."""
    distance: float


def car_pose(state: CarState, road: Road) -> tuple[complex, float]:
    """Ground position and heading of a vehicle."""
    at = np.array(state.s)
    heading = float(road.heading(at)) + (0.0 if state.forward else np.pi)
    return complex(road.point(at, np.array(state.d))), heading


def to_camera(points: Points, centre: complex, heading: float, camera: Camera) -> Points:
    """A vehicle's own coordinates to the camera's (right, down from the optical axis, forward)."""
    ground = centre + (points[:, 2] - 1j * points[:, 0]) * np.exp(1j * heading)
    seen = (ground - camera.position) * np.exp(-1j * camera.heading)
    return np.stack([-seen.imag, camera.height - points[:, 1], seen.real], 1)


def clip_near(points: Points) -> Points:
    """The part of a polygon beyond the near plane."""
    if points[:, 2].min() >= NEAR:
        return points
    kept: list[np.ndarray] = []
    for first, second in zip(points, np.roll(points, -1, 0)):
        if first[2] >= NEAR:
            kept.append(first)
        if (first[2] >= NEAR) != (second[2] >= NEAR):
            kept.append(first + (second - first) * (NEAR - first[2]) / (second[2] - first[2]))
    return np.array(kept).reshape(-1, 3)


def cover(polygon: Float[np.ndarray, "n 2"], corner: tuple[int, int], shape: tuple[int, int], soft: float = 1.0) -> np.ndarray:
    """Share of each pixel (first pixel at row, column ``corner``) inside a convex polygon, clockwise on the screen.

    ``soft`` is the width of the edge in pixels.
    """
    x = np.arange(corner[1], corner[1] + shape[1], dtype=np.float32) + 0.5
    y = (np.arange(corner[0], corner[0] + shape[0], dtype=np.float32) + 0.5)[:, None]
    inside: np.ndarray | None = None
    edge = np.roll(polygon, -1, 0) - polygon
    length = np.hypot(edge[:, 0], edge[:, 1])
    for (u, v), (du, dv), size in zip(polygon.tolist(), edge.tolist(), length.tolist()):
        if size < 1e-6:
            continue
        a, b = -dv / (size * soft), du / (size * soft)
        distance = a * x + (b * y - (a * u + b * v))
        inside = distance if inside is None else np.minimum(inside, distance)
    if inside is None:
        return np.zeros(shape, np.float32)
    return np.clip(inside + 0.5, 0.0, 1.0, dtype=np.float32)


class CarPainter:
    """Draws vehicles under one light."""

    def __init__(self, light: Light) -> None:
        self._light = light

    def _material(self, material: Material, paint: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Unlit colour and light of its own."""
        lamps = self._light.darkness > 0
        if material == "body":
            return paint, None
        if material == "tail":
            return rgb(0.62, 0.06, 0.05), rgb(0.75, 0.06, 0.03) if lamps else None
        if material == "head":
            return rgb(0.88, 0.9, 0.92), rgb(1.0, 0.96, 0.85) if lamps else None
        glass = 0.35 * self._light.low_sky + rgb(0.05, 0.06, 0.08) if not lamps else rgb(0.1, 0.11, 0.14)
        colours = {
            "lower": paint * 0.35 + rgb(0.05, 0.05, 0.05),
            "glass": glass,
            "dark": rgb(0.08, 0.08, 0.09),
            "plate": rgb(0.88, 0.88, 0.82),
            "tyre": rgb(0.055, 0.055, 0.06),
            "hub": rgb(0.45, 0.46, 0.48),
        }
        return colours[material], None

    def shadow(self, canvas: Canvas, camera: Camera, state: CarState, road: Road) -> None:
        """Darken the ground below a vehicle."""
        centre, heading = car_pose(state, road)
        shape = SHAPES[state.kind]
        for grow, strength in ((0.35, 0.3), (0.05, 0.5)):
            x, z = shape.width / 2 + grow, shape.length / 2 + grow
            corners = _quad((-x, 0, -z), (-x, 0, z), (x, 0, z), (x, 0, -z))
            seen = clip_near(to_camera(corners, centre, heading, camera))
            if len(seen) < 3:
                continue
            polygon = seen[:, :2] / seen[:, 2:] * camera.focal + [camera.middle, camera.horizon]
            window = _window(polygon, canvas.size, 3)
            if window is None:
                continue
            soft = float(np.clip(0.25 * camera.focal / seen[:, 2].mean(), 1.0, 12.0))
            dark = cover(polygon, *window, soft=soft)
            rows, columns = _slices(*window)
            ground = canvas.owner[rows, columns] == GROUND
            canvas.colour[rows, columns] *= (1 - strength * dark * ground)[..., None]

    def draw(self, canvas: Canvas, camera: Camera, state: CarState, road: Road) -> CarView | None:
        """Lay a vehicle on the canvas; None where it is outside the frame."""
        centre, heading = car_pose(state, road)
        right, distance = camera.see(centre)
        if distance < -6 or abs(right) > 3 * distance + 30:
            return None
        small = camera.focal * SHAPES[state.kind].width / max(distance, 1) < 9
        polygons: list[tuple[np.ndarray, np.ndarray, Face]] = []
        for face in mesh(state.kind):
            if face.detail and small:
                continue
            points = to_camera(face.points, centre, heading, camera)
            normal = np.cross(points[1] - points[0], points[2] - points[1])
            if normal @ points[0] <= 0:  # turned away
                continue
            points = clip_near(points)
            if len(points) >= 3:
                polygons.append((points, normal, face))
        if not polygons:
            return None
        screens = [p[:, :2] / p[:, 2:] * camera.focal + [camera.middle, camera.horizon] for p, _, _ in polygons]
        whole = np.concatenate(screens)
        window = _window(whole, canvas.size, 1)
        if window is None:
            return None
        patch, alpha, depth = self._patch(state, camera, heading, polygons, screens, window)
        self._light_and_haze(patch, alpha, right, max(distance, 1.0))
        solid = canvas.paint(window[0], patch, alpha, depth, state.key)
        box = np.clip([*whole.min(0), *whole.max(0)], 0, [*canvas.size[::-1]] * 2)
        return CarView(
            state=state,
            centre=centre,
            heading=heading,
            box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            outline=int(solid.sum()),
            distance=distance,
        )

    def _patch(self, state, camera, heading, polygons, screens, window):  # pyright: ignore
        corner, shape = window
        paint = np.array(state.colour, np.float32)
        patch, alpha = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
        depth = np.full(shape, np.inf, np.float32)
        for (points, normal, face), screen in zip(polygons, screens):
            part = _window(screen, (corner[0] + shape[0], corner[1] + shape[1]), 1)
            if part is None:
                continue
            first = (max(part[0][0], corner[0]), max(part[0][1], corner[1]))
            size = (part[0][0] + part[1][0] - first[0], part[0][1] + part[1][1] - first[1])
            if size[0] <= 0 or size[1] <= 0:
                continue
            covered = cover(screen, first, size)
            rows = slice(first[0] - corner[0], first[0] - corner[0] + size[0])
            columns = slice(first[1] - corner[1], first[1] - corner[1] + size[1])
            colour, own = self._material(face.material, paint)
            up = normal[1] / np.linalg.norm(normal)
            side = np.arctan2(normal[0], -normal[2]) + camera.heading
            shade = (0.86 * self._light.shade(float(side))) * (1 - abs(up)) + abs(up) * (1.12 if up > 0 else 0.4)
            lit = colour * float(shade) * self._light.ambient
            if own is not None:
                lit = lit + own
            blend = covered[..., None]
            patch[rows, columns] += blend * (lit - patch[rows, columns])
            alpha[rows, columns] += covered * (1 - alpha[rows, columns])
            plane = self._depths(points, normal, camera, first, size)
            np.copyto(depth[rows, columns], plane, where=covered >= 0.5)
        hidden = ~np.isfinite(depth)
        depth[hidden] = min(float(points[:, 2].min()) for points, _, _ in polygons)
        return patch, alpha, depth

    @staticmethod
    def _depths(points: np.ndarray, normal: np.ndarray, camera: Camera, first, size):  # pyright: ignore
        """Depth of a face's plane by pixel, kept within the face's own range."""
        x = (np.arange(first[1], first[1] + size[1], dtype=np.float32) + 0.5 - camera.middle) / camera.focal
        y = ((np.arange(first[0], first[0] + size[0], dtype=np.float32) + 0.5 - camera.horizon) / camera.focal)[:, None]
        slope = normal[0] * x + normal[1] * y + normal[2]
        level = float(normal @ points[0])
        plane = level / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
        return np.clip(plane, points[:, 2].min(), points[:, 2].max()).astype(np.float32)

    def _light_and_haze(self, patch: np.ndarray, alpha: np.ndarray, right: float, distance: float) -> None:
        beam = self._light.headlight(np.array(right, np.float32), np.array(distance, np.float32))
        if beam > 0:
            patch *= 1.0 + 2.2 * float(beam) * HEADLIGHT_COLOUR
        veil = float(self._light.veil(np.array(distance)))
        patch += veil * (alpha[..., None] * self._light.haze - patch)

    def glows(self, canvas: Canvas, camera: Camera, view: CarView) -> None:
        """Shine of the lamps that point at the camera, in the dark."""
        if self._light.darkness == 0:
            return
        shape = SHAPES[view.state.kind]
        towards = np.cos(view.heading - np.angle(view.centre - camera.position)) < 0
        z = (shape.length / 2 + 0.05) * (1 if towards else -1)
        lamps = _quad((-0.8 * shape.width / 2, shape.belt - 0.2, z), (0.8 * shape.width / 2, shape.belt - 0.2, z))
        power = self._light.darkness * (0.9 if towards else 0.4)
        colour = power * (rgb(1.0, 0.93, 0.78) if towards else rgb(1.0, 0.1, 0.05))
        for x, y, forward in to_camera(lamps, view.centre, view.heading, camera).tolist():
            if forward > 1.0:
                scale = camera.focal / forward
                radius = (0.34 if towards else 0.2) * scale + (1.1 if towards else 0.7)
                fade = float(np.exp(-forward / (1.2 * self._light.haze_distance)))
                canvas.glow(camera.middle + x * scale, camera.horizon + y * scale, radius, colour * fade, forward)


def _window(polygon: np.ndarray, size: tuple[int, int], margin: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """First pixel and shape of the part of the frame a polygon touches."""
    (u0, v0), (u1, v1) = polygon.min(0), polygon.max(0)
    top, bottom = max(int(np.floor(v0)) - margin, 0), min(int(np.ceil(v1)) + margin, size[0])
    left, right = max(int(np.floor(u0)) - margin, 0), min(int(np.ceil(u1)) + margin, size[1])
    return None if top >= bottom or left >= right else ((top, left), (bottom - top, right - left))


def _slices(corner: tuple[int, int], shape: tuple[int, int]) -> tuple[slice, slice]:
    return slice(corner[0], corner[0] + shape[0]), slice(corner[1], corner[1] + shape[1])
