"""What a generation has finished, on disk: killed at any moment, the same command goes on with the same bits.

A folder of one safetensors file per window, and the settings it was begun with. What is remembered is never made again;
since every window draws from a generator of its own (``seeds``), what is made after it does not know the difference.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentloom.files import remove_debris, save_tensors, write_text
from latentloom.locks import locked

_WINDOW = re.compile(r"[a-z]+(-\d)?-\d{6}\.safetensors")


class Remember(Protocol):
    """``(stage, index, make)`` to a tensor on the CPU: what ``make`` gives, or gave before."""

    def __call__(self, stage: str, index: int, make: Callable[[], Tensor], /) -> Tensor: ...


def make_anew(stage: str, index: int, make: Callable[[], Tensor], /) -> Tensor:
    """Remember nothing."""
    return make().cpu()


class Journal:
    """A journal folder of this process; ``opened`` makes one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, settings: Mapping[str, Any], *, replace: bool = False) -> "Iterator[Journal]":
        """The journal of a generation with these settings, new or continued; removed when the block ends well.

        Args:
            replace: one that was begun with other settings makes way.

        Raises:
            ValueError: it was begun with other settings, by a process that still works, or cannot be written.
        """
        try:
            with locked(folder):
                yield from cls._held(folder, settings, replace)
        finally:
            with suppress(OSError):
                folder.rmdir()  # only where nothing is left in it

    @classmethod
    def discard(cls, folder: Path) -> None:
        """Remove what is left of the journal of a finished video. Raises ``ValueError`` while a process holds it."""
        with locked(folder):
            cls(folder)._remove()
        with suppress(OSError):
            folder.rmdir()

    @classmethod
    def _held(cls, folder: Path, settings: Mapping[str, Any], replace: bool) -> "Iterator[Journal]":
        remove_debris(folder)
        journal, wanted = cls(folder), json.loads(json.dumps(settings, default=str))
        if replace and _differing(folder / "settings.json", wanted):
            journal._remove()
        _agree(folder / "settings.json", wanted)
        try:
            yield journal
        except BaseException:
            if not journal.num_windows:  # refused, or killed before anything was worth keeping
                journal._remove()
            raise
        journal._remove()

    def remember(self, stage: str, index: int, make: Callable[[], Tensor], /) -> Tensor:
        """What ``make`` gives for window ``index`` of ``stage``; read where it was finished before."""
        path = self.folder / f"{stage}-{index:06d}.safetensors"
        known = _read(path)
        if known is None:
            known = make().cpu().contiguous()
            save_tensors(path, {"made": known})
        return known

    def _remove(self) -> None:
        settings = self.folder / "settings.json"
        settings.unlink(missing_ok=True)  # first: what is left of a removal cut short is no journal
        for path in _windows(self.folder):
            path.unlink()

    @property
    def num_windows(self) -> int:
        """How many windows are finished."""
        return len(_windows(self.folder))


def _windows(folder: Path) -> list[Path]:
    """The files that `remember` wrote, and no others."""
    return [path for path in folder.iterdir() if _WINDOW.fullmatch(path.name)]


def _read(path: Path) -> Tensor | None:
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("made")
    except (OSError, SafetensorError):  # not there, or damaged: it is made again
        return None


def _agree(path: Path, settings: dict[str, Any]) -> None:
    if not path.exists():
        windows = _windows(path.parent)  # of a removal cut short
        strange = sorted(set(path.parent.iterdir()) - {*windows, path.parent / "run.lock"})
        if strange:
            raise ValueError(f"{path.parent} is no journal, it holds {strange[0].name}; choose another output name")
        for left in windows:
            left.unlink()
        write_text(path, json.dumps(settings, indent=2))
        return
    if differing := _differing(path, settings):
        raise ValueError(
            f"{path.parent} holds a generation begun with another {', '.join(differing)}: give the same command to go"
            " on with it, or --force to begin anew"
        )


def _differing(path: Path, settings: dict[str, Any]) -> list[str]:
    begun = json.loads(path.read_text(encoding="utf-8")) if path.exists() else settings
    return sorted(name for name in {*begun, *settings} if begun.get(name) != settings.get(name))
