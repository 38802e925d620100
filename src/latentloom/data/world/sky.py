"""Everything at infinity: sky, clouds, sun or moon, stars, hills and the skyline, painted once on a cylinder.

The panorama has one column per azimuth and one row per elevation (tangent of the angle above the horizon), at the
pixel density of the frame, so that looking it up never aliases.
"""

import numpy as np
from jaxtyping import Float

from latentloom.data.world.light import Light, rgb
from latentloom.data.world.motion import Camera
from latentloom.data.world.noise import noise_tile, sample_noise, smoothstep
from latentloom.data.world.scene import WorldScene

BELOW = 0.03
"""How far (tangent) the panorama reaches below the horizon."""


class Sky:
    """The panorama of a scene for frames of one size."""

    def __init__(self, scene: WorldScene, light: Light, camera: Camera, width: int) -> None:
        self._scale = camera.focal
        self._columns = round(2 * np.pi * camera.focal)
        across = (np.arange(width) + 0.5 - camera.middle) / camera.focal
        self._azimuth = -np.arctan(across)
        cosine = np.cos(self._azimuth)
        self.bottom = int(np.ceil(camera.horizon))
        """Rows from here on hold no sky."""
        slope = (camera.horizon - np.arange(self.bottom) - 0.5)[:, None] / camera.focal * cosine
        self._top = float(slope.max()) + 2 / camera.focal
        rows = int((self._top + BELOW) * camera.focal) + 2
        at = (self._top - slope) * camera.focal - 0.5
        self._row = at.astype(np.int64)
        self._part = (at - self._row).astype(np.float32)[..., None]
        self._offset = np.arange(width) * rows
        azimuth = np.arange(self._columns) * (2 * np.pi / self._columns)
        elevation = self._top - (np.arange(rows) + 0.5) / camera.focal
        self.panorama = paint_panorama(scene, light, azimuth, elevation)

    def look(self, heading: float) -> Float[np.ndarray, "rows w 3"]:
        """What a camera with this heading sees above the horizon."""
        at = (heading + self._azimuth) * (self._columns / (2 * np.pi)) % self._columns
        index = at.astype(np.int64)
        part = (at - index).astype(np.float32)[:, None, None]
        first, second = self.panorama[index % self._columns], self.panorama[(index + 1) % self._columns]
        seen = (first + (second - first) * part).reshape(-1, 3)
        upper = seen[self._offset + self._row]
        return upper + (seen[self._offset + self._row + 1] - upper) * self._part


