"""The videos that ``latentloom evaluate`` is given: how each is read, and what its receipt says of it."""

import hashlib
import math
import statistics
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from latentloom.cli.progress import progress
from latentloom.files import printable

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.data.manifest import ClipRecord, Dataset

RATE_TOLERANCE = 0.01  # 29.97 and 30 are one rate
CROP_TOLD = 0.9  # of a frame
TRAINING = "training"
"""The side that is searched, not compared: its rates may differ."""


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """One video: what reads its frames ``t h w 3``, in any process, and what its file says of itself.

    ``num_frames`` is what there will be to judge, as the header has it; None where it says nothing.
    """

    name: str
    load: "Callable[[], Tensor]"
    file: Path
    size: tuple[int, int]
    fps: float
    num_frames: int | None
    container: str
    codec: str
    pixel_format: str
    caption: str | None = None


@dataclass(frozen=True, kw_only=True)
class VideoSet:
    """The videos of one argument, sorted by name; ``side`` is "real", "generated" or "training".

    ``made`` says how they were made, where this very run asked a stack for them.
    """

    side: str
    path: Path
    videos: tuple[VideoFile, ...]
    made: Mapping[str, Any] | None = field(default=None, compare=False)

    def frames(self) -> "Iterator[Tensor]":
        """The frames of each video, with progress."""
        with progress(self.path.name) as advance:
            for done, video in enumerate(self.videos):
                advance(done, len(self.videos), video.name)
                yield video.load()
            advance(len(self.videos), len(self.videos))

    def drawn(self, count: int | None, seed: int) -> "VideoSet":
        """So many of the videos; None takes all. Raises ``ValueError`` where there are fewer."""
        if count is None:
            return self
        if count > len(self.videos):
            raise ValueError(
                f"--videos {count}: {printable(self.path)} holds {len(self.videos)} {self.side} videos, give more or"
                " ask for fewer"
            )
        return replace(self, videos=tuple(self.videos[k] for k in sorted(self._order(seed)[:count])))

    def texts(self, seed: int) -> list[str]:
        """The caption of each video, "" without one, in the order in which ``drawn`` takes them."""
        return [self.videos[k].caption or "" for k in self._order(seed)]

    def _order(self, seed: int) -> list[int]:
        import torch

        return torch.randperm(len(self.videos), generator=torch.Generator().manual_seed(seed)).tolist()

    def receipt(self) -> dict[str, Any]:
        """Counts of what the files are, and a hash of each; ``digest`` is of all hashes, whatever the names."""
        from latentloom.files import digest_of

        digests = {video.name: digest_of(video.file) for video in self.videos}
        together = hashlib.sha256("\n".join(sorted(digests.values())).encode()).hexdigest()
        captions = [video.caption for video in self.videos if video.caption is not None]
        made = {} if self.made is None else {"made": dict(self.made)}
        return {
            "path": str(self.path),
            **made,
            "videos": len(self.videos),
            "sizes": dict(Counter("{}x{}".format(*video.size) for video in self.videos)),
            "rates": dict(Counter(f"{video.fps:.3f}" for video in self.videos)),
            "containers": dict(Counter(video.container for video in self.videos)),
            "codecs": dict(Counter(video.codec for video in self.videos)),
            "pixel_formats": dict(Counter(video.pixel_format for video in self.videos)),
            "captions": hashlib.sha256("\n".join(captions).encode()).hexdigest() if captions else None,
            "digest": together,
            "files": digests,
        }


def video_set(side: str, path: Path, size: tuple[int, int], fps: float | None, split: str) -> VideoSet:
    """The videos of an argument: a video, a folder of them or a dataset folder; headers are read, no frame is.

    Raises:
        ValueError: no video there, an unreadable header, or a dataset of another size.
    """
    is_dataset = (path / "dataset.json").is_file()
    videos = _clips(path, size, fps, split) if is_dataset else _files(*_listed(path), size, fps)
    return _sorted_set(side, path, videos)


def set_of_files(side: str, folder: Path, files: Sequence[Path], size: tuple[int, int], fps: float | None) -> VideoSet:
    """The same of some files of a folder, whatever else lies there. Raises ``ValueError``."""
    return _sorted_set(side, folder, _files(folder, files, size, fps))


def _sorted_set(side: str, path: Path, videos: Sequence[VideoFile]) -> VideoSet:
    return VideoSet(side=side, path=path, videos=tuple(sorted(videos, key=lambda video: video.name)))


