"""A drive in words: ``left:2s,straight:3s`` to a steering value per frame, which prediction follows."""

import math

WORDS = {"left": -0.4, "straight": 0.0, "right": 0.4}
"""Shares of full lock (25 degrees of the wheels); a number from -1 (full left) to 1 may stand for a word."""


def steering_of(text: str, fps: float, num_frames: int) -> list[float]:
    """Steering of ``num_frames`` frames at ``fps`` a second; the last manoeuvre holds to the end.

    Raises:
        ValueError: a part that is not ``left|straight|right|NUMBER:SECONDS[s]``.
    """
    values: list[float] = []
    until = 0.0
    for part in text.split(","):
        steering, seconds = _manoeuvre(part)
        until += seconds
        values += [steering] * (round(until * fps) - len(values))
    last = values[-1] if values else _manoeuvre(text.split(",")[-1])[0]
    return (values + [last] * num_frames)[:num_frames]


def steering_seconds(text: str) -> float:
    """How long the drive takes. Raises ``ValueError`` as ``steering_of`` does."""
    return sum(_manoeuvre(part)[1] for part in text.split(","))


def _manoeuvre(part: str) -> tuple[float, float]:
    direction, _, duration = part.strip().partition(":")
    try:
        steering = WORDS[direction] if direction in WORDS else float(direction)
        seconds = float(duration.removesuffix("s"))
    except ValueError:
        steering = seconds = math.nan
    if not -1 <= steering <= 1 or not 0 < seconds < 1e6:
        raise ValueError(
            f"steering {part[:40]!r}: expected DIRECTION:SECONDS such as left:2s, straight:3s or -0.2:1.5s, separated"
            " by commas; numbers from -1 (full left) to 1"
        )
    return steering, seconds
