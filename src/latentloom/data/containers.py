"""Which container a video file is, and whether all of it is there: decided from its bytes before any decoder sees it.

Files come from strangers. A name or an extension says nothing, and some formats (playlists, concat scripts, SDP, image
patterns) are instructions to open other files or addresses; only the self-contained containers below are let through.
Most containers state their own length, so a cut file is recognised here. What is inside is judged by `decoding.py`.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO


class VideoError(ValueError):
    """A video that cannot be used. ``path`` is the file, ``reason`` what is wrong with it and what to do."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{printable(path)}: {printable(reason)}")
        self.path = Path(path)
        self.reason = reason


def printable(text: str | os.PathLike[str]) -> str:
    """``text`` on one line: control characters, direction marks and undecodable bytes become escapes."""
    shown = os.fspath(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in shown)


def open_regular(path: Path) -> BinaryIO:
    """Open an ordinary, non-empty file. A device or a pipe would block or never end, so it is refused unopened."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise VideoError(path, "a link to nothing" if path.is_symlink() else "no such file") from None
    except (OSError, ValueError) as error:
        raise VideoError(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(status.st_mode):
        raise VideoError(path, "a folder, where a video file is expected")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(path, "not an ordinary file")
    if status.st_size == 0:
        raise VideoError(path, "the file is empty")
    try:
        return path.open("rb")
    except OSError as error:
        raise VideoError(path, f"cannot be read: {error.strerror}") from None


def identify_container(path: Path, file: BinaryIO) -> str:
    """FFmpeg's demuxer name for ``file`` (left at its start).

    Raises:
        VideoError: not a container this package reads, or shorter than it says it is.
    """
    head = file.read(4096)
    size = file.seek(0, os.SEEK_END)
    container = _demuxer(head)
    if container is None:
        raise VideoError(path, "not a video file (MP4, MOV, MKV, WebM, AVI, GIF, MPEG-TS or MPEG-PS is expected)")
    count_missing = _MISSING.get(container)
    lacking = count_missing(file, size) if count_missing else 0
    if lacking:
        raise VideoError(path, f"truncated: the file ends {lacking} bytes or more before it should")
    file.seek(0)
    return container


def _demuxer(head: bytes) -> str | None:
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "mpegts"
    return "mpeg" if head.startswith(b"\x00\x00\x01\xba") else None


def _mov_missing(file: BinaryIO, size: int) -> int:
    """Bytes missing from an MP4/MOV: its top-level boxes must tile the file, and one of them must be ``moov``."""
    position, kinds = 0, set[bytes]()
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size - position
        if length < 8 or not kind.strip(b"\0"):  # padding after the last box is seen in the wild
            break
        kinds.add(kind)
        position += length
    return max(position - size, 0) or (b"moov" not in kinds)


def _matroska_missing(file: BinaryIO, size: int) -> int:
    """Bytes missing from an MKV/WebM: the EBML header is followed by a segment of a stated (or unknown) length."""
    position = 0
    for _ in range(2):
        file.seek(position)
        header = file.read(12)
        if len(header) < 12:
            return 12 - len(header)
        id_length = 9 - header[0].bit_length()
        first = header[id_length] if id_length < 5 else 0
        size_length = 9 - first.bit_length()
        if not first or id_length + size_length > 12:
            return 1
        value = int.from_bytes(header[id_length : id_length + size_length], "big") & ((1 << 7 * size_length) - 1)
        if value == (1 << 7 * size_length) - 1:  # live recordings state no length
            return 0
        position += id_length + size_length + value
    return max(position - size, 0)


def _avi_missing(file: BinaryIO, size: int) -> int:
    file.seek(4)
    return max(int.from_bytes(file.read(4), "little") + 8 - size, 0)


def _gif_missing(file: BinaryIO, size: int) -> int:
    file.seek(max(size - 64, 0))
    return 0 if b";" in file.read() else 1


_MISSING = {"mov": _mov_missing, "matroska": _matroska_missing, "avi": _avi_missing, "gif": _gif_missing}
