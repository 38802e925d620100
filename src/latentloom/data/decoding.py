"""Decode one video file safely: header limits first, then frames one at a time with their timestamps.

FFmpeg reads from an open file object with a named demuxer, so it never interprets a file name, and any attempt of the
file to open something else is refused. Damage anywhere in what is read is an error: nothing is concealed or padded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import av
import av.error
from av import VideoFrame, VideoStream
from av.container import InputContainer

from latentloom.data.containers import VideoError, identify_container, open_regular

MAX_PIXELS = 7680 * 4320  # 8K; a frame of 8192 x 8192 is a bomb
MAX_FRAMES = 500_000  # 2.3 hours at 60 frames per second


@dataclass(frozen=True, kw_only=True)
class VideoHeader:
    """What a file says of itself before any frame is decoded; ``num_frames`` is None where it says nothing."""

    height: int
    width: int
    rate: Fraction
    num_frames: int | None
    pixel_aspect: Fraction


@contextmanager
def open_video(path: Path) -> Iterator[tuple[VideoHeader, Iterator[tuple[Fraction | None, VideoFrame]]]]:
    """The header and the stamped frames (seconds, frame in presentation order) of the first video stream.

    Raises:
        VideoError: not a whole video, no video stream, beyond the limits, or damaged (while the frames are read).
    """
    with open_regular(path) as file:
        container_name = identify_container(path, file)
        try:
            container = av.open(
                file, format=container_name, io_open=_refuse_io, options={"max_pixels": str(MAX_PIXELS)}
            )
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise VideoError(path, f"not a readable {container_name} file: {_why(error)}") from None
        with container:
            assert isinstance(container, InputContainer)
            if not container.streams.video:
                raise VideoError(path, "no video stream")
            stream = container.streams.video[0]
            header = _header(path, container, stream)
            yield header, _frames(path, container, stream)


def _refuse_io(url: str, flags: int, options: dict[str, Any]) -> NoReturn:
    raise PermissionError(f"the file asks to open {url!r}")


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _header(path: Path, container: InputContainer, stream: VideoStream) -> VideoHeader:
    if stream.codec_context is None:  # pyright does not know that PyAV leaves it out for codecs it cannot decode
        raise VideoError(path, "the video stream is of an unknown codec")
    height, width = stream.codec_context.height, stream.codec_context.width
    if height < 1 or width < 1:
        raise VideoError(path, "the frame size is missing or beyond the limit")
    if height * width > MAX_PIXELS:
        raise VideoError(path, f"frames of {width}x{height} are beyond the limit of {MAX_PIXELS} pixels")
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    seconds = _duration(container, stream)
    num_frames = stream.frames or (None if seconds is None else round(seconds * rate))
    return VideoHeader(
        height=height,
        width=width,
        rate=rate,
        num_frames=num_frames,
        pixel_aspect=Fraction(stream.sample_aspect_ratio or 1),
    )


def _duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration is not None and stream.time_base is not None:
        return stream.duration * stream.time_base
    return None if container.duration is None else Fraction(container.duration, av.time_base)


def _frames(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[tuple[Fraction | None, VideoFrame]]:
    stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(MAX_PIXELS)}
    size: tuple[int, int] | None = None
    last = Fraction(0)
    try:
        for packet in container.demux(stream):
            for frame in packet.decode():
                assert isinstance(frame, VideoFrame)
                size = size or (frame.height, frame.width)
                if frame.is_corrupt:  # some decoders conceal damage whatever they are told
                    raise VideoError(path, f"damaged or truncated after {float(last):.2f} s")
                if (frame.height, frame.width) != size:
                    raise VideoError(path, f"the frame size changes from {size} to {(frame.height, frame.width)}")
                stamp = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
                last = stamp if stamp is not None else last
                yield stamp, frame
    except av.error.FFmpegError as error:
        raise VideoError(path, f"damaged or truncated after {float(last):.2f} s: {_why(error)}") from None
    _check_reached_end(path, stream, last)


def _check_reached_end(path: Path, stream: VideoStream, last: Fraction) -> None:
    """A demuxer ends quietly where its bytes end; the index of an MP4 still knows how long the video should be."""
    if stream.container.format.name.split(",")[0] != "mov" or stream.duration is None or stream.time_base is None:
        return
    end = ((stream.start_time or 0) + stream.duration) * stream.time_base
    slack = max(Fraction(1, 4), 3 / Fraction(stream.average_rate or 25))
    if last + slack < end:
        raise VideoError(path, f"truncated: the frames end at {float(last):.2f} s of {float(end):.2f} s")
