"""Checkpoints that survive a kill at any moment: whole or not there (`files`), checked when read.

    checkpoints/step-00000120/tensors.safetensors   weights, averages, optimiser state, under "group/name"
    checkpoints/step-00000120/state.json            counters
    checkpoints/step-00000120/manifest.json         sha256 of both, written last

Whoever finds the folder finds either a whole checkpoint or none. Never pickle.
"""

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from latentloom.files import digest_of, save_tensors, whole_folder

Tensors = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a run needs to continue: ``tensors`` by group and name, ``state`` as plain JSON values."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


class DamagedCheckpoint(Exception):
    """A checkpoint folder that is not what its manifest says."""


def save_checkpoint(folder: Path, step: int, tensors: Tensors, state: Mapping[str, Any], keep: int = 2) -> Path:
    """Write checkpoint ``step`` into ``folder`` and drop all but the newest ``keep``.

    Raises:
        ValueError: a floating-point tensor holds NaN or infinity: nothing is written.
        OSError: the disk refuses (full, read-only); older checkpoints are untouched.
    """
    flat = {
        f"{group}/{name}": tensor.detach().contiguous()
        for group, members in tensors.items()
        for name, tensor in members.items()
    }
    bad = [name for name, tensor in flat.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if bad:
        raise ValueError(f"refusing to save NaN or infinity in {', '.join(bad[:5])} at step {step}")
    folder.mkdir(parents=True, exist_ok=True)
    clean_debris(folder)
    final = folder / f"step-{step:08d}"
    with whole_folder(final, replace=True) as partial:  # there may be a damaged one that was passed over
        save_tensors(partial / "tensors.safetensors", _unshared(flat))
        (partial / "state.json").write_text(json.dumps({"step": step, **state}), encoding="utf-8")
        sums = {name: digest_of(partial / name) for name in ("tensors.safetensors", "state.json")}
        (partial / "manifest.json").write_text(json.dumps(sums), encoding="utf-8")
    for old in _finished(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint of ``folder``; a damaged one is passed over with a warning; None where none is.

    Raises:
        ValueError: there are checkpoints and all are damaged.
    """
    clean_debris(folder)
    found = _finished(folder)
    for path in reversed(found):
        try:
            return read_checkpoint(path)
        except DamagedCheckpoint as error:
            warnings.warn(f"{error}; falling back to the checkpoint before it", stacklevel=2)
    if found:
        raise ValueError(f"every checkpoint in {folder} is damaged; remove the folder to start afresh")
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint folder.

    Raises:
        DamagedCheckpoint: a file is missing or differs from its checksum.
    """
    try:
        sums = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        for name in ("tensors.safetensors", "state.json"):
            if digest_of(path / name) != sums[name]:
                raise DamagedCheckpoint(f"{path / name} does not match its checksum")
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        flat = load_file(path / "tensors.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DamagedCheckpoint(f"checkpoint {path} cannot be read ({error})") from error
    tensors: dict[str, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        group, name = key.split("/", 1)
        tensors.setdefault(group, {})[name] = tensor
    return Checkpoint(step=state.pop("step"), tensors=tensors, state=state)


def clean_debris(folder: Path) -> None:
    """Remove what a run that died while writing left behind; the lock of the run's folder keeps living ones out."""
    for partial in folder.glob("*.partial"):
        shutil.rmtree(partial)


def _finished(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _unshared(flat: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors whose storage is already in the dictionary: safetensors refuses aliases."""
    seen: set[int] = set()
    unshared = {}
    for name, tensor in flat.items():
        unshared[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in seen else tensor
        seen.add(tensor.untyped_storage().data_ptr())
    return unshared
