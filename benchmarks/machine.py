"""What a benchmark writes beside its numbers: the CPU, the GPU, versions, commit, load; and its clocks."""

import datetime
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8")


def describe_machine() -> dict[str, Any]:
    """Plain data for a result file."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    facts = dict(line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    gpu = {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda} if torch.cuda.is_available() else {}
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": facts.get("model name", platform.processor()),
        "cpu family/model": f"{facts.get('cpu family', '?')}/{facts.get('model', '?')}",
        "flags": [flag for flag in FLAGS if flag in facts.get("flags", "").split()],
        **gpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
        "command": "python " + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _commit() -> str:
    """Of the working tree; empty where there is none, or no git."""
    if shutil.which("git") is None:
        return ""
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return asked.stdout.strip()


def core_seconds(call: Callable[[], object]) -> float:
    """CPU time of all threads of this process, which other processes on the machine change little."""
    start = time.process_time()
    call()
    return time.process_time() - start


def seconds_on(device: torch.device, call: Callable[[], object]) -> float:
    """Of one call: between two events on a GPU, core-seconds on a CPU."""
    if device.type != "cuda":
        return core_seconds(call)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3


def median_seconds(device: torch.device, call: Callable[[], object], rounds: int, warm_up: int = 2) -> float:
    """Median of ``rounds`` calls after those that warm up."""
    times = [seconds_on(device, call) for _ in range(warm_up + rounds)]
    return statistics.median(times[warm_up:])


def alternate(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median core-seconds of each call over ``rounds`` rounds through all of them, after one that warms up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for index in range(rounds + 1):
        for name, call in calls.items():
            seconds = core_seconds(call)
            if index:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory(call: Callable[[], object]) -> int:
    """Bytes by which the process grows at most during ``call`` (Linux: the high-water mark, reset before)."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def most_memory_on(device: torch.device, call: Callable[[], object]) -> int:
    """Bytes held at most during ``call``, weights included: of tensors on a GPU, of the process on a CPU."""
    if device.type != "cuda":
        return _status("VmRSS") + peak_memory(call)
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def most_memory() -> int:
    """Bytes this process held at most (``ru_maxrss`` may be that of the process that started it)."""
    return _status("VmHWM")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: memory is measured on Linux only")
