"""The ground plane: asphalt, markings, kerbs, verges and grass, exact by pixel.

Every pixel below the horizon is carried to the plane and from there to road coordinates (s along, d to the right of the
middle). Edges and lines are box-filtered by the pixel's own footprint; noise bands fade out before they would alias.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from latentloom.data.world.canvas import Canvas
from latentloom.data.world.light import HEADLIGHT_COLOUR, Light, rgb
from latentloom.data.world.motion import Camera
from latentloom.data.world.noise import cell_rng, noise_tile, sample_noise
from latentloom.data.world.road import Road, Stretch
from latentloom.data.world.scene import WorldScene

FAR = 1500.0
"""Metres at which the plane ends in haze."""
STRETCH = 430
"""Metres of road that are drawn."""
JUNCTION_EVERY = 150.0
"""Metres between crossings of a city street."""
CROSSING = (0.0, 16.0)
"""Where, after a junction's mark, the cross street begins and ends."""
LAMP_EVERY = 32.0
LAMP_AT = 0.9
"""Metres outside the asphalt."""

Plane = Float[np.ndarray, "rows w"]


@dataclass(frozen=True, kw_only=True)
class GroundPixels:
    """Where the pixels below the horizon lie on the plane."""

    top: int
    """First row."""
    right: Plane
    forward: Float[np.ndarray, "rows 1"]
    across: Float[np.ndarray, "rows 1"]
    """Metres a pixel covers sideways."""
    along: Float[np.ndarray, "rows 1"]
    """Metres a pixel covers in depth."""


def ground_pixels(camera: Camera, height: int, width: int) -> GroundPixels:
    """The pixels of the plane; fixed for a camera that never pitches."""
    top = int(np.ceil(camera.horizon - 0.5 + 1e-6))
    below = np.arange(top, height, dtype=np.float64)[:, None] + 0.5 - camera.horizon
    forward = np.minimum(camera.focal * camera.height / np.maximum(below, 1e-3), FAR)
    nearer = camera.focal * camera.height / (below + 0.5)
    farther = np.minimum(camera.focal * camera.height / np.maximum(below - 0.5, 1e-3), 2 * FAR)
    right = (np.arange(width) + 0.5 - camera.middle) / camera.focal * forward
    parts = (right, forward, forward / camera.focal, farther - nearer)
    return GroundPixels(top=top, **dict(zip(("right", "forward", "across", "along"), (p.astype(np.float32) for p in parts))))


def step(value: np.ndarray, edge: float, footprint: np.ndarray) -> np.ndarray:
    """1 where ``value`` is above ``edge``, 0 below, averaged over the footprint."""
    return np.clip((value - edge) / footprint + 0.5, 0.0, 1.0)


def band(value: np.ndarray, low: float, high: float, footprint: np.ndarray) -> np.ndarray:
    """Share of the footprint around ``value`` that lies between ``low`` and ``high``."""
    half = footprint * 0.5
    return np.maximum(np.minimum(value + half, high) - np.maximum(value - half, low), 0.0) / footprint


def pulses(value: np.ndarray, period: float, length: float, footprint: np.ndarray) -> np.ndarray:
    """Share of the footprint on a train of pulses that start at multiples of ``period``."""

    def painted(x: np.ndarray) -> np.ndarray:
        whole = np.floor(x / period)
        return whole * length + np.minimum(x - whole * period, length)

    return (painted(value + footprint * 0.5) - painted(value - footprint * 0.5)) / footprint


