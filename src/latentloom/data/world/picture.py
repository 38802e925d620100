"""One frame of a world: everything drawn, in order, with what the truth needs to be read off afterwards."""

from dataclasses import dataclass

import numpy as np

from latentloom.data.world.canvas import GROUND, Canvas
from latentloom.data.world.cars import CarPainter, CarPose, CarView, in_sight, pose_cars
from latentloom.data.world.ground import Ground
from latentloom.data.world.light import HEADLIGHT_COLOUR, LAMP_COLOUR, light_of
from latentloom.data.world.motion import Camera, Ego, EgoState
from latentloom.data.world.polygons import NEAR
from latentloom.data.world.road import Road
from latentloom.data.world.roadside import VIEW, Roadside, Standing, Wall
from latentloom.data.world.scene import WorldScene
from latentloom.data.world.sky import Sky
from latentloom.data.world.sprites import PLANTS, resample, sprite
from latentloom.data.world.traffic import cars_at
from latentloom.data.world.walls import see_wall


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn frame."""

    ego: EgoState
    canvas: Canvas
    cars: tuple[CarView, ...]
    standing: dict[int, tuple[float, float, float, float]]
    """Box (u0, v0, u1, v1, pixels, not clipped) of every upright picture by key."""


class Painter:
    """Draws a scene at any time. What it holds is what frames share; no frame depends on which were drawn before."""

    def __init__(self, scene: WorldScene, height: int, width: int) -> None:
        self.scene, self._size = scene, (height, width)
        self._light = light_of(scene)
        self.road = Road(scene)
        self.ego = Ego(scene, self.road, height, width)
        camera = self.ego.at(0.0).camera
        self._sky = Sky(scene, self._light, camera, width)
        self._ground = Ground(scene, self._light, camera, height, width)
        self._roadside = Roadside(scene, self.road, self._light)
        self._cars = CarPainter(self._light)

    def draw(self, time: float) -> Picture:
        """The frame ``time`` seconds after the start."""
        ego = self.ego.at(time)
        camera, canvas = ego.camera, Canvas(*self._size)
        canvas.colour[: self._sky.bottom] = self._sky.look(camera.heading)
        top = self._ground.pixels.top
        canvas.colour[top:] = self._ground.draw(self.road, camera, ego.s)
        canvas.depth[top:], canvas.owner[top:] = self._ground.pixels.forward, GROUND
        poses = [pose for pose in pose_cars(cars_at(self.scene, ego.s, time), self.road, camera) if in_sight(pose)]
        for pose in poses:
            self._cars.shadow(canvas, camera, pose)
        drawn = sorted(self._by_distance(camera, ego, poses), key=lambda pair: -pair[0])
        if self._light.darkness < 1:
            self._plant_shadows(canvas, camera, [thing for _, thing in drawn if isinstance(thing, Standing)])
        standing: dict[int, tuple[float, float, float, float]] = {}
        views: list[CarView] = []
        lamps: list[tuple[float, float, float]] = []
        for _, thing in drawn:
            if isinstance(thing, CarPose):
                view = self._cars.draw(canvas, camera, thing)
                if view is not None:
                    views.append(view)
            elif isinstance(thing, Wall):
                self._draw_wall(canvas, camera, thing)
            else:
                box = self._draw_standing(canvas, camera, thing)
                if box is not None:
                    standing[thing.key] = box
                    if thing.kind == "lamp" and self._light.darkness:
                        lamps.append(self._lamp_head(camera, thing, box))
        for u, v, depth in lamps:
            glow = (0.75 * self._light.darkness) * LAMP_COLOUR
            canvas.glow(u, v, 0.55 * camera.focal / depth + 0.8, glow, depth)
        for view in views if self._light.darkness else ():
            self._cars.glows(canvas, camera, view)
        return Picture(ego=ego, canvas=canvas, cars=tuple(views), standing=standing)

    def _plant_shadows(self, canvas: Canvas, camera: Camera, things: list[Standing]) -> None:
        away = self._light.sun_azimuth + np.pi - camera.heading  # from the camera's view, anticlockwise
        cast = 0.45 * self._light.sun
        for thing in things:
            if thing.kind in PLANTS and (seen := camera.see(thing.place))[1] < 75:
                length = cast * thing.height
                reach = (-float(np.sin(away)) * length, float(np.cos(away)) * length)
                self._ground.cast_shadow(canvas, seen, reach, 0.38 * thing.width)

    def _by_distance(
        self, camera: Camera, ego: EgoState, poses: list[CarPose]
    ) -> list[tuple[float, CarPose | Standing | Wall]]:
        found: list[tuple[float, CarPose | Standing | Wall]] = [(pose.forward, pose) for pose in poses]
        things = self._roadside.around(ego.s)
        pairs = [(t.start, t.stop) if isinstance(t, Wall) else (t.place, t.place) for t in things]
        ends = np.array(pairs, np.complex128)
        seen = (ends.reshape(-1, 2) - camera.position) * np.exp(-1j * camera.heading)
        forward = seen.real.max(1)  # a wall by its far end: what stands before it comes later
        aside = np.abs(seen.imag).min(1) - 0.8 * forward
        for thing, distance, beyond in zip(things, forward.tolist(), aside.tolist(), strict=True):
            if NEAR < distance < VIEW and (beyond < 8 or isinstance(thing, Wall)):
                found.append((distance, thing))
        return found

    def _draw_wall(self, canvas: Canvas, camera: Camera, wall: Wall) -> None:
        view = see_wall(camera, wall.start, wall.stop, wall.low, wall.high, canvas.size)
        if view is None:
            return
        colour, own = wall.pattern(view.pixels)
        bright = self._light.ambient * wall.shade
        if self._light.darkness:
            beam = self._light.headlight(view.right, view.depth) * (1.3 - 0.3 * np.clip(view.pixels.above, 0.3, 4))
            bright = bright + beam[..., None] * HEADLIGHT_COLOUR
            if self.scene.place == "city street":  # street lamps light the lower storeys
                lamps = 0.3 * self._light.darkness * np.exp(view.pixels.above * (-1 / 6.0))
                bright = bright + lamps[..., None] * LAMP_COLOUR
        colour = colour * bright
        if own is not None:
            colour = colour + own
        veil = self._light.veil(view.depth)[..., None]
        colour = (colour + veil * (self._light.haze - colour)) * view.alpha[..., None]
        canvas.paint(view.corner, colour.astype(np.float32), view.alpha, view.depth, wall.key)

    def _draw_standing(
        self, canvas: Canvas, camera: Camera, thing: Standing
    ) -> tuple[float, float, float, float] | None:
        right, forward = camera.see(thing.place)
        scale = camera.focal / forward
        u, foot = camera.middle + right * scale, camera.horizon + camera.height * scale
        half = 0.5 * thing.width * scale
        box = (u - half, foot - thing.height * scale, u + half, foot)
        if box[2] <= 0 or box[0] >= canvas.size[1] or forward < 1.0:
            return None
        width = canvas.size[1]
        picture = sprite(thing.kind, thing.variant)
        mirrored = (width - box[2], box[1], width - box[0], box[3])
        drawn = resample(picture, mirrored if thing.mirrored else box, canvas.size)
        if drawn is None:
            return None
        (row, column), patch = drawn
        if thing.mirrored:
            patch, column = patch[:, ::-1], width - column - patch.shape[1]
        beam, veil = self._light.on_thing(right, forward)
        bright = thing.tint * (self._light.ambient + beam * HEADLIGHT_COLOUR)
        if thing.kind in ("post", "sign", "limit", "board"):
            bright = bright + 1.6 * beam  # they reflect
        fade = float(np.clip((VIEW - forward) / 60.0, 0, 1))
        alpha = patch[..., 3] * fade
        colour = patch[..., :3] * ((1 - veil) * fade * bright) + alpha[..., None] * (veil * self._light.haze)
        canvas.paint((row, column), colour.astype(np.float32), alpha, forward, thing.key)
        return box

    @staticmethod
    def _lamp_head(
        camera: Camera, thing: Standing, box: tuple[float, float, float, float]
    ) -> tuple[float, float, float]:
        part = 0.85 if thing.mirrored else 0.15
        u = box[0] + part * (box[2] - box[0])
        return u, box[1] + 0.05 * (box[3] - box[1]), camera.see(thing.place)[1]
