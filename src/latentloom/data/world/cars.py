"""Vehicles on the canvas: pose, shading, shadow and lamps.

A vehicle is drawn into a patch of its own first and laid on the canvas once, so its silhouette has no seams.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from latentloom.data.world.canvas import GROUND, Canvas
from latentloom.data.world.light import HEADLIGHT_COLOUR, Light, rgb
from latentloom.data.world.mesh import MATERIALS, SHAPES, mesh_of
from latentloom.data.world.motion import Camera
from latentloom.data.world.polygons import NEAR, Window, clip_near, covers, pixel_centres, touched
from latentloom.data.world.road import Road
from latentloom.data.world.traffic import AHEAD, CarState

SMALL = 11.0
"""A vehicle narrower than this many pixels is drawn without details."""
AT_ONCE = 2500
"""Up to this many pixels all faces are rasterised together: fewer, larger operations."""


@dataclass(frozen=True, kw_only=True)
class CarPose:
    """A vehicle on the ground plane, and as a camera sees its middle (metres)."""

    state: CarState
    centre: complex
    heading: float
    right: float
    forward: float


@dataclass(frozen=True, kw_only=True)
class CarView:
    """What a vehicle came to in a frame."""

    pose: CarPose
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 of its whole outline within the frame, in pixels; half a pixel from its solid pixels at most."""
    outline: int
    """Pixels of the frame its outline covers, whether seen or hidden."""


@dataclass(frozen=True, kw_only=True)
class _Faces:
    """The faces of a vehicle that are turned to the camera."""

    points: Float[np.ndarray, "p n 3"]
    counts: list[int]
    normals: Float[np.ndarray, "p 3"]
    """Towards the inside, not of unit length."""
    colours: Float[np.ndarray, "p 3"]


def in_sight(pose: CarPose) -> bool:
    """Whether a vehicle may touch the frame at all."""
    return -6 < pose.forward < AHEAD and abs(pose.right) < 1.2 * pose.forward + 12


