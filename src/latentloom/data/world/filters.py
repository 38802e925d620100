"""Shapes along one axis, averaged over what a pixel covers of it: an edge, a band, a train of pulses.

All are exact box filters, which is why lines and windows neither break up nor crawl at a distance.
"""

import numpy as np
from jaxtyping import Float

Values = Float[np.ndarray, "*#n"]


def band(value: Values, low: float, high: float, footprint: Values) -> np.ndarray:
    """Share of the footprint around ``value`` that lies between ``low`` and ``high``."""
    half = footprint * 0.5
    return np.maximum(np.minimum(value + half, high) - np.maximum(value - half, low), 0.0) / footprint


def pulses(value: Values, period: float, length: float, footprint: Values) -> np.ndarray:
    """Share of the footprint on a train of pulses that start at multiples of ``period``."""

    def painted(x: np.ndarray) -> np.ndarray:
        whole = np.floor(x * (1.0 / period))
        x = x - whole * period
        return whole * length + np.minimum(x, length, out=x)

    half = footprint * 0.5
    return (painted(value + half) - painted(value - half)) / footprint
