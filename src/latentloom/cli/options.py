"""Options that several commands share, and texts turned into values: sizes, source weights, output files."""

import math
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from latentloom.files import printable

Seed = Annotated[int, typer.Option(help="The same seed gives the same result on the same machine.")]
Dtype = Annotated[str, typer.Option(help="auto (ask the machine), fp32 or bf16.", metavar="auto|fp32|bf16")]
Threads = Annotated[int | None, typer.Option(help="CPU threads to compute with.", show_default="all cores")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite output files that exist.")]
Size = Annotated[str | None, typer.Option(help="Height and width in pixels.", metavar="HxW")]
MAX_THREADS = 1024


def parsed_size(text: str | None) -> tuple[int, int] | None:
    """``"128x256"`` -> (128, 256), height first.

    Raises:
        ValueError: anything else.
    """
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise ValueError(f"size is {text[:40]!r}, expected HEIGHTxWIDTH in pixels, such as 128x256")
    return int(sides[0][:9]), int(sides[1][:9])


def parsed_bytes(text: str) -> int:
    """``"6GB"``, ``"1.5 GB"`` or ``"800MB"`` -> bytes, of which a megabyte has a million.

    Raises:
        ValueError: anything else.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s?([MG])B?", text.strip(), re.IGNORECASE | re.ASCII)
    if match is None or not float(match[1]):
        raise ValueError(f"{text[:40]!r} is no size of memory, expected such as 6GB or 800MB")
    return int(float(match[1]) * {"M": 1e6, "G": 1e9}[match[2].upper()])


def parsed_lora(text: str) -> tuple[Path, float]:
    """``"toy.safetensors@0.8"`` -> (toy.safetensors, 0.8); the scale is 1 where none is given.

    Raises:
        ValueError: no such file, or a scale that is no number from -10 to 10.
    """
    name, mark, number = text.rpartition("@")
    if not mark or Path(text).is_file():
        name, number = text, "1"
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if not -10 <= scale <= 10:
        raise ValueError(f"--lora {text[:60]!r}: expected FILE or FILE@SCALE, such as toy.safetensors@0.8")
    if not Path(name).is_file():
        raise ValueError(f"{printable(name)}: no such LoRA")
    return Path(name), scale


def parsed_weights(texts: Iterable[str]) -> dict[str, float]:
    """``["world=0.3"]`` -> {"world": 0.3}.

    Raises:
        ValueError: not of this form, or a name twice.
    """
    weights: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not name or name in weights or not 0 <= value <= 1:
            raise ValueError(f"--weight {text[:60]!r}: expected NAME=FRACTION, such as world=0.3, each name once")
        weights[name] = value
    return weights


def check_outputs(paths: Iterable[Path], *, force: bool) -> None:
    """Refuse output files that cannot be written, before any work is done for them.

    Raises:
        ValueError: one exists and ``force`` is not set, is a folder, or has no folder that takes a file.
    """
    for path in paths:
        if path.is_dir():
            raise ValueError(f"{path} is a folder, where a file would be written; choose another name")
        if not force and (path.exists() or path.is_symlink()):
            raise ValueError(f"{path} exists; choose another name or overwrite it with --force")
        if not path.parent.is_dir():
            raise ValueError(f"{path.parent} is no folder to write {path.name} into; make it first")
        try:  # permissions, read-only disks and odd file systems all show when a file is made
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise ValueError(f"{path.parent} takes no files ({error.strerror}); choose another folder") from error


def check_output_folder(folder: Path) -> None:
    """Refuse an output folder whose name is taken by a file. Raises ``ValueError``."""
    if folder.is_symlink() and not folder.exists():
        raise ValueError(f"{folder} is a link to nothing; choose another output folder")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, where a folder would be written; choose another output folder")


def use_threads(threads: int | None) -> None:
    """Compute with so many CPU threads; None leaves torch's choice.

    Raises:
        ValueError: not from 1 to 1024.
    """
    if threads is None:
        return
    from latentloom.stages.request import check_count

    check_count("threads", threads, MAX_THREADS)
    import torch

    torch.set_num_threads(threads)


def compute_device() -> str:
    """The device commands compute on: the GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
