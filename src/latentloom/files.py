"""Files and folders that are whole or not there: written under a name of their own beside the target, synced, renamed.

The temporary name holds the writer's process id, so that two processes never write into one file, and so that what a
dead one left behind can be told from what a living one is writing. Also here: a file's checksum, and names and messages
from files made printable. Not here: what is in the files.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

if TYPE_CHECKING:
    from torch import Tensor

_PARTIAL = re.compile(r"\.latentloom-(\d+)-.*\.partial")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write the file to, renamed to ``path`` at the end of the block; a failure leaves what was there.

    Raises:
        OSError: the disk refuses (full, read-only), whichever library wrote.
    """
    partial = partial_path(path)
    try:
        with _refusals_as_os_errors(path):
            yield partial
        _sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A new folder to fill, renamed to ``path`` at the end of the block; a failure leaves nothing of it.

    Args:
        replace: remove a folder ``path``, once the new one is on disk; otherwise only an empty one makes way.

    Raises:
        OSError: ``path`` is in the way; or the disk refuses, whichever library wrote.
    """
    partial = partial_path(path)
    shutil.rmtree(partial, ignore_errors=True)  # of a dead process that had the same number
    partial.mkdir()
    try:
        with _refusals_as_os_errors(path):
            yield partial
        for inner in (*partial.rglob("*"), partial):
            _sync(inner)
        if replace and path.exists():
            shutil.rmtree(path)
        partial.rename(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None) -> None:
    """Write a whole safetensors file.

    Raises:
        OSError: the disk refuses (full, read-only).
    """
    from safetensors.torch import save_file  # imports torch, which those who only print names do without

    with whole_file(path) as partial:
        save_file(dict(tensors), partial, metadata=None if metadata is None else dict(metadata))


def partial_path(path: Path) -> Path:
    """The name under which this process writes what becomes ``path``; short and plain, whatever ``path`` is called."""
    plain = "".join(c for c in path.stem if c.isascii() and c.isalnum())[:40]
    return path.with_name(f".latentloom-{os.getpid()}-{plain}.partial")


def remove_debris(folder: Path) -> None:
    """Remove what processes that are gone, or this one, were writing in ``folder``."""
    for path in folder.glob(".latentloom-*.partial"):
        writer = _PARTIAL.fullmatch(path.name)
        if writer and (int(writer[1]) == os.getpid() or not _is_alive(int(writer[1]))):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """The sha256 of a file in hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def printable(text: object) -> str:
    """``text`` on one line: control characters, direction marks and undecodable bytes become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def one_line(text: object) -> str:
    """`printable`, but line breaks and tabs become spaces: for sentences, where names keep theirs as escapes."""
    return printable(" ".join(str(text).split()))


@contextmanager
def _refusals_as_os_errors(path: Path) -> Iterator[None]:
    """A full disk is to safetensors an error of its own, with the system's number in its text."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # alive, and somebody else's
        return True
    except (OSError, OverflowError):
        return False
    return True


def names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """``object_pairs_hook`` of ``json.loads`` that refuses what it would pass over: one name twice. ``ValueError``."""
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:80]!r} occurs twice")
    return content
