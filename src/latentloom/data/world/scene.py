"""What a rendered world is made of: places, cars, and the frozen scene that fixes every choice.

A scene is a complete description: the same scene gives the same bytes. ``random_scene`` draws one, or build
one by hand.
Lanes are numbered from the kerb: 0 is the outermost lane of the camera's direction, 1 the next to its left, and so on;
-1 is the oncoming lane nearest the middle, -2 the next outwards. Traffic keeps right.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

TIMES_OF_DAY = ("day", "dusk", "night")
WEATHERS = ("clear", "overcast", "foggy")
TRAFFICS = ("none", "some", "heavy")
CarKind = Literal["car", "suv", "van", "truck"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Measures of a kind of road, metres and metres per second."""

    lanes: int
    lane_width: float
    median: float
    """Unpaved middle between the directions; 0 for none."""
    shoulder: float
    """Asphalt outside the outermost line."""
    sidewalk: float
    speeds: tuple[float, float]
    radius: float
    """Sharpest bend."""
    straight: float
    """Share of bends that are straight road instead."""

    @property
    def paved(self) -> tuple[float, float]:
        """Distance from the road's middle at which asphalt begins and ends, on either side."""
        inner = self.median / 2 - 0.9 if self.median else 0.0
        return inner, self.median / 2 + self.lanes * self.lane_width + self.shoulder

    def lane_offset(self, lane: int) -> float:
        """Metres to the right of the road's middle of a lane's centre."""
        if lane >= 0:
            return self.median / 2 + (self.lanes - lane - 0.5) * self.lane_width
        return -(self.median / 2 + (-lane - 0.5) * self.lane_width)


PLACES: dict[str, Place] = {
    "highway": Place(
        lanes=3, lane_width=3.6, median=5.0, shoulder=2.6, sidewalk=0, speeds=(13, 33), radius=260, straight=0.3
    ),
    "country road": Place(
        lanes=1, lane_width=3.4, median=0, shoulder=0.45, sidewalk=0, speeds=(5, 22), radius=55, straight=0.22
    ),
    "city street": Place(
        lanes=2, lane_width=3.2, median=0, shoulder=0.6, sidewalk=3.2, speeds=(2.5, 12), radius=48, straight=0.35
    ),
}


@dataclass(frozen=True, kw_only=True)
class Car:
    """One other vehicle at constant speed."""

    lane: int
    position: float
    """Metres along the road from where the camera starts, at time 0 (middle of the vehicle)."""
    speed: float
    """m/s along its own direction, >= 0."""
    colour: tuple[float, float, float] = (0.55, 0.56, 0.6)
    """Red, green, blue in 0..1."""
    kind: CarKind = "car"


@dataclass(frozen=True, kw_only=True)
class WorldScene:
    """Everything that decides a rendered drive. Lengths in metres, speeds in m/s, fractions of the frame where said.

    Raises:
        ValueError: a field is outside its range or names something unknown.
    """

    seed: int
    """Decides the road's course, the roadside, the traffic's details and textures; >= 0."""
    place: str = "country road"
    """"highway", "country road" or "city street"."""
    time_of_day: str = "day"
    """"day", "dusk" or "night"."""
    weather: str = "clear"
    """"clear", "overcast" or "foggy"."""
    traffic: str = "some"
    """"none", "some" or "heavy": how many cars drive in endless streams; without effect when ``cars`` is given."""
    cars: tuple[Car, ...] | None = None
    """Exactly these cars and no others; None = streams by ``traffic``."""
    speed: float = 15.0
    """Mean speed of the camera, 1..60."""
    speed_change: float = 0.2
    """How far speed strays from its mean, as a share of it, 0..0.8; 0 is constant speed."""
    start: float = 0.0
    """Where on the (endless) road the camera starts, metres, 0..10000."""
    curviness: float = 1.0
    """Scale of the road's curvature, 0 (straight) .. 1 (the place's sharpest bends)."""
    lane: int = 0
    """Lane of the camera, 0 = outermost."""
    wander: float = 0.2
    """Amplitude of the slow drift within the lane, 0..1."""
    camera_height: float = 1.35
    """0.8..3."""
    focal: float = 0.83
    """Focal length in frame widths, 0.5..2."""
    horizon: float = 0.46
    """Row of the horizon as a fraction of the frame height, 0.2..0.7."""
    sun_azimuth: float = field(default=0.9)
    """Direction of the sun, radians anticlockwise from the road's first heading."""

    def __post_init__(self) -> None:
        for name, options in _OPTIONS.items():
            if getattr(self, name) not in options:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(options)}")
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number from {low} to {high}")
        lanes = PLACES[self.place].lanes
        for lane in [self.lane, *(car.lane for car in self.cars or ())]:
            if not -lanes <= lane < lanes:
                raise ValueError(f"lane {lane} is not on a {self.place}: its lanes are {-lanes}..{lanes - 1}")
        if self.lane < 0:
            raise ValueError(f"the camera's lane is {self.lane}, expected 0..{lanes - 1}: negative lanes are oncoming")
        for car in self.cars or ():
            if not 0 <= car.speed <= 60 or car.kind not in get_args(CarKind):
                raise ValueError(f"{car} needs a speed from 0 to 60 and a kind of {', '.join(get_args(CarKind))}")

    @property
    def road(self) -> Place:
        """The measures of this scene's place."""
        return PLACES[self.place]


_OPTIONS = {"place": tuple(PLACES), "time_of_day": TIMES_OF_DAY, "weather": WEATHERS, "traffic": TRAFFICS}
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "speed": (1, 60),
    "speed_change": (0, 0.8),
    "start": (0, 10_000),
    "curviness": (0, 1),
    "wander": (0, 1),
    "camera_height": (0.8, 3),
    "focal": (0.5, 2),
    "horizon": (0.2, 0.7),
    "sun_azimuth": (-10, 10),
}


def random_scene(
    seed: int,
    *,
    place: str | None = None,
    time_of_day: str | None = None,
    weather: str | None = None,
    traffic: str | None = None,
    cars: tuple[Car, ...] | None = None,
) -> WorldScene:
    """Draw a scene; what is given stays, the rest follows from the seed (and does not depend on what is given)."""
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected a number >= 0")
    rng = np.random.default_rng([seed, 0])
    drawn_place = str(rng.choice(list(PLACES)))
    drawn_time = str(rng.choice(TIMES_OF_DAY, p=[0.55, 0.2, 0.25]))
    drawn_weather = str(rng.choice(WEATHERS, p=[0.68, 0.22, 0.1]))
    drawn_traffic = str(rng.choice(TRAFFICS, p=[0.2, 0.45, 0.35]))
    pace, lane, *rest = rng.random(10).tolist()
    chosen = place or drawn_place
    if chosen not in PLACES:
        raise ValueError(f"place is {chosen!r}, expected one of {', '.join(PLACES)}")
    road = PLACES[chosen]
    low, high = road.speeds
    return WorldScene(
        seed=seed,
        place=chosen,
        time_of_day=time_of_day or drawn_time,
        weather=weather or drawn_weather,
        traffic=traffic or drawn_traffic,
        cars=cars,
        speed=low + (high - low) * pace,
        speed_change=0.5 * rest[0],
        start=3000 * rest[7],
        curviness=0.4 + 0.6 * rest[1],
        lane=int(lane * road.lanes),
        wander=0.05 + 0.25 * rest[2],
        camera_height=1.2 + 0.35 * rest[3],
        focal=0.74 + 0.2 * rest[4],
        horizon=0.42 + 0.08 * rest[5],
        sun_azimuth=6.28 * rest[6] - 3.14,
    )
