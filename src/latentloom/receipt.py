"""The receipt of a generation: everything needed to make the same file again on the same machine, as JSON beside it.

Written last and under its final name only when complete: a video without a receipt was not finished.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from latentloom.files import digest_of, write_text
from latentloom.stages.request import ClipRequest

LIBRARIES = ("latentloom", "torch", "diffusers", "transformers", "numpy", "av")


def make_receipt(
    *,
    request: ClipRequest,
    seed: int,
    dtype: torch.dtype,
    device: torch.device | str,
    stack: str,
    checksums: Mapping[str, str],
    outputs: Sequence[Path],
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What made ``outputs``; read the files after they are complete.

    Args:
        stack: name of the stack; ``checksums`` are its files' (``Stack.digests``).
        settings: whatever else the run was told, JSON values.
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "stack": {"name": stack, "members": dict(checksums)},
        "request": asdict(request),
        "seed": seed,
        "settings": dict(settings or {}),
        "outputs": {path.name: digest_of(path) for path in outputs},
        "environment": environment(dtype, device),
    }


def environment(dtype: torch.dtype, device: torch.device | str) -> dict[str, Any]:
    """What the bits depend on beside the request: versions, processor, threads, dtype."""
    device = torch.device(device)
    return {
        "versions": {name: library_version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "device": device.type,
        "dtype": str(dtype).removeprefix("torch."),
    }


def cpu_name() -> str:
    """The processor's own name where the system tells it, else its architecture."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def write_receipt(receipt: Mapping[str, Any], path: Path) -> None:
    """Write the receipt, whole."""
    write_text(path, json.dumps(receipt, indent=2, ensure_ascii=False) + "\n")


def library_version(library: str) -> str | None:
    """The installed version; None for one that runs from its sources or is absent."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None
