"""What may be opened in a model folder from a stranger, and how its files are checked before a library reads them.

Weights are safetensors, never pickles; a header is parsed here once, because the library accepts what it should not
(duplicate names). Loading itself is left to diffusers and transformers.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latentloom.files import names_once, printable

PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth", "*.pkl", "*.pickle")
# Read by the libraries when present: an adapter pulls in foreign weights, Python is code.
STEERING_FILES = {"adapter_config.json", "adapter_model.safetensors"}
MAX_JSON_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 100 * 2**20


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of at most 64 MiB.

    Raises:
        ValueError: no such file, too large, not JSON, not an object, or one key twice.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=names_once)
    except FileNotFoundError:
        raise ValueError(f"{printable(path)} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{printable(path)} cannot be read as JSON: {printable(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{printable(path)} holds a JSON {type(content).__name__}, expected an object")
    return content


def safetensors_header(path: Path) -> dict[str, Any]:
    """Name to ``{"dtype", "shape", "data_offsets"}`` of every tensor, and the file's size checked against it.

    Raises:
        ValueError: missing, truncated, a pickle under this name, a damaged header, or one name twice.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
                raise ValueError(f"no safetensors header in its {size} bytes; it is truncated or another format")
            header = json.loads(file.read(length), object_pairs_hook=names_once)
        header.pop("__metadata__", None)
        expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if size != expected:
            raise ValueError(f"{size} bytes where its header says {expected}; it is truncated or damaged")
    except FileNotFoundError:
        raise ValueError(f"{printable(path)} is missing") from None
    except (OSError, ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"{printable(path)} is no readable safetensors file: {printable(error)}") from error
    return header


def num_values(header: dict[str, Any]) -> int:
    """How many numbers the tensors of a header hold."""
    return sum(math.prod(entry["shape"]) for entry in header.values())


def check_member_folder(folder: Path, required: Iterable[str]) -> None:
    """Refuse a folder that would make a library open something else than JSON and safetensors files in it.

    Raises:
        ValueError: a required file is missing (a pickle in its place is named), a file a library would follow
            elsewhere, Python code, or a link that leaves the folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{printable(folder)} is missing")
    files = sorted(folder.iterdir())
    names = {file.name for file in files}
    pickles = sorted(file.name for file in files if any(file.match(pattern) for pattern in PICKLES))
    for name in required:
        if name not in names:
            found = f"; {printable(pickles[0])} is a pickle, which is never opened: convert it" if pickles else ""
            raise ValueError(f"{printable(folder / name)} is missing{found}")
    for file in files:
        if file.name in STEERING_FILES or file.suffix == ".py":
            raise ValueError(f"{printable(file)} is not read from a model folder (adapters, code); remove it")
        if not file.resolve().is_relative_to(_root(folder)):
            raise ValueError(f"{printable(file)} leads outside its folder; copy the file itself there")


def _root(folder: Path) -> Path:
    """What the files may lie in: the folder, or the repository in huggingface_hub's cache it is a snapshot of."""
    folder = folder.absolute()
    for snapshots in folder.parents:
        if snapshots.name == "snapshots" and (snapshots.parent / "blobs").is_dir():
            return snapshots.parent.resolve()
    return folder.resolve()
