"""One trainer in a folder at a time; what is not on the machine is recorded as absent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from latentloom.locks import locked
from latentloom.training.run_folder import provenance

# Another process that holds the lock as ours do. Its child inherits what a forked data worker would.
HOLDER = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
fcntl.lockf(descriptor, fcntl.LOCK_EX)
os.write(descriptor, str(os.getpid()).encode())
worker = os.fork()
if worker:
    print(worker, flush=True)
time.sleep(60)
"""


def test_a_second_trainer_is_refused_until_the_first_is_gone_though_its_workers_linger(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        worker = int(holder.stdout.readline())
        with pytest.raises(ValueError, match=f"in use by process {holder.pid};"), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with locked(tmp_path):
            assert (tmp_path / "run.lock").read_text() == str(os.getpid())
        os.kill(worker, signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_the_dead_is_taken_over_whoever_has_its_number_now(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text(str(os.getppid()))
    with locked(tmp_path):
        pass


def test_a_lock_that_its_owner_removed_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, opened = tmp_path / "run.lock", []
    take = os.open

    def open_and_lose_the_first(*arguments: object) -> int:
        descriptor = take(*arguments)
        if not opened:
            lock.unlink()
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose_the_first)
    with locked(tmp_path):
        assert len(opened) == 2 and lock.read_text() == str(os.getpid())


def test_a_machine_without_git_trains(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance()["git"] is None
