"""What stands beside the road, drawn by lot per cell of road: plants, posts, lamps, signs, rails, houses."""

from dataclasses import dataclass

import numpy as np

from latentloom.data.world.ground import CROSSING, JUNCTION_EVERY, LAMP_AT, LAMP_EVERY
from latentloom.data.world.light import Light, rgb
from latentloom.data.world.noise import cell_rng
from latentloom.data.world.road import Road
from latentloom.data.world.scene import WorldScene
from latentloom.data.world.sprites import PLANTS, SIZES, VARIANTS, SpriteKind
from latentloom.data.world.walls import Bars, Facade, WallPattern

VIEW = 340.0
"""Metres ahead that hold things."""
_KEYS_PER_CELL = 512
_RAIL_PIECE = 15.0


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An upright picture; it always faces the camera."""

    key: int
    kind: SpriteKind
    variant: int
    place: complex
    width: float
    height: float
    tint: float
    mirrored: bool = False


@dataclass(frozen=True, kw_only=True)
class Wall:
    """A flat upright wall between two points on the ground."""

    key: int
    start: complex
    stop: complex
    low: float
    high: float
    pattern: WallPattern
    shade: float


class Roadside:
    """Things by cell, made when first looked at and forgotten when passed."""

    def __init__(self, scene: WorldScene, road: Road, light: Light) -> None:
        self._scene, self._road, self._light = scene, road, light
        self._length = JUNCTION_EVERY if scene.place == "city street" else 30.0
        self._cells: dict[int, list[Standing | Wall]] = {}

    def around(self, s: float) -> list[Standing | Wall]:
        """Everything from just behind ``s`` to the end of the view."""
        first, last = int((s - 25.0) // self._length), int((s + VIEW) // self._length)
        for passed in [cell for cell in self._cells if cell < first - 1]:
            del self._cells[passed]
        things: list[Standing | Wall] = []
        for cell in range(first, last + 1):
            if cell not in self._cells:
                self._cells[cell] = _Builder(self._scene, self._road, self._light, cell, self._length).build()
            things += self._cells[cell]
        return things


class _Builder:
    """Fills one cell."""

    def __init__(self, scene: WorldScene, road: Road, light: Light, cell: int, length: float) -> None:
        self.scene, self.road, self.light = scene, road, light
        self.cell, self.start, self.length = cell, cell * length, length
        self.rng = cell_rng(scene.seed, 6, cell)
        self.region = cell_rng(scene.seed, 7, cell // 7).random(4)  # the character of a longer stretch
        self.things: list[Standing | Wall] = []

    def build(self) -> list[Standing | Wall]:
        {"highway": self.highway, "country road": self.country, "city street": self.city}[self.scene.place]()
        return self.things

    def key(self) -> int:
        return 10 + (self.cell + 10_000) * _KEYS_PER_CELL + len(self.things)

    def point(self, s: float, d: float) -> complex:
        return self.road.place(s, d)

    def stand(self, kind: SpriteKind, s: float, d: float, scale: float = 1.0, mirrored: bool = False) -> None:
        width, height = SIZES[kind]
        thing = Standing(
            key=self.key(),
            kind=kind,
            variant=int(self.rng.integers(VARIANTS)),
            place=self.point(s, d),
            width=width * scale,
            height=height * scale,
            tint=float(self.rng.uniform(0.85, 1.15)) if kind in PLANTS else 1.0,
            mirrored=mirrored,
        )
        self.things.append(thing)

    def wall(self, ends: tuple[complex, complex], low: float, high: float, pattern: WallPattern) -> None:
        outward = np.angle(np.array([ends[1] - ends[0]])) + np.pi / 2
        shade = float(self.light.shade(outward)[0])
        self.things.append(
            Wall(key=self.key(), start=ends[0], stop=ends[1], low=low, high=high, pattern=pattern, shade=shade)
        )

    def strip(self, d: float, low: float, high: float, colour: np.ndarray, rib: float, joint: float) -> None:
        """A rail or barrier along the whole cell."""
        for piece in range(int(self.length // _RAIL_PIECE)):
            s = self.start + piece * _RAIL_PIECE
            ends = (self.point(s, d), self.point(s + _RAIL_PIECE, d))
            if d > 0:  # the face towards the road
                ends = (ends[1], ends[0])
            self.wall(ends, low, high, Bars(colour=colour, rib=rib, joint=joint, offset=0.0))

    def woods(self, count: int, near: float, far: float, kinds: list[SpriteKind]) -> None:
        for _ in range(count):
            side = 1 if self.rng.random() < 0.5 else -1
            d = near + (far - near) * self.rng.random() ** 1.3
            kind = kinds[int(self.rng.integers(len(kinds)))]
            self.stand(kind, self.start + self.length * self.rng.random(), side * d, self.rng.uniform(0.7, 1.35))

    def highway(self) -> None:
        outer = self.scene.road.paved[1]
        mixed = self.region[0] < 0.5
        kinds: list[SpriteKind] = ["tree", "conifer", "bush", "poplar"] if mixed else ["conifer", "bush", "tree"]
        self.woods(int(2 + 8 * self.region[1]), outer + 7, outer + 42, kinds)
        self.strip(0.0, 0.38, 0.78, rgb(0.62, 0.64, 0.66), 0.2, 3.75)
        if self.region[2] < 0.45:
            self.strip(outer + 0.7, 0.4, 0.76, rgb(0.62, 0.64, 0.66), 0.18, 3.75)
        if self.region[3] < 0.22:
            self.strip(outer + 3.6, 0.0, 3.6, rgb(0.5, 0.5, 0.46), 0.6, 5.0)
        if self.cell % 2 == 0:
            self.stand("post", self.start, outer + 1.1)
            self.stand("post", self.start, -outer - 1.1)
        if self.rng.random() < 0.07:
            self.stand("board", self.start + 9, outer + 3.8, self.rng.uniform(0.9, 1.25))
        if self.rng.random() < 0.05:
            self.stand("limit", self.start + 21, outer + 1.8, 1.2)

    def country(self) -> None:
        outer = self.scene.road.paved[1]
        dense = self.region[1] ** 1.6
        leafy = self.region[0] < 0.55
        kinds: list[SpriteKind] = (
            ["tree", "bush", "tree", "poplar"] if leafy else ["conifer", "conifer", "bush", "tree"]
        )
        self.woods(int(2 + 9 * dense), outer + 4.5, outer + 30, kinds)
        self.woods(int(3 * self.rng.random()), outer + 3, outer + 12, ["bush"])
        for side in (1, -1):
            self.stand("post", self.start + 15, side * (outer + 1.0))
        if self.region[2] < 0.35:  # an avenue
            for side in (1, -1):
                self.stand("poplar" if self.region[0] < 0.3 else "tree", self.start + 8, side * (outer + 3.2), 0.95)
        elif self.region[2] < 0.65:
            self.stand("pole", self.start + 4, -outer - 5.5)
        if self.rng.random() < 0.06:
            self.stand("sign" if self.rng.random() < 0.5 else "limit", self.start + 12, outer + 1.4)
        if self.rng.random() < 0.09:
            self.house(1 if self.rng.random() < 0.5 else -1)

    def house(self, side: int) -> None:
        """A farm house: walls, and a dark roof set back a little."""
        near, front = self.start + 5, self.scene.road.paved[1] + self.rng.uniform(9, 16)
        deep, long, high = self.rng.uniform(6, 9), self.rng.uniform(9, 15), self.rng.uniform(3.2, 5.6)
        wall = [rgb(0.8, 0.76, 0.68), rgb(0.62, 0.36, 0.3), rgb(0.86, 0.85, 0.82)][int(self.rng.integers(3))]
        face = self.facade(wall, high, (3.0, 1.2))
        self.box(side, near, long, front, deep, (0.0, high), face)
        roof = Bars(colour=rgb(0.36, 0.19, 0.15), rib=0.5, joint=50.0, offset=1.0)
        self.box(side, near + 0.3, long - 0.6, front + 0.9, deep - 1.8, (high, high + 1.3), roof)
        self.box(side, near + 0.6, long - 1.2, front + 1.9, deep - 3.8, (high + 1.3, high + 2.3), roof)

    def facade(self, wall: np.ndarray, high: float, window: tuple[float, float]) -> Facade:
        lit = {0.0: 0.0, 0.5: 0.22, 1.0: 0.34}[self.light.darkness]
        by_day = 0.35 * self.light.low_sky + 0.65 * rgb(0.2, 0.24, 0.3)
        glass = rgb(0.12, 0.14, 0.18) if self.light.darkness else by_day
        return Facade(
            wall=wall,
            glass=glass,
            window=window,
            storey=3.2,
            height=high,
            lit=lit,
            lit_seed=int(self.rng.integers(1000)),
        )

    def town_facade(self, high: float) -> Facade:
        grey, warm = self.rng.uniform(0.42, 0.78), self.rng.uniform(-0.04, 0.14)
        wall = rgb(grey + warm, grey + 0.25 * warm, grey - 0.6 * warm).clip(0.1, 0.95)
        period = self.rng.uniform(2.2, 3.6)
        return self.facade(wall, high, (period, period * self.rng.uniform(0.4, 0.62)))

    def box(
        self,
        side: int,
        s: float,
        long: float,
        front: float,
        deep: float,
        rise: tuple[float, float],
        pattern: WallPattern,
        end: bool = True,
    ) -> None:
        """The two walls of a block that a driver sees: the end towards the camera and the face along the road."""
        near_front, near_back = self.point(s, side * front), self.point(s, side * (front + deep))
        far_front = self.point(s + long, side * front)
        if end:
            self.wall((near_back, near_front) if side > 0 else (near_front, near_back), *rise, pattern)
        self.wall((far_front, near_front) if side > 0 else (near_front, far_front), *rise, pattern)

    def city(self) -> None:
        place = self.scene.road
        line = place.paved[1] + place.sidewalk
        low, high_most = ((6, 13), (9, 20), (14, 34))[int(3 * self.region[0])]
        for side in (1, -1):
            s, hidden = self.start + CROSSING[1] + 5, (0.0, 0.0)
            while s < self.start + self.length - 16:
                long = min(self.rng.uniform(11, 26), self.start + self.length - 5 - s)
                front = line + (0.3 if self.rng.random() < 0.8 else self.rng.uniform(1, 4))
                high = 3.2 * round(self.rng.uniform(low, high_most) / 3.2) + 0.6
                covered = high <= hidden[0] and front >= hidden[1]  # by the house before it
                self.box(side, s, long, front, 14.0, (0.0, high), self.town_facade(high), not covered)
                gap = 0.0 if self.rng.random() < 0.75 else self.rng.uniform(2, 6)
                s, hidden = s + long + gap, (high, front) if gap == 0 else (0.0, 0.0)
            self.street_things(side, place.paved[1])

    def street_things(self, side: int, kerb: float) -> None:
        first, last = CROSSING[1] + 4 + self.start, self.length - 8 + self.start
        for number in range(int(first // LAMP_EVERY), int(last // LAMP_EVERY) + 1):
            s = number * LAMP_EVERY
            if first < s < last:
                self.stand("lamp", s, side * (kerb + LAMP_AT), 1.0, mirrored=side < 0)
            if first < s + 16 < last and self.region[1] < 0.75:
                self.stand("tree", s + 16, side * (kerb + 1.3), self.rng.uniform(0.55, 0.8))
        if side > 0:
            self.stand("signal", self.start - 7.5, kerb + 0.7)
            self.stand("signal", self.start + CROSSING[1] + 3, -kerb - 0.7)
            self.stand("limit" if self.rng.random() < 0.5 else "sign", self.start + 58, kerb + 0.6)