_Patch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Colour (multiplied by alpha), alpha, depth."""


def pose_cars(states: Sequence[CarState], road: Road, camera: Camera) -> list[CarPose]:
    """Where vehicles are, on the ground and from a camera."""
    if not states:
        return []
    s, d = np.array([state.s for state in states]), np.array([state.d for state in states])
    centres = road.point(s, d)
    headings = road.heading(s) + np.where([state.forward for state in states], 0.0, np.pi)
    seen = (centres - camera.position) * np.exp(-1j * camera.heading)
    return [
        CarPose(state=state, centre=centre, heading=heading, right=-point.imag, forward=point.real)
        for state, centre, heading, point in zip(
            states, centres.tolist(), headings.tolist(), seen.tolist(), strict=True
        )
    ]


def to_camera(points: Float[np.ndarray, "*n 3"], pose: CarPose, camera: Camera) -> Float[np.ndarray, "*n 3"]:
    """A vehicle's own coordinates to the camera's (right, down from the optical axis, forward)."""
    turn = np.exp(1j * (pose.heading - camera.heading))
    ground = (points[..., 2] - 1j * points[..., 0]) * turn + complex(pose.forward, -pose.right)
    seen = np.empty(points.shape)
    seen[..., 0], seen[..., 1], seen[..., 2] = -ground.imag, camera.height - points[..., 1], ground.real
    return seen


def to_screen(points: Float[np.ndarray, "*n 3"], camera: Camera) -> Float[np.ndarray, "*n 2"]:
    """Columns and rows of points in front of the camera."""
    return points[..., :2] * (camera.focal / points[..., 2:]) + [camera.middle, camera.horizon]


class CarPainter:
    """Draws vehicles under one light."""

    def __init__(self, light: Light) -> None:
        self._light = light
        dark = light.darkness > 0
        glass = rgb(0.09, 0.1, 0.13) if dark else 0.32 * light.low_sky + rgb(0.04, 0.05, 0.07)
        colours = {
            "glass": glass,
            "dark": rgb(0.08, 0.08, 0.09),
            "tail": rgb(0.62, 0.06, 0.05),
            "head": rgb(0.88, 0.9, 0.92),
            "plate": rgb(0.85, 0.85, 0.78),
            "tyre": rgb(0.05, 0.05, 0.055),
            "hub": rgb(0.45, 0.46, 0.48),
            "under": rgb(0.07, 0.07, 0.075),
        }
        self._colours = np.array([colours.get(name, rgb(0, 0, 0)) for name in MATERIALS])
        self._own = np.zeros_like(self._colours)
        if dark:
            self._own[MATERIALS.index("tail")] = rgb(0.75, 0.06, 0.03)
            self._own[MATERIALS.index("head")] = rgb(1.0, 0.96, 0.85)

    def shadow(self, canvas: Canvas, camera: Camera, pose: CarPose) -> None:
        """Darken the ground below a vehicle."""
        shape, frame = SHAPES[pose.state.kind], ((0, 0), canvas.size)
        near = pose.forward < 60  # beyond, a soft edge is below a pixel
        for grow, strength in ((0.4, 0.3), (0.05, 0.5)) if near else ((0.15, 0.6),):
            x, z = shape.width / 2 + grow, shape.length / 2 + grow
            corners = np.array([(-x, 0, -z), (-x, 0, z), (x, 0, z), (x, 0, -z)])
            seen = clip_near(to_camera(corners, pose, camera))
            if len(seen) < 3:
                continue
            polygon = to_screen(seen, camera)
            window = touched(polygon, frame, 3)
            if window is None:
                continue
            soft = min(max(0.25 * camera.focal / float(seen[:, 2].mean()), 1.0), 12.0)
            dark = covers(polygon[None], window, soft)[0]
            rows, columns = _slices(window)
            dark *= canvas.owner[rows, columns] == GROUND
            canvas.colour[rows, columns] *= (1 - strength * dark)[..., None]

    def draw(self, canvas: Canvas, camera: Camera, pose: CarPose) -> CarView | None:
        """Lay a vehicle on the canvas; None where it is outside the frame."""
        faces = self._faces(camera, pose)
        if faces is None:
            return None
        near = faces.points[..., 2].min() < NEAR
        if near:
            clipped = [clip_near(points[:count]) for points, count in zip(faces.points, faces.counts, strict=True)]
            screens = [to_screen(points, camera) for points in clipped]
        else:
            whole = to_screen(faces.points, camera)
            screens = [screen[:count] for screen, count in zip(whole, faces.counts, strict=True)]
        outline = np.concatenate(screens)
        window = touched(outline, ((0, 0), canvas.size)) if len(outline) else None
        if window is None:
            return None
        if near or window[1][0] * window[1][1] > AT_ONCE:
            patch, alpha, depth = self._one_by_one(camera, faces, screens, window)
        else:
            patch, alpha, depth = self._all_at_once(camera, faces, window)
        self._light_and_haze(patch, alpha, pose)
        solid = canvas.paint(window[0], patch, alpha, depth, pose.state.key)
        rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
        if not len(rows):
            return None
        (top, left), corners = window[0], np.concatenate([outline.min(0), outline.max(0)])
        pixels = np.array([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1])
        # corners outside the frame say nothing of what is inside: the pixels decide, the corners refine
        x0, y0, x1, y1 = np.clip(corners, pixels - 0.5, pixels + 0.5).tolist()
        height, width = canvas.size
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        return CarView(pose=pose, box=box, outline=int(solid.sum()))

    def _faces(self, camera: Camera, pose: CarPose) -> _Faces | None:
        small = camera.focal * SHAPES[pose.state.kind].width < SMALL * pose.forward
        mesh = mesh_of(pose.state.kind, not small)
        points = to_camera(mesh.corners, pose, camera)
        first, second = points[:, 1] - points[:, 0], points[:, 2] - points[:, 1]
        normals = first[:, [1, 2, 0]] * second[:, [2, 0, 1]] - first[:, [2, 0, 1]] * second[:, [1, 2, 0]]
        turned = (normals * points[:, 0]).sum(-1) > 0
        if not turned.any():
            return None
        normals, materials = normals[turned], mesh.materials[turned]
        colours = self._colours.copy()
        paint = np.array(pose.state.colour, np.float32)
        colours[MATERIALS.index("body")] = paint
        colours[MATERIALS.index("lower")] = 0.35 * paint + 0.05
        up = normals[:, 1] / np.sqrt((normals**2).sum(-1))
        side = np.arctan2(normals[:, 0], -normals[:, 2]) + camera.heading
        upright = self._light.shade(side)
        shade = 0.88 * upright * (1 - np.abs(up)) + np.abs(up) * np.where(up > 0, 1.15, 0.4)
        lit = colours[materials] * shade[:, None] * self._light.ambient + self._own[materials]
        return _Faces(
            points=points[turned], counts=mesh.counts[turned].tolist(), normals=normals, colours=lit.astype(np.float32)
        )

    @staticmethod
    def _depths(camera: Camera, points: np.ndarray, normal: np.ndarray, window: Window) -> np.ndarray:
        """Depth of faces' planes by pixel, kept within the faces' own range; points p n 3, normals p 3 -> p h w."""
        x, y = pixel_centres(window)
        a, b, c = ((normal[:, k] / (normal * points[:, 0]).sum(-1)).astype(np.float32)[:, None, None] for k in range(3))
        inverse = (a / camera.focal) * (x - camera.middle) + (b / camera.focal) * (y - camera.horizon) + c
        near, far = points[..., 2].min(-1)[:, None, None], points[..., 2].max(-1)[:, None, None]
        return 1.0 / np.clip(inverse, 1.0 / far, 1.0 / np.maximum(near, NEAR), dtype=np.float32)

    def _all_at_once(self, camera: Camera, faces: _Faces, window: Window) -> _Patch:
        cover = covers(to_screen(faces.points, camera), window)
        shine = np.cumprod(1.0 - cover[::-1], 0)[::-1]  # what later faces and this one let through
        weight = cover
        weight[:-1] *= shine[1:]
        patch = np.tensordot(weight, faces.colours, ([0], [0]))
        depths = self._depths(camera, faces.points, faces.normals, window)
        top = weight.argmax(0)[None]
        return patch, 1.0 - shine[0], np.take_along_axis(depths, top, 0)[0]

    def _one_by_one(self, camera: Camera, faces: _Faces, screens: list[np.ndarray], window: Window) -> _Patch:
        (top, left), shape = window
        patch, alpha = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
        depth = np.full(shape, max(float(faces.points[..., 2].min()), NEAR), np.float32)
        for number, screen in enumerate(screens):
            part = touched(screen, window) if len(screen) >= 3 else None
            if part is None:
                continue
            covered = covers(screen[None], part)[0]
            rows = slice(part[0][0] - top, part[0][0] - top + part[1][0])
            columns = slice(part[0][1] - left, part[0][1] - left + part[1][1])
            seen = patch[rows, columns]
            seen += covered[..., None] * (faces.colours[number] - seen)
            alpha[rows, columns] += covered * (1 - alpha[rows, columns])
            one = slice(number, number + 1)
            plane = self._depths(camera, faces.points[one], faces.normals[one], part)[0]
            np.copyto(depth[rows, columns], plane, where=covered >= 0.5)
        return patch, alpha, depth

    def _light_and_haze(self, patch: np.ndarray, alpha: np.ndarray, pose: CarPose) -> None:
        distance = max(pose.forward, 1.0)
        beam, veil = self._light.on_thing(pose.right, distance)
        if beam > 0:
            patch *= 1.0 + 2.2 * beam * HEADLIGHT_COLOUR
        patch += veil * (alpha[..., None] * self._light.haze - patch)
        fade = min(max((AHEAD - distance) / 40.0, 0.0), 1.0)
        if fade < 1.0:
            patch *= fade
            alpha *= fade

    def glows(self, canvas: Canvas, camera: Camera, view: CarView) -> None:
        """Shine of the lamps that point at the camera, in the dark."""
        pose, shape = view.pose, SHAPES[view.pose.state.kind]
        towards = np.cos(pose.heading - np.angle(pose.centre - camera.position)) < 0
        z = (shape.length / 2 + 0.05) * (1 if towards else -1)
        x, y = 0.78 * shape.width / 2, (shape.hood if towards else shape.belt) - 0.18
        lamps = to_camera(np.array([(-x, y, z), (x, y, z)]), pose, camera)
        power = self._light.darkness * (0.9 if towards else 0.4)
        colour = power * (rgb(1.0, 0.93, 0.78) if towards else rgb(1.0, 0.1, 0.05))
        for right, down, forward in lamps.tolist():
            if 1.0 < forward < AHEAD:
                scale = camera.focal / forward
                radius = (0.34 if towards else 0.2) * scale + (1.1 if towards else 0.7)
                fade = float(np.exp(-forward / (1.2 * self._light.haze_distance))) * min((AHEAD - forward) / 40.0, 1.0)
                u, v = camera.middle + right * scale, camera.horizon + down * scale
                canvas.glow(u, v, radius, colour * fade, forward)


def _slices(window: Window) -> tuple[slice, slice]:
    (row, column), (rows, columns) = window
    return slice(row, row + rows), slice(column, column + columns)
