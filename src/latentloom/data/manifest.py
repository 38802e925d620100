"""The dataset folder: decoded frames at the working size, with captions, labels and provenance.

    dataset.json               what was asked for (size, settings of the preparation)
    manifest.jsonl             one line per clip, in order
    frames/<id>.safetensors    tensor "frames", uint8 t h w 3
    latents/<key>/...          cached latents (`data.latents`), a cache that may be deleted

Frames are stored decoded, so that training needs neither PyAV nor a codec; a reader maps files and touches only the
frames it returns. This module does not decode video (`data.video`) and does not choose clips (`data.clips`).
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

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
    per frame. ``contiguous`` is False for a set of stills kept in one file: images, never video.
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


def _record_from_json(line: str) -> ClipRecord:
    row = json.loads(line)
    row["captions"] = tuple(Caption(**caption) for caption in row["captions"])
    row["times"] = None if row["times"] is None else tuple(row["times"])
    return ClipRecord(**row)


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
            records = [_record_from_json(line) for line in lines if line]
        except (OSError, ValueError, TypeError, KeyError) as error:
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
            self._records = self._whole_records(manifest.read_text(encoding="utf-8").splitlines())
            self._write_manifest()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        for debris in (self.root / "frames").glob("*.partial"):
            debris.unlink()

    def _whole_records(self, lines: list[str]) -> dict[str, ClipRecord]:
        """The records whose line and file are whole: a killed run may leave half a line at the end."""
        records = {}
        for line in lines:
            try:
                record = _record_from_json(line)
            except (ValueError, TypeError, KeyError):
                continue
            if (self.root / record.file).is_file():
                records[record.id] = record
        return records

    def _write_manifest(self) -> None:
        lines = [json.dumps(asdict(record)) + "\n" for record in self._records.values()]
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
        """Store one clip (0..255) and name it in the manifest.

        Raises:
            ValueError: the id is not a plain file name, or times, labels or captions do not fit the frames.
        """
        count = len(frames)
        if not _SAFE_ID.fullmatch(clip_id):
            raise ValueError(f"clip id {clip_id!r}: expected letters, digits, '.', '_' and '-', 200 at most")
        for name, values in {"times": times, **(labels or {})}.items():
            if values is not None and len(values) != count:
                raise ValueError(f"clip {clip_id}: {len(values)} {name} for {count} frames")
        if any(not 0 <= caption.start < caption.stop for caption in captions):
            raise ValueError(f"clip {clip_id}: a caption covers no frame")
        record = ClipRecord(
            id=clip_id,
            num_frames=count,
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
        save_whole(self.root / record.file, {"frames": frames.contiguous()})
        known = clip_id in self._records
        self._records[clip_id] = record
        if known:
            self._write_manifest()
        else:
            with (self.root / "manifest.jsonl").open("a", encoding="utf-8") as manifest:
                manifest.write(json.dumps(asdict(record)) + "\n")
        return record


def save_whole(path: Path, tensors: dict[str, Tensor]) -> None:
    """Save a safetensors file under its final name only once it is whole on disk."""
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial)
    _publish(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file under its final name only once it is whole on disk."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    _publish(partial, path)


def _publish(partial: Path, path: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