def check_comparable(sets: Sequence[VideoSet], fps: float | None) -> None:
    """Warn of several sizes, refuse several rates where no ``fps`` brings them to one. Raises ``ValueError``."""
    slowest = min((v for one in sets if one.side != TRAINING for v in one.videos), key=lambda video: video.fps)
    if not _reaches(slowest.fps, fps):
        raise ValueError(
            f"{printable(slowest.file)}: {slowest.fps:g} frames a second; --fps {fps:g} would repeat some, judge all at"
            f" {slowest.fps:g} or less"
        )
    check_rates({one.side: [video.fps for video in one.videos] for one in sets if one.side != TRAINING}, fps)
    sizes = {one.side: sorted(_sizes(one)) for one in sets}
    if len({size for found in sizes.values() for size in found}) > 1:
        shown = [
            f"{side} {' '.join(f'{height}x{width}' for height, width in found[:4])}" for side, found in sizes.items()
        ]
        warnings.warn(
            f"videos of several sizes ({', '.join(shown)}) are brought to one: what was enlarged is softer, and"
            " distances see that; make all at one size for a fair number",
            stacklevel=2,
        )


def tell_crop(sets: Sequence[VideoSet], size: tuple[int, int]) -> None:
    """Warn where the crop to the aspect of ``size`` leaves out more than a tenth of some video's frames."""
    height, width = size
    aspects = {(rows, columns): columns / rows * height / width for one in sets for rows, columns in _sizes(one)}
    shown = {of: min(aspect, 1 / aspect) for of, aspect in aspects.items()}
    (rows, columns), least = min(shown.items(), key=lambda item: item[1])
    if least < CROP_TOLD:
        warnings.warn(
            f"frames are cropped to {height}x{width}: of those of {rows}x{columns} {100 * least:.0f} % are judged;"
            f" --size {rows}x{columns} judges all of them",
            stacklevel=2,
        )


def _sizes(videos: VideoSet) -> set[tuple[int, int]]:
    return {video.size for video in videos.videos}


def tell_other_rates(known: VideoSet, real: VideoSet, fps: float | None) -> None:
    """Say how much training footage is not at the rate that is judged: its clips move faster or slower."""
    judged = fps or statistics.median(video.fps for video in real.videos)
    rates = [min(video.fps, fps or video.fps) for video in known.videos]
    others = [rate for rate in rates if abs(rate - judged) > RATE_TOLERANCE * judged]
    if others:
        print(
            f"{len(others)} of {len(rates)} training videos have other rates than {judged:g} a second ({min(others):g}"
            f" to {max(others):g}): copies of their clips may be missed, copies of their frames are not"
        )


def check_lengths(sets: Sequence[VideoSet], span: int) -> None:
    """Refuse a set with a picture for a video, or in which no video is as long as a window. Raises ``ValueError``."""
    for one in sets:
        for video in one.videos:
            if video.num_frames == 1:
                raise ValueError(f"{printable(video.file)}: 1 frame is a picture, not a video; take it out")
        counts = [video.num_frames for video in one.videos]
        longest = max(count or 0 for count in counts)
        if None not in counts and longest < span:
            raise ValueError(
                f"no {one.side} video has {span} frames, the longest {longest}; ask for shorter windows (--window) or"
                " give longer videos"
            )


def check_rates(rates: Mapping[str, Iterable[float]], fps: float | None) -> None:
    """Refuse several rates where no ``fps`` brings them to one. Raises ``ValueError``."""
    by_side = {side: list(found) for side, found in rates.items()}
    every = [rate for found in by_side.values() for rate in found]
    if fps is None and max(every) > min(every) * (1 + RATE_TOLERANCE):
        usual = [f"{side} about {statistics.median(found):g}" for side, found in by_side.items()]
        raise ValueError(
            f"videos of {min(every):g} to {max(every):g} frames a second ({', '.join(usual)}): judge all at one rate,"
            f" --fps {min(every):g}"
        )


def check_pairs(real: VideoSet, fake: VideoSet) -> None:
    """Refuse a video without a partner, or with one of another length, as far as headers tell. Raises ``ValueError``.

    Two single videos pair whatever they are called.
    """
    alone = sorted({video.name for video in real.videos} ^ {video.name for video in fake.videos})
    if alone and len(real.videos) + len(fake.videos) > 2:
        raise ValueError(f"--paired: {alone[0]} has no partner of that name; both folders need the same names")
    for ours, theirs in zip(real.videos, fake.videos, strict=True):
        counts = ours.num_frames, theirs.num_frames
        if None not in counts and counts[0] != counts[1]:
            raise ValueError(
                f"--paired: {printable(theirs.file)} has {counts[1]} frames, its partner {printable(ours.file)}"
                f" {counts[0]}; cut both to one length"
            )


def _listed(path: Path) -> tuple[Path, list[Path]]:
    from latentloom.data.prepare import list_videos

    if (path / "stack.json").is_file():
        raise ValueError(f"{printable(path)} is a stack, no footage; give the stack as second argument, to be judged")
    folder, files, _ = list_videos(path)
    return folder, files


