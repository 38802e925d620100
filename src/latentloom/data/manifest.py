"""The dataset folder: decoded frames at the working size, with captions, labels and provenance.

    dataset.json               what was asked for (size, settings of the preparation)
    manifest.jsonl             one line per clip, in order
    frames/<id>.safetensors    tensor "frames", uint8 t h w 3
    latents/<key>/...          cached latents (`data.latents`), a cache that may be deleted

Frames are stored decoded, so that training needs neither PyAV nor a codec; a reader maps files and touches only the
frames it returns. This module does not decode video (`data.video`) and does not choose clips (`data.clips`).
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentloom.files import digest_of, printable, remove_debris, save_tensors, write_text

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A text that describes frames ``start`` to ``stop - 1``."""

    start: int
    stop: int
    text: str


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """One clip of a dataset.

    ``fps`` is the mean rate; ``times`` the seconds of each frame where the rate is uneven. ``labels`` hold one number
    per frame. ``contiguous`` is False for a set of stills kept in one file: images, never video. ``digest`` is that of
    the source, whatever the preparation counts as such; ``frames_digest`` the sha256 of the file of frames, None in
    datasets from before it was kept.

    Raises:
        ValueError: an id that is not a plain file name (it becomes one), counts or a rate that no clip has, or times,
            labels or captions that do not fit the frames. Manifests come from strangers.
    """

    id: str
    num_frames: int
    height: int
    width: int
    fps: float
    times: tuple[float, ...] | None = None
    captions: tuple[Caption, ...] = ()
    labels: Mapping[str, Sequence[float]] = field(default_factory=dict)
    contiguous: bool = True
    source: str = ""
    licence: str | None = None
    split: str = "train"
    digest: str | None = None
    frames_digest: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _SAFE_ID.fullmatch(self.id):
            raise ValueError(f"clip id {_shown(self.id)}: expected letters, digits, '.', '_' and '-', 200 at most")
        for name in ("num_frames", "height", "width"):
            value = getattr(self, name)
            if not _is_number(value) or value < 1 or value % 1:
                raise ValueError(f"clip {self.id}: {name} is {_shown(value)}, expected a whole number > 0")
        if not _is_number(self.fps) or self.fps <= 0:
            raise ValueError(f"clip {self.id}: fps is {_shown(self.fps)}, expected a number > 0")
        for name, values in {"times": self.times, **self.labels}.items():
            if values is not None and len(values) != self.num_frames:
                raise ValueError(f"clip {self.id}: {len(values)} {printable(name)} for {self.num_frames} frames")
            if values is not None and not all(map(_is_number, values)):
                raise ValueError(f"clip {self.id}: {printable(name)} hold what is no number")
        if self.times is not None and any(later < time for time, later in pairwise(self.times)):
            raise ValueError(f"clip {self.id}: its times run backward")
        if any(not 0 <= caption.start < caption.stop for caption in self.captions):
            raise ValueError(f"clip {self.id}: a caption covers no frame")
        if not all(isinstance(caption.text, str) for caption in self.captions):
            raise ValueError(f"clip {self.id}: a caption is no text")
        if not isinstance(self.split, str) or not _SAFE_ID.fullmatch(self.split):
            raise ValueError(f"clip {self.id}: split is {_shown(self.split)}, expected a name such as train or val")

    @property
    def file(self) -> str:
        return f"frames/{self.id}.safetensors"

    def caption(self, first: int, last: int | None = None) -> str:
        """The caption that covers most of frames ``first`` to ``last``, or "" where none does."""
        last = first if last is None else last
        best, most = "", 0
        for caption in self.captions:
            shared = min(last + 1, caption.stop) - max(first, caption.start)
            if shared > most:
                best, most = caption.text, shared
        return best


