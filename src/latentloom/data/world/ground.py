"""What lies on the ground plane: asphalt, markings, kerbs, verges, grass, shadows, light.

Edges and lines are box-filtered by the pixel's own footprint; noise bands fade out before they would alias.
"""

import numpy as np
from jaxtyping import Float

from latentloom.data.world.canvas import Canvas
from latentloom.data.world.filters import band, pulses
from latentloom.data.world.light import HEADLIGHT_COLOUR, LAMP_COLOUR, Light, rgb
from latentloom.data.world.motion import Camera
from latentloom.data.world.noise import cell_rng, noise_tile, sample_noise
from latentloom.data.world.plane import Plane, RoadPixels, ground_pixels, road_pixels
from latentloom.data.world.road import Road
from latentloom.data.world.scene import WorldScene

STRETCH = 430
"""Metres of road that are drawn."""
JUNCTION_EVERY = 150.0
"""Metres between crossings of a city street."""
CROSSING = (0.0, 16.0)
"""Where, after a junction's mark, the cross street begins and ends."""
LAMP_EVERY = 32.0
LAMP_AT = 0.9
"""Metres outside the asphalt."""

Picture = Float[np.ndarray, "rows w 3"]


def lay(picture: Picture, cover: Plane, colour: Float[np.ndarray, "*n 3"]) -> None:
    """Paint over a picture in place."""
    picture += cover[..., None] * (colour - picture)


