"""The light of a scene: sky colours, ambient light, haze, headlights. A palette that reads well, no physical model."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from latentloom.data.world.scene import WorldScene

Colour = Float[np.ndarray, "3"]


def rgb(red: float, green: float, blue: float) -> Colour:
    """A colour in 0..1 as float32."""
    return np.array([red, green, blue], np.float32)


HEADLIGHT_COLOUR = rgb(1.0, 0.95, 0.82)
LAMP_COLOUR = rgb(1.0, 0.78, 0.5)


@dataclass(frozen=True, kw_only=True)
class Light:
    """Colours in 0..1, strengths as factors."""

    zenith: Colour
    low_sky: Colour
    haze: Colour
    haze_distance: float
    """Metres at which two thirds of a surface's own colour are gone."""
    ambient: Colour
    """Factor on every surface's colour."""
    sun: float
    """Strength of directional light and of shadows, 0..1."""
    sun_colour: Colour
    sun_azimuth: float
    darkness: float
    """0 by day, 0.5 at dusk, 1 at night: lamps are lit above 0."""
    clouds: float
    """How much of the sky is under cloud, 0..1."""

    def veil(self, depth: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """How much of a surface at ``depth`` metres is lost in haze, 0..1."""
        return 1.0 - np.exp(-depth / self.haze_distance)

    def headlight(self, right: Float[np.ndarray, "*#n"], forward: Float[np.ndarray, "*#n"]) -> np.ndarray:
        """Brightness the camera's own headlights add at places in front of it (metres)."""
        spread = (right + 0.3) / (2.4 + 0.16 * forward)
        reach = np.minimum(forward / 6.0, 1.0) / (1.0 + (forward / 24.0) ** 2)
        return (1.25 * self.darkness**2.6) * np.exp(-spread * spread) * reach

    def on_thing(self, right: float, forward: float) -> tuple[float, float]:
        """Headlight brightness and veil of a thing at a place."""
        beam = 0.0
        if self.darkness:
            beam = float(self.headlight(np.array([right]), np.array([forward]))[0])
        return beam, 1.0 - float(np.exp(-forward / self.haze_distance))

    def shade(self, normal: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Brightness factor of walls whose outward normals point along ``normal`` (radians, world)."""
        return 0.9 + self.sun * (0.16 + 0.16 * np.cos(normal - self.sun_azimuth))


@dataclass(frozen=True, kw_only=True)
class _Hour:
    """Colours of a time of day under a clear sky."""

    zenith: Colour
    low_sky: Colour
    haze: Colour
    ambient: Colour
    sun: float
    sun_colour: Colour
    darkness: float


_HOURS = {
    "day": _Hour(
        zenith=rgb(0.25, 0.47, 0.78),
        low_sky=rgb(0.66, 0.79, 0.91),
        haze=rgb(0.71, 0.79, 0.86),
        ambient=rgb(1.0, 0.99, 0.96),
        sun=1.0,
        sun_colour=rgb(1.0, 0.97, 0.86),
        darkness=0.0,
    ),
    "dusk": _Hour(
        zenith=rgb(0.2, 0.25, 0.45),
        low_sky=rgb(0.93, 0.58, 0.4),
        haze=rgb(0.62, 0.47, 0.45),
        ambient=rgb(0.62, 0.53, 0.54),
        sun=0.55,
        sun_colour=rgb(1.0, 0.62, 0.3),
        darkness=0.5,
    ),
    "night": _Hour(
        zenith=rgb(0.012, 0.02, 0.05),
        low_sky=rgb(0.06, 0.075, 0.12),
        haze=rgb(0.04, 0.05, 0.075),
        ambient=rgb(0.125, 0.14, 0.19),
        sun=0.0,
        sun_colour=rgb(0.8, 0.85, 1.0),
        darkness=1.0,
    ),
}
_HAZE_DISTANCE = {"clear": 760.0, "overcast": 520.0, "foggy": 130.0}
_CLOUDS = {"clear": 0.45, "overcast": 0.95, "foggy": 0.75}


def light_of(scene: WorldScene) -> Light:
    """The light of a scene's time of day and weather."""
    hour = _HOURS[scene.time_of_day]
    zenith, low, haze, ambient, sun = hour.zenith, hour.low_sky, hour.haze, hour.ambient, hour.sun
    if scene.weather != "clear":
        grey = (low.mean() * 0.6 + zenith.mean() * 0.4) * rgb(0.97, 1.0, 1.04)
        zenith, low = 0.25 * zenith + 0.75 * grey, 0.2 * low + 0.88 * grey
        haze, ambient, sun = 0.3 * haze + 0.7 * low, ambient * 0.86, sun * 0.12
    return Light(
        zenith=zenith,
        low_sky=low,
        haze=haze,
        haze_distance=_HAZE_DISTANCE[scene.weather],
        ambient=ambient.astype(np.float32),
        sun=sun,
        sun_colour=hour.sun_colour,
        sun_azimuth=scene.sun_azimuth,
        darkness=hour.darkness,
        clouds=_CLOUDS[scene.weather],
    )