def road_coordinates(pixels: GroundPixels, stretch: Stretch) -> tuple[Plane, Plane, Plane]:
    """s (metres after the stretch's start), d, and the sine of the road's angle to the view, of every pixel."""
    turned_away = np.flatnonzero(np.diff(stretch.forward) <= 0.05)
    count = int(turned_away[0]) + 1 if len(turned_away) else len(stretch.forward)
    first = np.interp(pixels.forward[:, 0], stretch.forward[:count], np.arange(count, dtype=np.float32))
    middle = np.interp(first, np.arange(len(stretch.right)), stretch.right)[:, None]
    sine = np.interp(first, np.arange(len(stretch.right)), stretch.sine)[:, None]
    s = (first[:, None] + (pixels.right - middle) * sine).astype(np.float32)
    last = len(stretch.right) - 1
    along = across = curvature = tilt = s
    index = s.astype(np.int32)
    for _ in range(3):
        index = np.clip(s + 0.5, 0, last).astype(np.int32)
        x, z = pixels.right - stretch.right.take(index), pixels.forward - stretch.forward.take(index)
        tilt, cosine = stretch.sine.take(index), stretch.cosine.take(index)
        curvature = stretch.curvature.take(index)
        along, across = x * tilt + z * cosine, x * cosine - z * tilt
        s = index + along / np.maximum(1.0 + curvature * across, 0.3)
    inside = np.maximum(1.0 + curvature * across, 0.3)
    lost = np.maximum(np.abs(s - index) - 1.5, 0.0)  # beyond the ends, or no foot point: far from the road
    d = across + curvature * along * along / (2 * inside)
    return s, d + np.copysign(lost, d), tilt


