"""A video's coded frames in a new file that says nothing of where it comes from: no title, no comment, no sound.

Tools write prompts, settings and their own name into the files they make; who rates videos blindly must not read them.
Nothing is decoded or encoded: the pictures are the same, bit by bit.
"""

from pathlib import Path
from typing import Any, NoReturn

import av
import av.error
from av import VideoStream

from latentloom.data.containers import VideoError, identify_container, open_regular
from latentloom.data.decoding import VideoHeader, open_video
from latentloom.files import printable

BROWSER_CODECS = ("h264", "vp8", "vp9", "av1")
_CONTAINERS = {".mp4": "mp4", ".webm": "webm"}


def copy_for_browsers(source: Path, target: Path) -> VideoHeader:
    """Copy the coded frames of the first video stream to ``target`` (.mp4 or .webm); what the source's header says.

    Raises:
        VideoError: not a whole video, or of a codec that browsers do not show.
        ValueError: a target of another kind.
    """
    if target.suffix not in _CONTAINERS:
        raise ValueError(f"{printable(target)}: browsers show {' and '.join(_CONTAINERS)}; choose such a name")
    with open_video(source) as (header, _):  # judges the file and its limits
        pass
    with open_regular(source) as file:
        read = av.open(file, mode="r", format=identify_container(source, file), io_open=_refuse_io)
        with read, av.open(target, mode="w", format=_CONTAINERS[target.suffix]) as written:
            stream = read.streams.video[0]
            _check_codec(source, stream)
            try:
                copy = written.add_stream_from_template(stream)  # leaves metadata behind
                for packet in read.demux(stream):
                    if packet.dts is not None:  # the last one is empty: it flushes a decoder
                        packet.stream = copy
                        written.mux(packet)
            except av.error.FFmpegError as error:
                raise VideoError(source, f"damaged, or {target.suffix} cannot hold it: {error.strerror}") from None
    return header


def _check_codec(path: Path, stream: VideoStream) -> None:
    codec = stream.codec_context.codec.canonical_name
    if codec not in BROWSER_CODECS:
        raise VideoError(
            path, f"coded as {codec}, browsers show {', '.join(BROWSER_CODECS)}; convert it to H.264 first"
        )


def _refuse_io(url: str, flags: int, options: dict[str, Any]) -> NoReturn:
    raise PermissionError(f"the file asks to open {url!r}")