class Ground:
    """Shader of the plane for one scene and frame size."""

    def __init__(self, scene: WorldScene, light: Light, camera: Camera, height: int, width: int) -> None:
        self._city = scene.place == "city street"
        self._light, self._place = light, scene.road
        self._focal = camera.focal
        self.pixels = pixels = ground_pixels(camera, height, width)
        self._veil = light.veil(pixels.forward)[..., None]
        self._beam = light.headlight(pixels.right, pixels.forward)[..., None] * HEADLIGHT_COLOUR
        self._tiles = [noise_tile(21), noise_tile(22)]
        draw = cell_rng(scene.seed, 5, 0).random(4).tolist()
        self._shift = complex(*cell_rng(scene.seed, 5, 1).uniform(0, 9000, 2))
        self._asphalt = (0.31 + 0.12 * draw[0]) * rgb(1.0, 1.0 + 0.015 * draw[1], 1.02 + 0.03 * draw[1])
        self._grass = rgb(0.27 + 0.17 * draw[2], 0.38 + 0.05 * draw[2], 0.15 + 0.02 * draw[2])
        self._yellow_middle = draw[3] < 0.5

    def draw(self, road: Road, camera: Camera, ego_s: float) -> Picture:
        """Colours of the plane's rows, lit and hazed."""
        place = road_pixels(self.pixels, road.stretch(int(ego_s) - 12, STRETCH, camera.position, camera.heading))
        cosine, sine = float(np.cos(camera.heading)), float(np.sin(camera.heading))
        x = self.pixels.forward * cosine + self.pixels.right * sine
        y = self.pixels.forward * sine - self.pixels.right * cosine
        coarse = self._noise(x, y, camera.position, 7.0, 0)
        fine = self._noise(x, y, camera.position, 0.45, 1)
        middle = self._noise(x, y, camera.position, 1.7, 0)
        colour = self._town(coarse, middle, fine) if self._city else self._meadow(x, y, camera, coarse, middle, fine)
        self._lay_border(colour, place, coarse, fine)
        self._lay_asphalt(colour, place, coarse, fine)
        worn = np.clip(0.86 + 0.08 * fine + 0.05 * coarse, 0, 1)
        for paint, cover in self._markings(place):
            lay(colour, worn * cover, paint)
        colour *= self._brightness(place)
        colour += self._veil * (self._light.haze - colour)
        return colour

    def cast_shadow(self, canvas: Canvas, foot: tuple[float, float], reach: tuple[float, float], size: float) -> None:
        """Darken an ellipse of ground that starts at ``foot`` (right, forward; metres) and lies along ``reach``.

        ``size`` is half its width in metres.
        """
        long = max(float(np.hypot(*reach)), 1e-3)
        unit, half = (reach[0] / long, reach[1] / long), size + 0.5 * long
        right, forward = foot[0] + 0.5 * reach[0], foot[1] + 0.5 * reach[1]
        near, far = max(forward - half, 1.0), forward + half
        if far < near:
            return
        pixels = self.pixels
        first, last = np.searchsorted(-pixels.forward[:, 0], [-far, -near]).tolist()
        corners = [(right + sign * half) / depth for sign in (-1, 1) for depth in (near, far)]
        middle = canvas.size[1] / 2
        left, end = max(int(middle + self._focal * min(corners)), 0), int(middle + self._focal * max(corners)) + 2
        if first > last or left >= end:
            return
        columns = slice(left, end)
        x, z = pixels.right[first : last + 1, columns] - right, pixels.forward[first : last + 1] - forward
        along, across = (x * unit[0] + z * unit[1]) * (1 / half), (x * unit[1] - z * unit[0]) * (1 / size)
        dark = np.clip(1.25 - 1.25 * (along * along + across * across), 0.0, 1.0)
        rows = slice(pixels.top + first, pixels.top + last + 1)
        canvas.colour[rows, columns] *= (1.0 - (0.08 + 0.32 * self._light.sun) * dark)[..., None]

    def _noise(self, x: Plane, y: Plane, origin: complex, wavelength: float, tile: int) -> Plane:
        """A band of noise, faded where a pixel is too deep to hold it."""
        fade = 1.0 / (1.0 + (2.2 * self.pixels.along / wavelength) ** 4)
        first = int(np.sum(fade[:, 0] < 0.02))
        result = np.zeros(x.shape, np.float32)
        waves, tiles = (wavelength, wavelength), self._tiles
        result[first:] = sample_noise(tiles[tile], x[first:], y[first:], origin + self._shift, waves) * fade[first:]
        return result

    def _meadow(self, x: Plane, y: Plane, camera: Camera, coarse: Plane, middle: Plane, fine: Plane) -> Picture:
        wide = self._noise(x, y, camera.position, 31.0, 1)
        shade = 1 + 0.1 * wide + 0.09 * coarse + 0.11 * middle + 0.1 * fine
        dry = np.clip(0.35 * wide + 0.2 * coarse, -0.6, 1.0)[..., None] * rgb(0.09, 0.045, 0.01)
        return (self._grass + dry) * shade[..., None]

    @staticmethod
    def _town(coarse: Plane, middle: Plane, fine: Plane) -> Picture:
        return rgb(0.47, 0.46, 0.44) * (1 + 0.04 * coarse + 0.03 * middle + 0.03 * fine)[..., None]

    def _lay_border(self, colour: Picture, place: RoadPixels, coarse: Plane, fine: Plane) -> None:
        """Gravel verge, or sidewalk with kerb and gutter."""
        inner, outer = self._place.paved
        if not self._place.sidewalk:
            gravel = band(place.side, inner - 0.7 if inner else 0.0, outer + 0.8, place.wide)
            gravel *= np.clip(0.75 + 0.3 * coarse, 0, 1)
            lay(colour, gravel, rgb(0.46, 0.43, 0.37) * (1 + 0.16 * fine)[..., None])
            return
        joints = pulses(place.since(2.0), 2.0, 0.07, place.long) * 0.22
        walk = band(place.side, outer, outer + self._place.sidewalk, place.wide)
        lay(colour, walk, rgb(0.6, 0.59, 0.57) * (1 - joints)[..., None])
        lay(colour, band(place.side, outer - 0.02, outer + 0.2, place.wide), rgb(0.72, 0.71, 0.69))
        lay(colour, band(place.side, outer - 0.22, outer - 0.02, place.wide), rgb(0.2, 0.2, 0.2))

    def _lay_asphalt(self, colour: Picture, place: RoadPixels, coarse: Plane, fine: Plane) -> None:
        inner, outer = self._place.paved
        asphalt = band(place.side, inner if inner else -1.0, outer, place.wide)
        if self._city:
            asphalt = np.maximum(asphalt, band(self._after_junction(place), *CROSSING, place.long))
        origin = complex(place.start, 0) + self._shift
        streaks = sample_noise(self._tiles[0], place.s, place.d, origin, (46.0, 0.9))
        streaks /= 1 + (2.4 * place.wide) ** 4
        grain = sample_noise(self._tiles[1], place.s, place.d, origin, (0.5, 0.13))
        grain /= 1 + (4.4 * place.long) ** 4 + (17 * place.wide) ** 4
        lane = (place.side - self._place.median / 2) % self._place.lane_width - self._place.lane_width / 2
        tracks = np.exp(-(((np.abs(lane) - 0.85) * 2.5) ** 2)) / (1 + (place.wide * 1.25) ** 2)
        tone = 1 + 0.045 * streaks + 0.035 * coarse + 0.035 * fine + 0.035 * grain - 0.09 * tracks
        lay(colour, asphalt, self._asphalt * tone[..., None])

    @staticmethod
    def _after_junction(place: RoadPixels) -> Plane:
        """Metres after the nearest junction's mark, within half the distance between junctions."""
        half = JUNCTION_EVERY / 2
        return (place.since(JUNCTION_EVERY) + half) % JUNCTION_EVERY - half

    def _markings(self, place: RoadPixels) -> list[tuple[np.ndarray, Plane]]:
        """Paints and where they cover."""
        white, yellow = rgb(0.9, 0.9, 0.88), rgb(0.9, 0.7, 0.2)
        road, first = self._place, self._place.median / 2
        edge = first + road.lanes * road.lane_width
        lines = band(place.side, edge - 0.08, edge + 0.08, place.wide)
        if road.lanes > 1:
            dash = pulses(place.since(12.0), 12.0, 4.0, place.long)
            for lane in range(1, road.lanes):
                between = first + lane * road.lane_width
                lines += band(place.side, between - 0.075, between + 0.075, place.wide) * dash
        if first:
            middle = band(place.side, first - 0.08, first + 0.08, place.wide)
        elif self._yellow_middle:
            middle = band(place.side, 0.07, 0.2, place.wide)
        else:
            middle = band(place.d, -0.07, 0.07, place.wide) * pulses(place.since(9.0), 9.0, 4.5, place.long)
        if self._city:
            after = self._after_junction(place)
            clear = 1 - band(after, CROSSING[0] - 7, CROSSING[1] + 6, place.long)
            lines, middle = lines * clear + self._crossing_lines(place, after), middle * clear
        return [(white, np.minimum(lines, 1.0)), (yellow if first or self._yellow_middle else white, middle)]

    def _crossing_lines(self, place: RoadPixels, after: Plane) -> Plane:
        """Zebra stripes on both sides of a junction and the stop line before it."""
        kerb = self._place.paved[1] - 0.5
        zebra = band(after, CROSSING[0] - 5.0, CROSSING[0] - 1.5, place.long)
        zebra += band(after, CROSSING[1] + 1.5, CROSSING[1] + 5.0, place.long)
        zebra *= band(place.side, -1.0, kerb, place.wide) * pulses(place.d, 1.1, 0.55, place.wide)
        stop = band(after, CROSSING[0] - 7.0, CROSSING[0] - 6.5, place.long) * band(place.d, 0.2, kerb, place.wide)
        return zebra + stop

    def _brightness(self, place: RoadPixels) -> np.ndarray:
        if not self._light.darkness:
            return self._light.ambient
        bright = self._light.ambient + self._beam
        if self._city:
            half = LAMP_EVERY / 2
            near = (place.since(LAMP_EVERY) + half) % LAMP_EVERY - half
            away = place.side - (self._place.paved[1] - 1.0)
            pool = np.exp(-((near * (1 / 9.0)) ** 2) - (away * (1 / 6.5)) ** 2)
            bright = bright + (0.5 * self._light.darkness**1.7) * pool[..., None] * LAMP_COLOUR
        return bright
