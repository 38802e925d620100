"""From what a drive was to the words that say it: the rules, words and order of the footage that drive-small saw.

- traffic: mean number of listed vehicles per frame: under 0.5 `no traffic`, under 4 `some traffic`, else
  `heavy traffic`.
- turn: mean yaw rate; under 0.03 rad/s `going straight`, from 0.14 rad/s on `sharply`. (The simulator's rule for drives
  without steering labels, 6 and 30 px/s of image shift, at this camera's focal length. By steering alone every
  motorway bend would be straight.)
- speed: mean under 10 mph `slow`, under 20 `medium speed`, else `fast`; last minus first at least 3 mph `speeding up`,
  at most -3 `slowing down`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentloom.data.world.scene import WorldScene

MPH = 0.44704
"""m/s in a mile per hour."""

_SPOKEN = {"day": "daytime", "overcast": "cloudy"}


@dataclass(frozen=True, kw_only=True)
class WorldWords:
    """The caption's parts. ``weather`` and ``change`` are empty when there is nothing to say."""

    place: str
    time_of_day: str
    weather: str
    traffic: str
    turning: str
    speed: str
    change: str

    @property
    def caption(self) -> str:
        """For example "rendered world, daytime, driving on a country road, turning left, fast, some traffic"."""
        light, sky = _SPOKEN.get(self.time_of_day, self.time_of_day), _SPOKEN.get(self.weather, self.weather)
        parts = ("rendered world", light, sky, f"driving on a {self.place}")
        parts += (self.turning, self.speed, self.change, self.traffic)
        return ", ".join(part for part in parts if part)


def turn_words(yaw_rate: float) -> str:
    """``yaw_rate`` in rad/s, positive to the left."""
    if abs(yaw_rate) < 0.03:
        return "going straight"
    return f"{'sharply ' if abs(yaw_rate) >= 0.14 else ''}turning {'left' if yaw_rate > 0 else 'right'}"


def speed_words(speeds: Sequence[float]) -> tuple[str, str]:
    """How fast and whether that changed, from speeds in m/s."""
    mean, change = float(np.mean(speeds)) / MPH, (speeds[-1] - speeds[0]) / MPH
    word = "slow" if mean < 10 else "medium speed" if mean < 20 else "fast"
    return word, "speeding up" if change >= 3 else "slowing down" if change <= -3 else ""


def traffic_words(vehicles: Sequence[float]) -> str:
    """``vehicles`` listed per frame."""
    mean = float(np.mean(vehicles))
    return "no traffic" if mean < 0.5 else "some traffic" if mean < 4 else "heavy traffic"


def describe(
    scene: WorldScene, speeds: Sequence[float], yaw_rates: Sequence[float], vehicles: Sequence[float]
) -> WorldWords:
    """The words for frames with these speeds (m/s), yaw rates (rad/s) and vehicle counts."""
    speed, change = speed_words(speeds)
    return WorldWords(
        place=scene.place,
        time_of_day=scene.time_of_day,
        weather="" if scene.weather == "clear" else scene.weather,
        traffic=traffic_words(vehicles),
        turning=turn_words(float(np.mean(yaw_rates))),
        speed=speed,
        change=change,
    )
