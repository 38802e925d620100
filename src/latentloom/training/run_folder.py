"""The folder of a training run: who may write there, what was asked for, and what happened.

config.json    the resolved settings, the git commit and the versions
log.jsonl      one line per logged step; continued runs cut it back to their checkpoint
run.lock       the process that writes here
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latentloom.data.manifest import Dataset, write_text
from latentloom.training.checkpoint import digest_of

_VERSIONS = ("torch", "diffusers", "transformers", "accelerate", "numpy")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the lock of a process that is gone is taken over.

    Raises:
        ValueError: another living process trains here, or the folder cannot be written.
    """
    lock = folder / "run.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                break
            except FileExistsError:
                owner = _owner(lock)
                if owner is not None:
                    raise ValueError(f"{folder} is in use by process {owner}; choose another output folder") from None
                lock.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror}); choose another output folder") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{os.getpid()} {_started(os.getpid())}")
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _owner(lock: Path) -> int | None:
    """The living process that holds ``lock``, or None."""
    try:
        number, started = lock.read_text().split()
        pid = int(number)
    except (OSError, ValueError):
        return None
    return pid if _started(pid) == started else None


def _started(pid: int) -> str | None:
    """When a process started, so that a reused number is not taken for the old owner; None where there is none."""
    if not Path("/proc/self").exists():
        return "?" if _alive(pid) else None
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # alive, and somebody else's
        return True
    except OSError:
        return False
    return True


def provenance() -> dict[str, Any]:
    """Versions, machine and git commit of this run."""
    here = Path(__file__).parent
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True)
    versions = {name: version(name) for name in _VERSIONS}
    return {"versions": versions, "python": platform.python_version(), "git": git.stdout.strip() or None}


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
