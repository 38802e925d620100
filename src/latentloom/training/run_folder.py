"""The folder of a training run: what was asked for, and what happened.

config.json    the resolved settings, the git commit and the versions
log.jsonl      one line per logged step; continued runs cut it back to their checkpoint
run.lock       the process that writes here (``locks``)
"""

import json
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latentloom.data.manifest import Dataset
from latentloom.files import digest_of, whole_folder, write_text

_VERSIONS = ("torch", "diffusers", "transformers", "accelerate", "numpy")


def provenance() -> dict[str, Any]:
    """Versions, machine and git commit of this run."""
    versions = {name: version(name) for name in _VERSIONS}
    return {"versions": versions, "python": platform.python_version(), "git": _git_commit()}


def _git_commit() -> str | None:
    """None for a package that is no checkout, and on a machine without git."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        git = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return None
    return git.stdout.strip() or None


def agree_on_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write ``config`` to a new run folder, or check that the folder was begun with the same one.

    Raises:
        ValueError: it was begun with other settings; the message names the keys that differ.
    """
    path = folder / "config.json"
    config = json.loads(json.dumps(config, default=str))
    if not path.exists():
        write_text(path, json.dumps({"config": config, **provenance()}, indent=2))
        return
    previous = json.loads(path.read_text(encoding="utf-8"))["config"]
    differing = [
        f"{key} (was {previous.get(key)}, now {config.get(key)})"
        for key in sorted({*previous, *config})
        if previous.get(key) != config.get(key)
    ]
    if differing:
        raise ValueError(
            f"{folder} was begun with other settings: {'; '.join(differing)}; choose another output folder"
        )


def resolved(settings: Mapping[str, Any], loop: Any) -> dict[str, Any]:
    """``settings`` flat ("loop.steps"), without the fields of ``loop`` that have no effect on the weights."""
    idle = {f"loop.{field.name}" for field in fields(loop) if field.metadata.get("affects_result") is False}
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
    return {name: value for name, value in flat.items() if name not in idle}


def settings_of(config: Any, dataset: Dataset, start: Mapping[str, str]) -> dict[str, Any]:
    """All that determines the result of a training: its dataclass, the footage, and what it begins with.

    Args:
        config: a dataclass with a field ``loop``.
        start: digests of the networks and latents that are there before the first step.
    """
    settings = resolved(asdict(config), config.loop)
    footage = digest_of(dataset.root / "manifest.jsonl")
    return {**settings, "dataset": footage, **{f"start.{name}": digest for name, digest in start.items()}}


def save_result(folder: Path, save: Callable[[Path], object]) -> None:
    """Let ``save`` fill a result folder, whole or not at all, unless an earlier, equal run has."""
    if not folder.exists():
        with whole_folder(folder) as partial:
            save(partial)


class RunLog:
    """``log.jsonl``, and TensorBoard where asked for."""

    def __init__(self, folder: Path, start: int, tensorboard: bool = False):
        self.path = folder / "log.jsonl"
        if self.path.exists():
            kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= start]
            write_text(self.path, "".join(line + "\n" for line in kept))
        self._board = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and an extra

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _step_of(line: str) -> float:
    """The step of a log line; half a line, left by a kill, belongs to no step that was kept."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
