"""Repeatable randomness of the world: noise tiles for surfaces and one generator per numbered cell.

A cell (of road, of a lane, of time) always draws from ``cell_rng(seed, tag, index)``, so the world is the same
whichever part of it is looked at first. Not a general noise library: tiles are band-passed so that a surface can drop
the bands a pixel cannot hold, which is what keeps distant ground from flickering.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

TILE = 512
"""Side of a noise tile in texels; a power of two, because lookups wrap with a bit mask."""
TEXELS_PER_WAVE = 16
"""Texels in one wavelength: fine enough that the nearest texel needs no interpolation."""
_LIFT = 64 * TILE  # makes coordinates positive, so that truncation is floor


def cell_rng(seed: int, tag: int, index: int) -> np.random.Generator:
    """The generator of cell ``index`` (may be negative) of the stream ``tag`` of a world."""
    return np.random.default_rng([seed, tag, index & 0xFFFFFFFF])


@lru_cache(maxsize=8)
def noise_tile(seed: int) -> Float[np.ndarray, "512 512"]:
    """Periodic band-passed noise, mean 0, standard deviation 1, clipped at 2.5, read-only."""
    white = np.random.default_rng(seed).standard_normal((TILE, TILE))
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :]) * TEXELS_PER_WAVE
    tile = np.fft.irfft2(np.fft.rfft2(white) * np.exp(-(((frequency - 1.0) / 0.45) ** 2)), s=(TILE, TILE))
    tile = np.clip(tile / tile.std(), -2.5, 2.5).astype(np.float32)
    tile.setflags(write=False)
    return tile


def sample_noise(
    tile: Float[np.ndarray, "512 512"],
    x: Float[np.ndarray, "*n"],
    y: Float[np.ndarray, "*n"],
    origin: complex,
    wavelength: tuple[float, float],
) -> Float[np.ndarray, "*n"]:
    """Noise at ``origin + (x, y)`` metres, ``|x|, |y|`` under some kilometres; ``wavelength`` in metres along x and y.

    The origin is reduced in float64, so that float32 offsets stay exact however far the camera has driven.
    """
    scale_x, scale_y = TEXELS_PER_WAVE / wavelength[0], TEXELS_PER_WAVE / wavelength[1]
    column = (x * scale_x + (origin.real * scale_x % TILE + _LIFT)).astype(np.int32) & (TILE - 1)
    row = (y * scale_y + (origin.imag * scale_y % TILE + _LIFT)).astype(np.int32) & (TILE - 1)
    return tile.ravel().take(row * TILE + column)


def smoothstep(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """0 below 0, 1 above 1, ``3x^2 - 2x^3`` between."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)
