"""The videos that ``latentloom evaluate`` is given: how each is read, and what its receipt says of it."""

import hashlib
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from latentloom.cli.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

RATE_TOLERANCE = 0.01  # 29.97 and 30 are one rate


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """One video: what reads its frames ``t h w 3``, and what its file says of itself."""

    name: str
    load: "Callable[[], Tensor]"
    file: Path
    size: tuple[int, int]
    fps: float
    container: str
    codec: str
    pixel_format: str
    caption: str | None = None


@dataclass(frozen=True, kw_only=True)
class VideoSet:
    """The videos of one argument, sorted by name; ``side`` is "real" or "generated"."""

    side: str
    path: Path
    videos: tuple[VideoFile, ...]

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
                f"--videos {count}: {self.path} holds {len(self.videos)} {self.side} videos, give more or ask for fewer"
            )
        import torch

        order = torch.randperm(len(self.videos), generator=torch.Generator().manual_seed(seed))
        return replace(self, videos=tuple(self.videos[k] for k in sorted(order[:count].tolist())))

    def receipt(self) -> dict[str, Any]:
        """Counts of what the files are, and a hash of each; ``digest`` is of all hashes, whatever the names."""
        from latentloom.files import digest_of

        digests = {video.name: digest_of(video.file) for video in self.videos}
        together = hashlib.sha256("\n".join(sorted(digests.values())).encode()).hexdigest()
        captions = [video.caption for video in self.videos if video.caption is not None]
        return {
            "path": str(self.path),
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
        ValueError: no video there, an unreadable header, a dataset of another size or rate, or slower than ``fps``.
    """
    videos = _clips(path, size, fps, split) if (path / "dataset.json").is_file() else _files(path, size, fps)
    for video in videos:
        if fps is not None and video.fps < fps * (1 - RATE_TOLERANCE):
            raise ValueError(
                f"{video.file}: {video.fps:g} frames a second; --fps {fps:g} would repeat some, judge both at"
                f" {video.fps:g} or less"
            )
    return VideoSet(side=side, path=path, videos=tuple(sorted(videos, key=lambda video: video.name)))


def check_comparable(real: VideoSet, fake: VideoSet, fps: float | None) -> None:
    """Warn of several sizes, refuse several rates where no ``fps`` brings them to one. Raises ``ValueError``."""
    rates = {video.fps for side in (real, fake) for video in side.videos}
    if fps is None and max(rates) > min(rates) * (1 + RATE_TOLERANCE):
        ours, theirs = (statistics.median(video.fps for video in side.videos) for side in (real, fake))
        raise ValueError(
            f"videos of {min(rates):g} to {max(rates):g} frames a second (real about {ours:g}, generated about"
            f" {theirs:g}): judge all at one rate, --fps {min(rates):g}"
        )
    sizes = [sorted({video.size for video in side.videos}) for side in (real, fake)]
    if len({size for side in sizes for size in side}) > 1:
        import warnings

        shown = [" ".join(f"{height}x{width}" for height, width in side[:4]) for side in sizes]
        warnings.warn(
            f"videos of several sizes (real {shown[0]}, generated {shown[1]}) are brought to one: what was enlarged is"
            " softer, and distances see that; make both at one size for a fair number",
            stacklevel=2,
        )


def check_names(real: VideoSet, fake: VideoSet) -> None:
    """Refuse pairs without a partner; two single videos pair whatever they are called. Raises ``ValueError``."""
    alone = sorted({video.name for video in real.videos} ^ {video.name for video in fake.videos})
    if alone and len(real.videos) + len(fake.videos) > 2:
        raise ValueError(f"--paired: {alone[0]} has no partner of that name; both folders need the same names")


def _files(path: Path, size: tuple[int, int], fps: float | None) -> list[VideoFile]:
    from latentloom.data.captions import find_captions
    from latentloom.data.prepare import list_videos

    folder, files, _ = list_videos(path)
    captions, _ = find_captions(folder, files, None)
    videos: dict[str, VideoFile] = {}
    for file in files:
        name = str(file.relative_to(folder).with_suffix(""))
        if name in videos:
            raise ValueError(f"{path} holds two videos called {name}; take one of them out")
        videos[name] = _video(name, file, size, fps, captions.get(file))
    return list(videos.values())


def _video(name: str, file: Path, size: tuple[int, int], fps: float | None, caption: str | None) -> VideoFile:
    from latentloom.data.decoding import open_video
    from latentloom.data.video import read_video

    with open_video(file) as (header, _):
        facts = _stream_facts(file)
        return VideoFile(
            name=name,
            load=lambda: read_video(file, fps, size=size).frames,
            file=file,
            size=(header.height, header.width),
            fps=float(header.rate),
            caption=caption,
            **facts,
        )


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
        raise ValueError(f"{path} holds frames of {dataset.size[0]}x{dataset.size[1]}; judge at that --size")
    clips = [record for record in dataset.records if record.contiguous and record.num_frames > 1]
    chosen = [record for record in clips if record.split == split] or clips
    rates: Sequence[float] = sorted({record.fps for record in chosen})
    if fps is not None and rates and rates[-1] > fps * (1 + RATE_TOLERANCE):
        raise ValueError(f"{path} holds clips of {rates[-1]:g} frames a second; prepare it with --fps {fps:g}")
    return [
        VideoFile(
            name=record.id,
            load=lambda record=record: dataset.frames(record, range(record.num_frames)),
            file=path / record.file,
            size=size,
            fps=record.fps,
            container="dataset folder",
            codec="none, decoded frames",
            pixel_format="rgb24",
            caption=record.caption(0, record.num_frames - 1) or None,
        )
        for record in chosen
    ]
