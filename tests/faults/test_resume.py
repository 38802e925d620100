"""R1: a training killed with SIGKILL at any moment continues to the same bits."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("resume_child.py")


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(CHILD), str(folder)])


def last_step(folder: Path) -> int:
    return max((int(path.name[5:13]) for path in (folder / "checkpoints").glob("step-????????")), default=0)


def kill_after_step(folder: Path, step: int, delay: float) -> None:
    process = start(folder)
    deadline = time.monotonic() + 300
    while last_step(folder) < step and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the child ended before it could be killed"


def finish(folder: Path) -> tuple[bytes, list[tuple[int, float]]]:
    assert start(folder).wait(timeout=300) == 0
    newest = folder / "checkpoints" / "step-00000060"
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return (newest / "tensors.safetensors").read_bytes(), [(row["step"], row["loss"]) for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[tuple[int, float]]]:
    return finish(tmp_path_factory.mktemp("whole"))


def test_three_kills_leave_no_trace(tmp_path: Path, uninterrupted: tuple[bytes, list[tuple[int, float]]]) -> None:
    for step, delay in ((5, 0.005), (20, 0.011), (40, 0.023)):
        kill_after_step(tmp_path, step, delay)
    tensors, losses = finish(tmp_path)
    assert tensors == uninterrupted[0]
    assert losses == uninterrupted[1]
    assert [step for step, _ in losses] == list(range(1, 61))
