"""What is true of a drawn frame: boxes of the vehicles one can see, and where every pixel goes in the next frame."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from latentloom.data.world.cars import CarPose, CarView, pose_cars
from latentloom.data.world.motion import Camera
from latentloom.data.world.picture import Picture
from latentloom.data.world.road import Road
from latentloom.data.world.traffic import CarState

MIN_HEIGHT = 0.04
"""A listed box is at least this high, as a fraction of the frame."""
MIN_SEEN = 0.3
"""At least this share of a listed vehicle's outline within the frame is not hidden by something nearer."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A vehicle's whole outline, hidden parts included, clipped to the frame; fractions of its width and height."""

    x0: float
    y0: float
    x1: float
    y1: float
    seen: float
    """Share of the outline within the frame that nothing hides, 0..1."""
    distance: float
    """Metres to its middle along the optical axis."""
    key: int
    """The same for the same vehicle in every frame."""
    label: str = "vehicle"


def list_boxes(picture: Picture) -> tuple[Box, ...]:
    """Boxes of the vehicles that count as visible (``MIN_HEIGHT``, ``MIN_SEEN``), nearest first."""
    height, width = picture.canvas.size
    keys, counts = np.unique(picture.canvas.owner, return_counts=True)
    pixels = dict(zip(keys.tolist(), counts.tolist(), strict=True))
    boxes: list[Box] = []
    for view in picture.cars:
        seen = pixels.get(view.pose.state.key, 0) / max(view.outline, 1)
        x0, y0, x1, y1 = view.box
        if seen < MIN_SEEN or y1 - y0 < MIN_HEIGHT * height or x1 - x0 < 1:
            continue
        box = Box(
            x0=x0 / width,
            y0=y0 / height,
            x1=x1 / width,
            y1=y1 / height,
            seen=min(seen, 1.0),
            distance=view.pose.forward,
            key=view.pose.state.key,
        )
        boxes.append(box)
    return tuple(sorted(boxes, key=lambda box: box.distance))


def _project(camera: Camera, forward: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Pixels of camera coordinates; NaN behind the camera."""
    forward = np.where(forward > 1e-6, forward, np.nan)
    scale = camera.focal / forward
    return np.stack([camera.middle + right * scale, camera.horizon + down * scale], -1)


def _still_world(picture: Picture, after: Camera) -> np.ndarray:
    """Where the pixels of everything that stands still are seen by the next camera."""
    camera, depth = picture.ego.camera, picture.canvas.depth.astype(np.float64)
    height, width = depth.shape
    across = (np.arange(width) + 0.5 - camera.middle) / camera.focal
    below = ((np.arange(height) + 0.5 - camera.horizon) / camera.focal)[:, None]
    distant = ~np.isfinite(depth)
    scale = np.where(distant, 1.0, depth)
    travelled = (camera.position - after.position) * np.exp(-1j * after.heading)
    seen = scale * (1 - 1j * across) * np.exp(1j * (camera.heading - after.heading)) + np.where(distant, 0, travelled)
    return _project(after, seen.real, -seen.imag, below * scale)


def _moved_car(picture: Picture, view: CarView, later: CarPose, after: Camera, mask: np.ndarray) -> np.ndarray:
    """Where a vehicle's pixels (n of them, under ``mask``) are in the next frame, n 2."""
    camera = picture.ego.camera
    rows, columns = np.nonzero(mask)
    depth = picture.canvas.depth[mask].astype(np.float64)
    right = (columns + 0.5 - camera.middle) / camera.focal * depth
    down = (rows + 0.5 - camera.horizon) / camera.focal * depth
    ground = camera.position + (depth - 1j * right) * np.exp(1j * camera.heading)
    moved = later.centre + (ground - view.pose.centre) * np.exp(1j * (later.heading - view.pose.heading))
    seen = (moved - after.position) * np.exp(-1j * after.heading)
    return _project(after, seen.real, -seen.imag, down)


def flow_between(
    before: Picture, after: Picture, later_cars: list[CarState], road: Road
) -> tuple[Float[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
    """Forward optical flow in pixels (right, down) and where it is valid.

    Valid: the pixel's surface is what is seen at all four pixels around its place in the next frame. Elsewhere the
    point left the frame or is hidden; the flow there is still the point's motion, 0 where it has none (behind the
    camera). ``later_cars`` are the vehicles at the time of ``after``. Light that moves with a car (shadow, lamps) is
    not followed.
    """
    owner = before.canvas.owner
    height, width = owner.shape
    target = _still_world(before, after.ego.camera)
    known = np.isfinite(target[..., 0])
    present = set(np.unique(owner).tolist())
    for key, (u0, v0, u1, v1) in before.standing.items():
        if key not in present:
            continue
        mask = owner == key
        known[mask] = key in after.standing
        if key in after.standing:
            rows, columns = np.nonzero(mask)
            x0, y0, x1, y1 = after.standing[key]
            target[mask, 0] = x0 + (columns + 0.5 - u0) / (u1 - u0) * (x1 - x0)
            target[mask, 1] = y0 + (rows + 0.5 - v0) / (v1 - v0) * (y1 - y0)
    later = {pose.state.key: pose for pose in pose_cars(later_cars, road, after.ego.camera)}
    for view in before.cars:
        if view.pose.state.key in present:
            mask = owner == view.pose.state.key
            known[mask] = view.pose.state.key in later
            if view.pose.state.key in later:
                target[mask] = _moved_car(before, view, later[view.pose.state.key], after.ego.camera, mask)
    known &= np.isfinite(target[..., 0])
    target = np.where(known[..., None], target, 0.0)
    flow = target - np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    left, top = np.floor(target[..., 0] - 0.5), np.floor(target[..., 1] - 0.5)
    valid = known & (left >= 0) & (top >= 0) & (left < width - 1) & (top < height - 1)
    row, column = np.where(valid, top, 0).astype(int), np.where(valid, left, 0).astype(int)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        valid &= after.canvas.owner[row + down, column + right] == owner
    return np.where(known[..., None], flow, 0.0).astype(np.float32), valid
