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
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from latentloom.data.manifest import ClipRecord, Dataset
from latentloom.files import names_once, printable, write_text
from latentloom.scenes import LABELS, MAX_BOXES, SceneTensors

Light = Literal["day", "night"]
MAX_BYTES = 1 << 20
_SIDES = ("x0", "y0", "x1", "y1")


class SceneBox(BaseModel):
    """One thing and where it is."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    label: str
    box: tuple[float, float, float, float]

    @field_validator("label")
    @classmethod
    def _known(cls, label: str) -> str:
        if label not in LABELS:
            raise ValueError(f"{label[:40]!r} is none of {', '.join(LABELS)}")
        return label

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

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Annotated[int, Field(ge=1, le=1)] = 1
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
            text = content.decode("utf-8-sig")  # with the mark that some editors put before it
            json.loads(text, object_pairs_hook=names_once)  # pydantic takes the last of two values
            return cls.model_validate_json(text)
        except OSError as error:
            raise ValueError(f"{printable(path)}: {error.strerror}") from error
        except json.JSONDecodeError as error:
            raise ValueError(f"{printable(path)} is no scene: invalid JSON, {error}") from error
        except RecursionError as error:
            raise ValueError(f"{printable(path)} is no scene: it is nested too deep") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{printable(path)} is no scene: expected UTF-8") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            reason = printable(f"{place}: {first['msg']}" if place else first["msg"])
            raise ValueError(f"{printable(path)} is no scene: {reason}") from error
        except ValueError as error:
            raise ValueError(f"{printable(path)}: {error}") from error

    def tensors(self) -> SceneTensors:
        """The scene as a network takes it."""
        rows = None if self.boxes is None else [[*box.box, float(LABELS.index(box.label))] for box in self.boxes]
        night = None if self.light is None else float(self.light == "night")
        return SceneTensors.of(rows, night=night, vehicles=self.vehicles)


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
