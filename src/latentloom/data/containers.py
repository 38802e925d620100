"""Which container a video file is, and whether all of it is there: decided from its bytes before any decoder sees it.

Files come from strangers. A name or an extension says nothing, and some formats (playlists, concat scripts, SDP, image
patterns) are instructions to open other files or addresses; only the self-contained containers below are let through.
Most containers state their own length, so a cut file is recognised here. What is inside is judged by `decoding.py`.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from latentloom.files import printable


class VideoError(ValueError):
    """A video that cannot be used. ``path`` is the file, ``reason`` what is wrong with it and what to do."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{printable(os.fspath(path))}: {printable(reason)}")
        self.path = Path(path)
        self.reason = reason


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
    head = file.read(12)
    size = file.seek(0, os.SEEK_END)
    container = _demuxer(head)
    if container is None:
        raise VideoError(path, "not an MP4, MOV, MKV, WebM, AVI or GIF video; convert it (ffmpeg -i INPUT OUTPUT.mp4)")
    lacking = _MISSING[container](file, size)
    if lacking:
        raise VideoError(path, f"truncated: at least {lacking} bytes are missing")
    file.seek(0)
    return container


def _demuxer(head: bytes) -> str | None:
    """MPEG streams (.ts, .mpg) are not among them: nothing in them says where they should end."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    return "gif" if head.startswith((b"GIF87a", b"GIF89a")) else None


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
    return max(position - size, int(b"moov" not in kinds))


def _matroska_missing(file: BinaryIO, size: int) -> int:
    """Bytes missing from an MKV/WebM: a header, then a segment of a stated length (live recordings state none)."""
    position = 0
    for _ in ("header", "segment"):
        file.seek(position)
        element = file.read(12).ljust(12, b"\0")
        id_length = 9 - element[0].bit_length()
        size_length = 9 - element[min(id_length, 11)].bit_length()
        largest = (1 << 7 * size_length) - 1
        value = int.from_bytes(element[id_length : id_length + size_length], "big") & largest
        if id_length > 4 or size_length > 8:
            return 1
        if value == largest:
            return 0
        position += id_length + size_length + value
    return max(position - size, 0)


def _avi_missing(file: BinaryIO, size: int) -> int:
    """Bytes missing from an AVI: one RIFF chunk after another, the later ones in files over 1 GiB."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        chunk = file.read(8)
        if chunk[:4] != b"RIFF":
            break
        position += 8 + int.from_bytes(chunk[4:], "little")
    return max(position - size, 0)


def _gif_missing(file: BinaryIO, size: int) -> int:
    """1 where a GIF's blocks do not lead to its end mark, else 0."""
    file.seek(10)
    file.seek(13 + _palette_bytes(file.read(1)))
    while (kind := file.read(1)) in (b"!", b","):
        if kind == b"!":
            file.seek(1, os.SEEK_CUR)
        else:
            flags = file.read(9)[8:]
            file.seek(_palette_bytes(flags) + 1, os.SEEK_CUR)
        while (length := file.read(1)) not in (b"", b"\0"):
            file.seek(length[0], os.SEEK_CUR)
    return int(kind != b";")


def _palette_bytes(flags: bytes) -> int:
    return 3 * (2 << (flags[0] & 7)) if flags and flags[0] & 0x80 else 0


_MISSING = {"mov": _mov_missing, "matroska": _matroska_missing, "avi": _avi_missing, "gif": _gif_missing}