class Ground:
    """Shader of the plane for one scene and frame size."""

    def __init__(self, scene: WorldScene, light: Light, camera: Camera, height: int, width: int) -> None:
        self._scene, self._light, self._place = scene, light, scene.road
        self.pixels = pixels = ground_pixels(camera, height, width)
        self._ray = pixels.right[-1:] / pixels.forward[-1:]
        self._veil = light.veil(pixels.forward)[..., None]
        self._beam = light.headlight(pixels.right, pixels.forward)
        self._tiles = [noise_tile(21), noise_tile(22)]
        draw = cell_rng(scene.seed, 5, 0).random(6).astype(np.float32)
        self._shift = complex(*cell_rng(scene.seed, 5, 1).uniform(0, 9000, 2))
        self._asphalt = (0.31 + 0.12 * draw[0]) * rgb(1.0, 1.0 + 0.015 * draw[1], 1.02 + 0.03 * draw[1])
        green = draw[2] if scene.place != "city street" else 0.2
        self._grass = rgb(0.27 + 0.17 * green, 0.38 + 0.05 * green, 0.15 + 0.02 * green)
        self._middle_yellow = draw[3] < 0.5

    def cast_shadow(self, canvas: Canvas, foot: tuple[float, float], reach: tuple[float, float], size: float) -> None:
        """Darken an ellipse of ground that starts at ``foot`` (right, forward; metres) and lies along ``reach``.

        ``size`` is half its width in metres.
        """
        long = max(float(np.hypot(*reach)), 1e-3)
        unit = (reach[0] / long, reach[1] / long)
        half = size + 0.5 * long
        right, forward = foot[0] + 0.5 * reach[0], foot[1] + 0.5 * reach[1]
        pixels, near = self.pixels, max(forward - half, 1.0)
        if forward + half < near:
            return
        depths = pixels.forward[:, 0]  # falls from row to row
        first = int(np.searchsorted(-depths, -(forward + half)))
        last = int(np.searchsorted(-depths, -near)) + 1
        focal, width = 1 / (pixels.across[0, 0] / depths[0]), canvas.size[1]
        left = width / 2 + focal * min((right - half) / near, (right - half) / (forward + half))
        end = width / 2 + focal * max((right + half) / near, (right + half) / (forward + half))
        columns = slice(max(int(left), 0), max(min(int(end) + 2, width), 0))
        if first >= last or columns.start >= columns.stop:
            return
        x, z = pixels.right[first:last, columns] - right, pixels.forward[first:last] - forward
        along, across = (x * unit[0] + z * unit[1]) / half, (x * unit[1] - z * unit[0]) / size
        dark = np.clip(1.25 - 1.25 * (along * along + across * across), 0.0, 1.0)
        rows = slice(pixels.top + first, pixels.top + last)
        canvas.colour[rows, columns] *= (1.0 - (0.08 + 0.32 * self._light.sun) * dark)[..., None]

    def _fade(self, wavelength: float) -> np.ndarray:
        return 1.0 / (1.0 + (2.2 * self.pixels.along / wavelength) ** 4)

    def _noise(self, x: Plane, y: Plane, origin: complex, wavelength: float, tile: int = 0) -> Plane:
        fade = self._fade(wavelength)
        count = int(np.sum(fade[:, 0] < 0.02))  # the far rows hold nothing of this band
        result = np.zeros(x.shape, np.float32)
        waves = (wavelength, wavelength)
        result[count:] = sample_noise(self._tiles[tile], x[count:], y[count:], origin + self._shift, waves) * fade[count:]
        return result

    def draw(self, road: Road, camera: Camera, ego_s: float) -> Float[np.ndarray, "rows w 3"]:
        """Colours of the plane's rows, lit and hazed."""
        pixels, start = self.pixels, int(ego_s) - 12
        stretch = road.stretch(start, STRETCH, camera.position, camera.heading)
        s, d, sine = road_coordinates(pixels, stretch)
        cosine = np.sqrt(np.maximum(1 - sine * sine, 0.0))
        # how far d and s move over one pixel, in both directions of the picture
        wide = np.sqrt((pixels.across * cosine) ** 2 + (pixels.along * (self._ray * cosine - sine)) ** 2)
        long = np.sqrt((pixels.along * (cosine + self._ray * sine)) ** 2 + (pixels.across * sine) ** 2)
        turn = np.exp(1j * camera.heading)
        x = pixels.forward * float(turn.real) + pixels.right * float(turn.imag)
        y = pixels.forward * float(turn.imag) - pixels.right * float(turn.real)
        coarse = self._noise(x, y, camera.position, 7.0)
        fine = self._noise(x, y, camera.position, 0.45, 1)
        colour = self._natural(x, y, camera.position, coarse, fine)
        colour = self._paved(colour, s, d, wide, long, start, coarse, fine)
        bright = self._light.ambient + self._beam[..., None] * HEADLIGHT_COLOUR
        if self._light.darkness and self._scene.place == "city street":
            bright = bright + self._lamp_light(s, d, start)[..., None] * rgb(1.0, 0.78, 0.5)
        colour *= bright
        return colour + self._veil * (self._light.haze - colour)

    def _natural(self, x: Plane, y: Plane, origin: complex, coarse: Plane, fine: Plane) -> np.ndarray:
        wide, middle = self._noise(x, y, origin, 31.0, 1), self._noise(x, y, origin, 1.7)
        if self._scene.place == "city street":
            base = rgb(0.47, 0.46, 0.44) * (1 + 0.04 * coarse + 0.03 * middle + 0.03 * fine)[..., None]
            return base.astype(np.float32)
        shade = 1 + 0.1 * wide + 0.09 * coarse + 0.11 * middle + 0.1 * fine
        dry = np.clip(0.35 * wide + 0.2 * coarse, -0.6, 1.0)[..., None] * rgb(0.09, 0.045, 0.01)
        return ((self._grass + dry) * shade[..., None]).astype(np.float32)

    def _paved(
        self, colour: np.ndarray, s: Plane, d: Plane, wide: Plane, long: Plane, start: int, coarse: Plane, fine: Plane
    ) -> np.ndarray:
        place, side = self._place, np.abs(d)
        inner, outer = place.paved
        if place.sidewalk:
            self._lay_sidewalk(colour, s, side, wide, long, start)
        else:  # a gravel verge
            gravel = band(side, inner - 0.7 if inner else 0.0, outer + 0.8, wide) * np.clip(0.75 + 0.3 * coarse, 0, 1)
            colour += gravel[..., None] * (rgb(0.46, 0.43, 0.37) * (1 + 0.16 * fine)[..., None] - colour)
        asphalt = band(side, inner, outer, wide) if inner else step(-side, -outer, wide)
        if place.sidewalk:
            after = self._after_junction(s, start)
            asphalt = np.maximum(asphalt, band(after, *CROSSING, long))
        streaks = sample_noise(self._tiles[0], s, d, complex(start, 0) + self._shift, (46.0, 0.9))
        streaks = streaks / (1 + (2.2 * wide / 0.9) ** 4)
        grain = sample_noise(self._tiles[1], s, d, complex(start, 0) + self._shift, (0.5, 0.13))
        grain = grain / (1 + (2.2 * long / 0.5) ** 4 + (2.2 * wide / 0.13) ** 4)
        lane = (side - place.median / 2) % place.lane_width - place.lane_width / 2
        tracks = np.exp(-(((np.abs(lane) - 0.85) / 0.4) ** 2)) / (1 + (wide / 0.8) ** 2)
        tone = 1 + 0.045 * streaks + 0.035 * coarse + 0.035 * fine + 0.035 * grain - 0.09 * tracks
        colour += asphalt[..., None] * (self._asphalt * tone[..., None] - colour)
        for paint, cover in self._markings(s, d, wide, long, start):
            worn = np.clip(0.86 + 0.08 * fine + 0.05 * coarse, 0, 1) * cover
            colour += worn[..., None] * (paint - colour)
        return colour

    def _after_junction(self, s: Plane, start: int) -> Plane:
        """Metres after the nearest junction's mark, within half the distance between junctions."""
        half = JUNCTION_EVERY / 2
        return (s + float((start - half) % JUNCTION_EVERY)) % JUNCTION_EVERY - half

    def _lay_sidewalk(self, colour: np.ndarray, s: Plane, side: Plane, wide: Plane, long: Plane, start: int) -> None:
        outer = self._place.paved[1]
        walk = band(side, outer, outer + self._place.sidewalk, wide)
        joints = pulses(s + float(start % 2), 2.0, 0.07, long) * 0.22
        colour += walk[..., None] * (rgb(0.6, 0.59, 0.57) * (1 - joints)[..., None] - colour)
        kerb = band(side, outer - 0.02, outer + 0.2, wide)
        colour += kerb[..., None] * (rgb(0.72, 0.71, 0.69) - colour)
        gutter = band(side, outer - 0.22, outer - 0.02, wide)
        colour += gutter[..., None] * (rgb(0.2, 0.2, 0.2) - colour)

    def _markings(self, s: Plane, d: Plane, wide: Plane, long: Plane, start: int) -> list[tuple[np.ndarray, np.ndarray]]:
        place, side = self._place, np.abs(d)
        white, yellow = rgb(0.9, 0.9, 0.88), rgb(0.9, 0.7, 0.2)
        first = place.median / 2
        painted: list[tuple[np.ndarray, np.ndarray]] = []
        solid = band(side, first + place.lanes * place.lane_width - 0.08, first + place.lanes * place.lane_width + 0.08, wide)
        if place.lanes > 1:
            dash = pulses(s + float(start % 12), 12.0, 4.0, long)
            for lane in range(1, place.lanes):
                edge = first + lane * place.lane_width
                solid = solid + band(side, edge - 0.075, edge + 0.075, wide) * dash
        if place.sidewalk:
            after = self._after_junction(s, start)
            zebra = band(after, CROSSING[0] - 5.0, CROSSING[0] - 1.5, long) + band(after, CROSSING[1] + 1.5, CROSSING[1] + 5, long)
            inside = band(side, 0, place.paved[1] - 0.5, wide)
            solid = solid * (1 - band(after, CROSSING[0] - 7, CROSSING[1] + 6, long)) + zebra * inside * pulses(d, 1.1, 0.55, wide)
            stop = band(after, CROSSING[0] - 7.0, CROSSING[0] - 6.5, long) * band(d, 0.2, place.paved[1] - 0.6, wide)
            solid = solid + stop
        painted.append((white, np.minimum(solid, 1.0)))
        if first:
            painted.append((yellow, band(side, first - 0.08, first + 0.08, wide)))
        elif self._middle_yellow:
            centre = band(side, 0.07, 0.2, wide)
            if place.sidewalk:
                centre = centre * (1 - band(self._after_junction(s, start), CROSSING[0] - 7, CROSSING[1] + 6, long))
            painted.append((yellow, centre))
        else:
            painted.append((white, band(d, -0.07, 0.07, wide) * pulses(s + float(start % 9), 9.0, 4.5, long)))
        return painted

    def _lamp_light(self, s: Plane, d: Plane, start: int) -> Plane:
        near = (s + float(start % LAMP_EVERY) + LAMP_EVERY / 2) % LAMP_EVERY - LAMP_EVERY / 2
        away = np.abs(d) - self._place.paved[1] + 1.0
        return (0.5 if self._light.darkness == 1 else 0.16) * np.exp(-((near / 9.0) ** 2) - (away / 6.5) ** 2)