def _sky_and_clouds(scene: WorldScene, light: Light, azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    height = np.clip(elevation / 0.42, 0, 1).astype(np.float32)[None, :, None] ** 0.75
    picture = light.low_sky + (light.zenith - light.low_sky) * height
    away = np.angle(np.exp(1j * (azimuth - light.sun_azimuth)))[:, None]
    sunny = np.exp(-((away / 0.75) ** 2) - (elevation / 0.3) ** 2)[..., None].astype(np.float32)
    picture = picture + light.sun * (0.45 if light.darkness else 0.16) * sunny * (light.sun_colour - picture * 0.6)
    tile = noise_tile(11)
    ray = np.exp(1j * azimuth)[:, None] / (np.maximum(elevation, 0) + 0.11)
    x, y = ray.real.astype(np.float32), ray.imag.astype(np.float32)
    x = x + 0.12 * sample_noise(tile, x, y, 31.0 + 7.0j, (1.0, 1.0))  # warped, or the bands show
    shift = complex(scene.seed % 97, scene.seed % 89)
    cover = np.zeros(x.shape, np.float32)
    for number, (wave, weight) in enumerate([(3.3, 0.62), (1.5, 0.34), (0.8, 0.24), (0.4, 0.16), (0.2, 0.09)]):
        cover += weight * sample_noise(tile, x, y, shift * (2 + number), (wave, wave * 0.8))
    cover = smoothstep((cover + 3.0 * (light.clouds - 0.5)) * 0.55 + 0.2) * np.clip(elevation / 0.08, 0, 1)
    lit = {0.0: rgb(1, 1, 1), 0.5: light.sun_colour * light.sun + light.haze, 1.0: light.haze}[light.darkness]
    bright = light.haze * 0.9 if light.darkness == 1 else light.low_sky * 0.45 + lit * 0.55
    thick = cover[..., None].astype(np.float32) * (0.8 if light.darkness == 0 else 0.6)
    return picture + thick * (bright * (1 - 0.22 * thick) - picture)


def _ridge(rng: np.random.Generator, azimuth: np.ndarray, low: int, high: int, fall: float) -> np.ndarray:
    """A periodic skyline of mean 0 and deviation about 1."""
    wave = np.arange(low, high)
    size = wave.astype(float) ** -fall
    phase = rng.uniform(0, 2 * np.pi, len(wave))
    return (size[:, None] * np.cos(wave[:, None] * azimuth + phase[:, None])).sum(0) / np.sqrt((size**2).sum() / 2)


def _add_stars(picture: np.ndarray, rng: np.random.Generator, elevation: np.ndarray) -> None:
    """Two texels wide, so that they do not twinkle when the camera turns."""
    columns = len(picture)
    azimuth, height = rng.random(700), rng.uniform(0.03, 0.9, 700)
    column = (azimuth * columns).astype(int)
    row = ((elevation[0] - height) / (elevation[0] - elevation[1])).astype(int)
    glow = rng.uniform(0.0, 0.6, (700, 1)).astype(np.float32) ** 2 * rgb(0.5, 0.52, 0.6)
    for right, down in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        inside = row + down >= 0
        picture[(column[inside] + right) % columns, row[inside] + down] += glow[inside]


def _skyline(rng: np.random.Generator, azimuth: np.ndarray) -> np.ndarray:
    """Heights (tangent) of distant city blocks by azimuth."""
    count = 150
    heights = rng.uniform(0.012, 0.05, count) * np.where(rng.random(count) < 0.15, 1.9, 1.0)
    return heights[(azimuth / (2 * np.pi) * count).astype(int) % count]


def paint_panorama(
    scene: WorldScene, light: Light, azimuth: Float[np.ndarray, "a"], elevation: Float[np.ndarray, "e"]
) -> Float[np.ndarray, "a e 3"]:
    """Colours by azimuth and elevation, 0..1 (a little above where the sun stands)."""
    rng = np.random.default_rng([scene.seed, 4])
    picture = _sky_and_clouds(scene, light, azimuth, elevation)
    if light.darkness == 1 and scene.weather == "clear":
        _add_stars(picture, rng, elevation)
    texel = abs(elevation[1] - elevation[0])
    city = scene.place == "city street"
    high = 0.4 + 2.6 * rng.random() ** 2
    layers = [
        (high * (0.028 + 0.017 * _ridge(rng, azimuth, 2, 60, 1.05)), rgb(0.34, 0.42, 0.5), 0.76),
        (high * (0.015 + 0.008 * _ridge(rng, azimuth, 5, 120, 0.9)), rgb(0.3, 0.4, 0.36), 0.58),
    ]
    if city:
        layers.append((_skyline(rng, azimuth), rgb(0.42, 0.44, 0.48), 0.6))
    woods = 0.008 + 0.002 * _ridge(rng, azimuth, 4, 60, 0.5) + 0.0016 * _ridge(rng, azimuth, 60, 400, 0.2)
    layers.append((woods, rgb(0.2, 0.28, 0.16), 0.42))
    fog = 0.6 if scene.weather == "foggy" else 0.0
    for profile, colour, veil in layers:
        cover = np.clip((profile[:, None] - elevation) / texel + 0.5, 0, 1)[..., None].astype(np.float32)
        veil = veil + (1 - veil) * fog
        picture += cover * (colour * light.ambient * (1 - veil) + light.haze * veil - picture)
    ground = np.clip(0.5 - elevation / texel, 0, 1)[None, :, None].astype(np.float32)
    return (picture + ground * (light.haze - picture)).astype(np.float32)
