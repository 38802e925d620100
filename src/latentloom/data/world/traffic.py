"""Where the other vehicles are at a time: hand-placed cars, or endless streams per lane.

A stream is a row of slots that moves as a whole, so cars of a lane never meet; which slots hold a car, and what car,
is drawn by slot number. Streams of the camera's direction keep a fixed ratio to the camera's own speed.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from latentloom.data.world.noise import cell_rng
from latentloom.data.world.scene import CarKind, WorldScene

AHEAD = 230.0
"""Metres; vehicles fade in over the last 40."""
BEHIND = 12.0
PAINTS = (
    (0.82, 0.83, 0.84),
    (0.93, 0.93, 0.92),
    (0.13, 0.14, 0.16),
    (0.42, 0.44, 0.47),
    (0.62, 0.09, 0.08),
    (0.12, 0.24, 0.5),
    (0.2, 0.36, 0.28),
    (0.7, 0.6, 0.42),
    (0.3, 0.42, 0.56),
)


@dataclass(frozen=True, kw_only=True)
class CarState:
    """A vehicle at one moment, in road coordinates."""

    key: int
    """Negative and the vehicle's own for as long as it is in sight."""
    s: float
    d: float
    forward: bool
    """True when it drives the camera's way."""
    colour: tuple[float, float, float]
    kind: CarKind


@dataclass(frozen=True, kw_only=True)
class _Slot:
    taken: bool
    stray: float
    colour: tuple[float, float, float]
    kind: CarKind
    sway: tuple[float, float]


@lru_cache(maxsize=4096)
def _slot(seed: int, lane: int, number: int, share: float, trucks: float) -> _Slot:
    rng = cell_rng(seed, 20 + lane, number)
    taken, kind, stray, rate, phase = rng.random(5)
    paint = np.array(PAINTS[int(rng.integers(len(PAINTS)))]) * rng.uniform(0.9, 1.06)
    kinds: list[CarKind] = ["truck", "van", "suv", "car"]
    return _Slot(
        taken=bool(taken < share),
        stray=float(2 * stray - 1),
        colour=(float(paint[0]), float(paint[1]), float(paint[2])),
        kind=kinds[int(np.searchsorted([trucks, trucks + 0.14, trucks + 0.4], kind))],
        sway=(0.15 + 0.25 * rate, 6.28 * phase),
    )


def _given_cars(scene: WorldScene, time: float) -> list[CarState]:
    states: list[CarState] = []
    for number, car in enumerate(scene.cars or ()):
        forward = car.lane >= 0
        states.append(
            CarState(
                key=-1 - number,
                s=scene.start + car.position + (car.speed if forward else -car.speed) * time,
                d=scene.road.lane_offset(car.lane),
                forward=forward,
                colour=car.colour,
                kind=car.kind,
            )
        )
    return states


def _stream(scene: WorldScene, lane: int, ego_s: float, time: float) -> list[CarState]:
    heavy = scene.traffic == "heavy"
    draw = cell_rng(scene.seed, 8, lane).random(3)
    own, forward = lane == scene.lane, lane >= 0
    pace = min(scene.speed, 32.0)
    gap = (2.4 if heavy else 4.2) * (0.9 + 0.4 * draw[0]) * max(pace, 6.0)
    gap = max(gap, 26.0)
    share = 0.85 if heavy else 0.42
    if own:
        origin = ego_s + 0.3 * gap + 13.0 + (0 if heavy else 14.0)
    elif forward:
        ratio = 1.0 + (lane - scene.lane) * (0.05 + 0.07 * draw[1])
        origin = scene.start + (ego_s - scene.start) * ratio + gap * draw[2]
    else:
        origin = scene.start - max(pace, 7.0) * (0.85 + 0.3 * draw[1]) * time + gap * draw[2]
    first = 0 if own else int(np.floor((ego_s - BEHIND - origin) / gap)) - 1
    last = int(np.ceil((ego_s + AHEAD - origin) / gap)) + 1
    trucks = {"highway": 0.14, "country road": 0.06, "city street": 0.04}[scene.place]
    states: list[CarState] = []
    for number in range(first, last + 1):
        slot = _slot(scene.seed, lane, number, share, trucks)
        if not slot.taken:
            continue
        sway = 0.1 * gap * np.sin(slot.sway[0] * time + slot.sway[1])
        s = origin + number * gap + 0.22 * gap * slot.stray + float(sway)
        wide = scene.road.lane_offset(lane) + 0.25 * slot.stray
        key = -1 - ((lane + 8) * 2**40 + number + 2**39)
        states.append(CarState(key=key, s=s, d=wide, forward=forward, colour=slot.colour, kind=slot.kind))
    return states


def cars_at(scene: WorldScene, ego_s: float, time: float) -> list[CarState]:
    """All vehicles from just behind the camera to the end of the view."""
    if scene.cars is not None:
        states = _given_cars(scene, time)
    elif scene.traffic == "none":
        return []
    else:
        lanes = range(-scene.road.lanes, scene.road.lanes)
        states = [state for lane in lanes for state in _stream(scene, lane, ego_s, time)]
    return [state for state in states if -BEHIND < state.s - ego_s < AHEAD]
