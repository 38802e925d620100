"""What the first frame should hold: scene files that users write, and what a dataset knows of its frames.

A scene file is JSON, every part of it may be left out:

    {"version": 1, "light": "day", "vehicles": 1, "boxes": [{"label": "vehicle", "box": [0.42, 0.5, 0.58, 0.66]}]}

``box`` is x0, y0, x1, y1 in fractions of width and height, from the upper left; ``label`` one of ``LABELS``. No boxes
(``[]``) is an empty road, left out they are not told. A dataset keeps ``boxes/<id>.json`` beside its frames: per frame
a list of [x0, y0, x1, y1, index of the label]; light and vehicles are its labels ``night`` (0 or 1) and ``vehicles``.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import torch
from jaxtyping import Float, Int64
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from latentloom.data.manifest import ClipRecord, Dataset
from latentloom.files import printable, write_text

Label = Literal["vehicle", "person", "bicycle", "motorcycle", "traffic_light", "traffic_sign"]
LABELS: tuple[str, ...] = get_args(Label)
Light = Literal["day", "night"]
NUMBERS = ("night", "vehicles")
"""Labels of a frame: 1 by night and 0 by day; how many vehicles it shows."""
MAX_BOXES = 16
"""What a scene file may hold, and how many of a frame's boxes are told to a network: the largest."""
EMPTY, UNTOLD = -1, -2
"""Labels of slots: no box, and boxes that were not told."""
MAX_BYTES = 1 << 20
_SIDES = ("x0", "y0", "x1", "y1")


class SceneBox(BaseModel):
    """One thing and where it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Label
    box: tuple[float, float, float, float]

    @field_validator("box")
    @classmethod
    def _inside(cls, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        for name, value in zip(_SIDES, box, strict=True):
            if not math.isfinite(value) or not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, expected a fraction of the picture from 0 to 1")
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ValueError(f"{box} is no box: expected x0 < x1 and y0 < y1")
        return box


class Scene(BaseModel):
    """What a picture should hold; None is not told, no boxes is an empty road."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    light: Light | None = None
    vehicles: Annotated[int, Field(ge=0, le=MAX_BOXES)] | None = None
    boxes: Annotated[tuple[SceneBox, ...], Field(max_length=MAX_BOXES)] | None = None

    @classmethod
    def read(cls, path: Path) -> "Scene":
        """A scene file.

        Raises:
            ValueError: unreadable, too large, no JSON, or not of the schema; names the file and the first fault.
        """
        try:
            if path.exists() and not path.is_file():  # a device never ends, a pipe waits
                raise ValueError("it is no regular file")
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes are no scene")
            return cls.model_validate_json(content)
        except OSError as error:
            raise ValueError(f"{printable(path)}: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            reason = printable(f"{place}: {first['msg']}" if place else first["msg"])
            raise ValueError(f"{printable(path)} is no scene: {reason}") from error
        except ValueError as error:
            raise ValueError(f"{printable(path)}: {error}") from error

    def tensors(self) -> "SceneTensors":
        """The scene as a network takes it."""
        rows = None if self.boxes is None else [[*box.box, float(LABELS.index(box.label))] for box in self.boxes]
        night = None if self.light is None else float(self.light == "night")
        return SceneTensors.of(rows, night=night, vehicles=self.vehicles)


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneTensors:
    """``MAX_BOXES`` slots, the largest boxes first, and the numbers of ``NUMBERS``.

    Attributes:
        corners: x0, y0, x1, y1 in fractions.
        labels: of ``LABELS``; ``EMPTY`` in slots without a box, ``UNTOLD`` in all slots where no boxes were told.
        numbers: in the order of ``NUMBERS``; NaN where not told.
    """

    corners: Float[Tensor, "n 4"]
    labels: Int64[Tensor, " n"]
    numbers: Float[Tensor, " k"]

    @classmethod
    def of(
        cls,
        rows: Sequence[Sequence[float]] | None = None,
        *,
        night: float | None = None,
        vehicles: float | None = None,
    ) -> "SceneTensors":
        """From rows x0, y0, x1, y1, label (of more than ``MAX_BOXES`` the largest); None is not told."""
        largest = sorted(rows or (), key=lambda row: (row[0] - row[2]) * (row[3] - row[1]))[:MAX_BOXES]
        corners, labels = torch.zeros(MAX_BOXES, 4), torch.full((MAX_BOXES,), UNTOLD if rows is None else EMPTY)
        for slot, row in enumerate(largest):
            corners[slot] = torch.tensor(row[:4], dtype=torch.float32)
            labels[slot] = int(row[4])
        told = {"night": night, "vehicles": vehicles}
        numbers = torch.tensor([math.nan if told[name] is None else float(told[name]) for name in NUMBERS])
        return cls(corners=corners, labels=labels, numbers=numbers)


def save_boxes(root: Path, clip_id: str, frames: Sequence[Sequence[Sequence[float]]]) -> None:
    """Keep the boxes of every frame of a clip in a dataset folder."""
    (root / "boxes").mkdir(exist_ok=True)
    write_text(root / "boxes" / f"{clip_id}.json", json.dumps(frames))


def load_boxes(dataset: Dataset, record: ClipRecord) -> list[list[list[float]]] | None:
    """The boxes of every frame of a clip; None where the dataset knows none.

    Raises:
        ValueError: a damaged file, or one for another number of frames.
    """
    path = dataset.root / "boxes" / f"{record.id}.json"
    if not path.is_file():
        return None
    try:
        frames = json.loads(path.read_text(encoding="utf-8"))
        rows = [[[float(value) for value in row] for row in frame] for frame in frames]
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{printable(path)} holds no boxes: {printable(error)}") from error
    bad = any(len(row) != 5 or not all(map(math.isfinite, row)) for frame in rows for row in frame)
    if len(rows) != record.num_frames or bad:
        raise ValueError(f"{printable(path)} does not hold boxes of {record.num_frames} frames; make it again")
    return rows