def _records_of(lines: Sequence[str]) -> list[ClipRecord]:
    records = []
    for number, line in enumerate(lines, start=1):
        if line:
            try:
                records.append(_record_from_json(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    return records


def _record_from_json(line: str) -> ClipRecord:
    """The record of a line of the manifest. Raises ``ValueError``."""
    try:
        row = json.loads(line)
        row["captions"] = tuple(Caption(**caption) for caption in row["captions"])
        row["times"] = None if row["times"] is None else tuple(row["times"])
        return ClipRecord(**row)
    except (TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"no record of a clip ({type(error).__name__}: {printable(error)[:200]})") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: object) -> str:
    return printable(repr(value)[:60])


class Dataset:
    """A prepared dataset folder, read only."""

    def __init__(self, root: Path, config: Mapping[str, Any], records: Sequence[ClipRecord]):
        self.root = root
        self.config = config
        self.records = tuple(records)

    @classmethod
    def load(cls, root: str | Path) -> "Dataset":
        """Read the manifest of ``root``; frames are read when asked for.

        Raises:
            ValueError: ``root`` is not a dataset folder, or its manifest is damaged or empty.
        """
        root = Path(root)
        if not (root / "dataset.json").is_file():
            raise ValueError(f"{root} is not a dataset folder (no dataset.json); make one with `latentloom prepare`")
        try:
            config = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
            lines = (root / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
            records = _records_of(lines)
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"the manifest of {root} cannot be read ({error}); prepare the dataset again") from error
        if not records:
            raise ValueError(f"the dataset {root} holds no clip; prepare it from at least one readable video")
        return cls(root, config, records)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every frame, in pixels."""
        return self.records[0].height, self.records[0].width

    @property
    def captions(self) -> list[str]:
        """Every distinct caption, sorted."""
        return sorted({caption.text for record in self.records for caption in record.captions})

    def frames(self, record: ClipRecord, indices: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
        """The frames ``indices`` of ``record``, 0..255.

        Raises:
            ValueError: the file of frames is missing, damaged, or does not hold what the manifest says.
        """
        return read_rows(self.root / record.file, "frames", indices, record.num_frames)


def read_rows(path: Path, name: str, indices: Sequence[int], num_rows: int) -> Tensor:
    """Rows ``indices`` of tensor ``name`` of a safetensors file, read without loading the rest."""
    try:
        with safe_open(path, framework="pt") as file:
            rows = file.get_slice(name)
            if rows.get_shape()[0] != num_rows:
                raise ValueError(f"{path} holds {rows.get_shape()[0]} frames, the manifest says {num_rows}")
            first, last = min(indices), max(indices)
            if first < 0 or last >= num_rows:
                raise ValueError(f"frames {first}..{last} were asked of {path}, which has {num_rows}")
            return rows[first : last + 1][torch.as_tensor(indices) - first]
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read ({error}); prepare the dataset again") from error


class DatasetWriter:
    """Writes a dataset folder clip by clip; every clip is whole on disk before the manifest names it.

    Opening an unfinished folder with the same ``config`` continues it: `has` says which clips are there.

        with DatasetWriter(folder, config) as writer:
            writer.add("drive-1", frames, fps=12.5, captions=[...])
    """

    def __init__(self, root: str | Path, config: Mapping[str, Any]):
        self.root = Path(root)
        self.config = dict(config)
        self._records: dict[str, ClipRecord] = {}

    def __enter__(self) -> "DatasetWriter":
        (self.root / "frames").mkdir(parents=True, exist_ok=True)
        head = self.root / "dataset.json"
        if head.exists():
            previous = json.loads(head.read_text(encoding="utf-8"))
            if previous != json.loads(json.dumps(self.config)):
                raise ValueError(f"{self.root} was prepared with other settings ({previous}); choose another folder")
        else:
            write_text(head, json.dumps(self.config, indent=2, sort_keys=True))
        manifest = self.root / "manifest.jsonl"
        if manifest.exists():
            text = manifest.read_text(encoding="utf-8")
            self._records = self._whole_records(text.splitlines())
            if text.count("\n") != len(self._records) or not text.endswith("\n"):
                self._write_manifest(self._records)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        remove_debris(self.root / "frames")

    def _whole_records(self, lines: list[str]) -> dict[str, ClipRecord]:
        """The records whose line and file are whole: a killed run may leave half a line at the end."""
        records = {}
        for line in lines:
            try:
                record = _record_from_json(line)
            except ValueError:
                continue
            if (self.root / record.file).is_file():
                records[record.id] = record
        return records

    def _write_manifest(self, records: Mapping[str, ClipRecord]) -> None:
        lines = [json.dumps(asdict(record)) + "\n" for record in records.values()]
        write_text(self.root / "manifest.jsonl", "".join(lines))

    def has(self, clip_id: str, digest: str | None = None) -> bool:
        """Whether the clip is already there (made from a source with the same ``digest``, where one is given)."""
        record = self._records.get(clip_id)
        return record is not None and (digest is None or record.digest == digest)

    def add(
        self,
        clip_id: str,
        frames: UInt8[Tensor, "t h w 3"],
        *,
        fps: float,
        times: Sequence[float] | None = None,
        captions: Sequence[Caption] = (),
        labels: Mapping[str, Sequence[float]] | None = None,
        contiguous: bool = True,
        source: str = "",
        licence: str | None = None,
        split: str = "train",
        digest: str | None = None,
    ) -> ClipRecord:
        """Store one clip (0..255) and name it in the manifest; one of the same id is replaced.

        Raises:
            ValueError: what `ClipRecord` refuses; nothing is written.
        """
        record = ClipRecord(
            id=clip_id,
            num_frames=len(frames),
            height=frames.shape[1],
            width=frames.shape[2],
            fps=float(fps),
            times=None if times is None else tuple(float(value) for value in times),
            captions=tuple(captions),
            labels={name: [float(value) for value in values] for name, values in (labels or {}).items()},
            contiguous=contiguous,
            source=source,
            licence=licence,
            split=split,
            digest=digest,
        )
        known = clip_id in self._records
        if known:  # killed between frames and manifest, the old record must not describe the new frames
            self._write_manifest({name: other for name, other in self._records.items() if name != clip_id})
        save_tensors(self.root / record.file, {"frames": frames.contiguous()})
        record = self._records[clip_id] = replace(record, frames_digest=digest_of(self.root / record.file))
        if known:
            self._write_manifest(self._records)
        else:
            with (self.root / "manifest.jsonl").open("a", encoding="utf-8") as manifest:
                manifest.write(json.dumps(asdict(record)) + "\n")
        return record