def _files(folder: Path, files: Sequence[Path], size: tuple[int, int], fps: float | None) -> list[VideoFile]:
    from latentloom.data.captions import find_captions

    captions, _ = find_captions(folder, files, None)
    videos: dict[str, VideoFile] = {}
    for file in files:
        name = str(file.relative_to(folder).with_suffix(""))
        if name in videos:
            raise ValueError(f"{printable(folder)} holds two videos called {printable(name)}; take one of them out")
        videos[name] = _video(name, file, size, fps, captions.get(file))
    return list(videos.values())


def _video(name: str, file: Path, size: tuple[int, int], fps: float | None, caption: str | None) -> VideoFile:
    from latentloom.data.decoding import open_video

    with open_video(file) as (header, _):
        facts = _stream_facts(file)
        return VideoFile(
            name=name,
            load=partial(_frames_of_file, file, fps if _reaches(float(header.rate), fps) else None, size),
            file=file,
            size=(header.height, header.width),
            fps=float(header.rate),
            num_frames=_judged_count(header.num_frames, float(header.rate), fps),
            caption=caption,
            **facts,
        )


def _reaches(rate: float, fps: float | None) -> bool:
    return fps is None or rate >= fps * (1 - RATE_TOLERANCE)


def _judged_count(num_frames: int | None, rate: float, fps: float | None) -> int | None:
    if num_frames is None or fps is None or not _reaches(rate, fps):
        return num_frames
    return math.ceil(num_frames * fps / rate)


def _frames_of_file(file: Path, fps: float | None, size: tuple[int, int]) -> "Tensor":
    from latentloom.data.video import read_video

    return read_video(file, fps, size=size).frames


def _stream_facts(file: Path) -> Mapping[str, str]:
    """Container, codec and pixel format of a file that ``open_video`` has let in; opened as strictly as there."""
    import av

    from latentloom.data.containers import identify_container, open_regular

    with open_regular(file) as opened:
        container = identify_container(file, opened)
        with av.open(opened, format=container, io_open=_refuse) as streams:
            context = streams.streams.video[0].codec_context
            return {"container": container, "codec": context.name, "pixel_format": context.pix_fmt or "unknown"}


def _refuse(url: str, flags: int, options: dict[str, Any]) -> NoReturn:
    raise PermissionError(f"the file asks to open {url!r}")


def _clips(path: Path, size: tuple[int, int], fps: float | None, split: str) -> list[VideoFile]:
    from latentloom.data.manifest import Dataset

    dataset = Dataset.load(path)
    if dataset.size != size:
        height, width = dataset.size
        raise ValueError(
            f"{printable(path)} holds frames of {height}x{width}; judge at that size, --size {height}x{width}"
        )
    clips = [(k, record) for k, record in enumerate(dataset.records) if record.contiguous and record.num_frames > 1]
    chosen = [(k, record) for k, record in clips if record.split == split] or clips
    if not chosen:
        raise ValueError(f"{printable(path)} holds pictures alone, no clip of 2 frames or more; give footage")
    return [_clip(path, place, record, fps) for place, record in chosen]


def _clip(path: Path, place: int, record: "ClipRecord", fps: float | None) -> VideoFile:
    indices = _indices(record, fps)
    return VideoFile(
        name=record.id,
        load=partial(_frames_of_clip, path, place, indices),
        file=path / record.file,
        size=(record.height, record.width),
        fps=record.fps,
        num_frames=len(indices),
        container="dataset folder",
        codec="none, decoded frames",
        pixel_format="rgb24",
        caption=record.caption(0, record.num_frames - 1) or None,
    )


def _indices(record: "ClipRecord", fps: float | None) -> tuple[int, ...]:
    """Which frames are judged: all, or those nearest to even moments, as `read_video` picks them."""
    if fps is None or record.fps <= fps * (1 + RATE_TOLERANCE):
        return tuple(range(record.num_frames))
    from fractions import Fraction

    from latentloom.data.timing import exact_rate, resampled

    step = 1 / exact_rate(record.fps)
    times = [k * step for k in range(record.num_frames)] if record.times is None else map(Fraction, record.times)
    try:
        return tuple(k for _, k in resampled(((time, k) for k, time in enumerate(times)), exact_rate(fps), step))
    except ValueError as error:
        raise ValueError(f"clip {record.id}: {error}") from None


def _frames_of_clip(path: Path, place: int, indices: Sequence[int]) -> "Tensor":
    dataset = _dataset(path)
    return dataset.frames(dataset.records[place], indices)


@cache
def _dataset(path: Path) -> "Dataset":
    """Read once by each process."""
    from latentloom.data.manifest import Dataset

    return Dataset.load(path)
