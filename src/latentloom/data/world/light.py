"""The light of a scene: sky colours, ambient light, haze, headlights. Not a physical model: a palette that reads well."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from latentloom.data.world.scene import WorldScene

Colour = Float[np.ndarray, "3"]


def rgb(red: float, green: float, blue: float) -> Colour:
    """A colour in 0..1 as float32."""
    return np.array([red, green, blue], np.float32)


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
    """Share of the sky under cloud."""

    def veil(self, depth: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """How much of a surface at ``depth`` metres is lost in haze, 0..1."""
        return 1.0 - np.exp(-depth / self.haze_distance)

    def headlight(self, right: Float[np.ndarray, "*n"], forward: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Brightness the camera's own headlights add at a place in front of it (metres)."""
        if self.darkness == 0:
            return np.zeros(np.broadcast(right, forward).shape, np.float32)
        spread = (right + 0.3) / (2.4 + 0.16 * forward)
        reach = np.minimum(forward / 6.0, 1.0) / (1.0 + (forward / 24.0) ** 2)
        return (1.25 if self.darkness == 1 else 0.2) * np.exp(-spread * spread) * reach

    def shade(self, normal: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Brightness factor of walls whose outward normals point along ``normal`` (radians, world)."""
        return 0.9 + self.sun * (0.16 + 0.16 * np.cos(normal - self.sun_azimuth))


HEADLIGHT_COLOUR = rgb(1.0, 0.95, 0.82)


def light_of(scene: WorldScene) -> Light:
    """The light of a scene's time of day and weather."""
    overcast, foggy = scene.weather == "overcast", scene.weather == "foggy"
    distance = 130.0 if foggy else (520.0 if overcast else 760.0)
    if scene.time_of_day == "day":
        zenith, low, haze = rgb(0.25, 0.47, 0.78), rgb(0.66, 0.79, 0.91), rgb(0.71, 0.79, 0.86)
        ambient, sun, sun_colour, darkness = rgb(1.0, 0.99, 0.96), 1.0, rgb(1.0, 0.97, 0.86), 0.0
    elif scene.time_of_day == "dusk":
        zenith, low, haze = rgb(0.2, 0.25, 0.45), rgb(0.93, 0.58, 0.4), rgb(0.62, 0.47, 0.45)
        ambient, sun, sun_colour, darkness = rgb(0.56, 0.48, 0.5), 0.55, rgb(1.0, 0.62, 0.3), 0.5
    else:
        zenith, low, haze = rgb(0.012, 0.02, 0.05), rgb(0.06, 0.075, 0.12), rgb(0.04, 0.05, 0.075)
        ambient, sun, sun_colour, darkness = rgb(0.125, 0.14, 0.19), 0.0, rgb(0.8, 0.85, 1.0), 1.0
    if overcast or foggy:
        grey = (low.mean() * 0.6 + zenith.mean() * 0.4) * rgb(0.97, 1.0, 1.04)
        zenith, low = 0.25 * zenith + 0.75 * grey, 0.2 * low + 0.8 * grey * 1.1
        haze = 0.3 * haze + 0.7 * low
        ambient, sun = ambient * 0.86, sun * 0.12
    return Light(
        zenith=zenith,
        low_sky=low,
        haze=haze,
        haze_distance=distance,
        ambient=ambient,
        sun=sun,
        sun_colour=sun_colour,
        sun_azimuth=scene.sun_azimuth,
        darkness=darkness,
        clouds=0.95 if overcast else (0.75 if foggy else 0.45),
    )
