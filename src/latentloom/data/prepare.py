"""A folder of videos and captions -> a dataset folder. Bad videos are rejected with a reason; too many stop the run.

Everything that can be judged cheaply (captions, containers, headers) is judged before anything is written. A run that
was interrupted, or a folder that has grown, continues where it was: clips of unchanged files are not decoded again.
"""

import hashlib
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from latentloom.data.captions import CaptionCounts, find_captions
from latentloom.data.containers import VideoError
from latentloom.data.decoding import VideoHeader, open_video
from latentloom.data.manifest import Caption, DatasetWriter
from latentloom.data.timing import exact_rate
from latentloom.data.video import read_video
from latentloom.files import printable

# Names that claim to be videos. Those of formats that are not read are here too, so that they are reported, not missed.
_READ_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif")
_OTHER_SUFFIXES = (".ts", ".mts", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp", ".m3u8")
_SUFFIXES = frozenset({*_READ_SUFFIXES, *_OTHER_SUFFIXES})


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What became of a folder: ids of new clips and of clips already there, the rejected videos, the captions."""

    prepared: tuple[str, ...]
    already_there: tuple[str, ...]
    rejected: tuple[VideoError, ...]
    captions: CaptionCounts
    num_frames: int


@dataclass(frozen=True, kw_only=True)
class _Settings:
    size: tuple[int, int]
    fps: float | None
    min_frames: int
    licence: str | None


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """A video on its way in; ``name`` is its path inside the folder, ``digest`` covers its bytes and its caption."""

    id: str
    path: Path
    name: Path
    caption: str | None
    digest: str

    @classmethod
    def of(cls, path: Path, folder: Path, caption: str | None) -> "_Clip":
        name = path.relative_to(folder)
        return cls(id=_clip_id(name), path=path, name=name, caption=caption, digest=_digest(path, caption))


@dataclass
class _Rejected:
    """Bad videos so far; more than ``allowed`` of them raise."""

    allowed: int
    total: int
    errors: list[VideoError] = field(default_factory=list)

    def add(self, error: VideoError) -> None:
        self.errors.append(error)
        if len(self.errors) > self.allowed:
            raise error if self.total == 1 else ValueError(self.summary())

    def summary(self) -> str:
        shown = "; ".join(str(error) for error in self.errors[:5])
        return (
            f"{len(self.errors)} of {self.total} videos are bad, {self.allowed} are allowed: {shown}; "
            "remove or repair them, or allow a larger fraction of bad videos"
        )


def prepare(
    videos: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    size: tuple[int, int],
    fps: float | int | None = None,
    min_frames: int = 8,
    default_caption: str | None = None,
    max_bad_fraction: float | int = 0.05,
    licence: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> PrepareReport:
    """Decode videos into the dataset folder ``output``, in the order of their names.

    Args:
        videos: a folder (searched with its subfolders; videos under one called `val` are held out), or files.
        size: (height, width) of the stored frames; videos are cropped to this aspect, then resized.
        fps: frames per second to resample to. A video that is slower keeps its own frames and times (none is repeated),
            as do all without ``fps``.
        min_frames: shorter videos are bad.
        default_caption: for videos without a caption of their own (see `captions.py`).
        max_bad_fraction: of a folder's videos, rounded down: with 0.05 and fewer than 20 videos any bad one stops the
            run. Of files given by name none may be bad.
        progress: called with (videos done, videos in all, name) before each video and once at the end.

    Raises:
        ValueError: no such folder, no videos in it, too many bad videos, bad captions, or another dataset in the way.
    """
    folder, paths, by_name = list_videos(videos)
    settings = _Settings(size=size, fps=None if fps is None else float(fps), min_frames=min_frames, licence=licence)
    _check_settings(settings, max_bad_fraction)
    captions, counts = find_captions(folder, paths, default_caption)
    rejected = _Rejected(allowed=0 if by_name else int(max_bad_fraction * len(paths)), total=len(paths))
    good = [path for path in paths if _is_plausible(folder, path, settings, rejected)]
    prepared, there, num_frames = list[str](), list[str](), 0
    with DatasetWriter(output, {"kind": "videos", "size": list(size), "fps": fps, "min_frames": min_frames}) as writer:
        for done, path in enumerate(good):
            if progress:
                progress(done, len(good), printable(path.name))
            clip = _Clip.of(path, folder, captions.get(path))
            if writer.has(clip.id, clip.digest):
                there.append(clip.id)
                continue
            try:
                num_frames += _add(writer, clip, settings)
                prepared.append(clip.id)
            except VideoError as error:
                rejected.add(error)
    if progress:
        progress(len(good), len(good), "")
    if not prepared and not there:
        raise ValueError(rejected.summary())
    return PrepareReport(
        prepared=tuple(prepared),
        already_there=tuple(there),
        rejected=tuple(rejected.errors),
        captions=counts,
        num_frames=num_frames,
    )


def _check_settings(settings: _Settings, max_bad_fraction: float | int) -> None:
    if settings.fps is not None:
        exact_rate(settings.fps)
    if not 0 <= max_bad_fraction <= 1:
        raise ValueError(f"max_bad_fraction is {max_bad_fraction}, expected a fraction from 0 to 1")
    if settings.min_frames < 1:
        raise ValueError(f"min_frames is {settings.min_frames}, expected at least 1")
    if min(settings.size) < 1:
        raise ValueError(f"size is {settings.size}, expected (height, width), each at least 1")


def list_videos(videos: str | Path | Sequence[str | Path]) -> tuple[Path, list[Path], bool]:
    """The folder everything is in, the videos sorted by name, and whether they were given one by one."""
    if not isinstance(videos, str | Path):
        paths = sorted({Path(os.path.abspath(video)) for video in videos}, key=os.fsencode)  # noqa: PTH100
        if not paths:
            raise ValueError("no videos were given")
        return Path(os.path.commonpath([path.parent for path in paths])), paths, True
    folder = Path(videos)
    if folder.is_file():
        return folder.parent, [folder], True
    if not folder.is_dir():
        raise ValueError(f"{printable(folder)}: no such folder of videos")
    paths = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES and not path.is_dir() and not path.name.startswith(".")
    ]
    if not paths:
        raise ValueError(f"{printable(folder)}: no videos in this folder (looked for {' '.join(_READ_SUFFIXES)})")
    return folder, sorted(paths, key=os.fsencode), False


def _is_plausible(folder: Path, path: Path, settings: _Settings, rejected: _Rejected) -> bool:
    """Judge a video by its bytes and header, without decoding."""
    try:
        if path.is_symlink() and path.exists() and not path.resolve().is_relative_to(folder.resolve()):
            raise VideoError(path, "a link out of the folder; copy the video into it")
        with open_video(path) as (header, _):
            if header.num_frames is not None:
                rate = _rate(header, settings) or header.rate
                _check_length(path, math.ceil(header.num_frames * Fraction(rate) / header.rate), settings)
    except VideoError as error:
        rejected.add(error)
        return False
    return True


def _rate(header: VideoHeader, settings: _Settings) -> float | None:
    """The rate to resample to; None for a video that is slower than wanted, whose frames would be repeated."""
    return settings.fps if settings.fps is not None and settings.fps < header.rate else None


def _check_length(path: Path, num_frames: int, settings: _Settings) -> None:
    if num_frames < settings.min_frames:
        raise VideoError(
            path, f"{num_frames} frames < {settings.min_frames}, the shortest clip that is used (--min-frames)"
        )


def _add(writer: DatasetWriter, clip: _Clip, settings: _Settings) -> int:
    """Decode and store one video; the number of its frames."""
    with open_video(clip.path) as (header, _):
        rate = _rate(header, settings)
    video = read_video(clip.path, rate, size=settings.size)
    num_frames = len(video.frames)
    _check_length(clip.path, num_frames, settings)
    writer.add(
        clip.id,
        video.frames,
        fps=video.fps,
        times=video.times.tolist(),
        captions=[] if clip.caption is None else [Caption(start=0, stop=num_frames, text=clip.caption)],
        source=printable(clip.name),
        licence=settings.licence,
        split="val" if "val" in clip.name.parts[:-1] else "train",
        digest=clip.digest,
    )
    return num_frames


def _clip_id(name: Path) -> str:
    """`drive` for `drive.mp4`; any other name is made plain and gets a part of its hash, so that no two are equal."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", "_".join(name.with_suffix("").parts))
    safe = plain.lstrip("_-")[:100]
    if name == Path(f"{safe}.mp4"):
        return safe
    return f"{safe or 'clip'}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


def _digest(path: Path, caption: str | None) -> str:
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256")
    content.update(b"\0" if caption is None else b"\1" + caption.encode())
    return content.hexdigest()
