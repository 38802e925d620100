"""Files are whole or not there, whoever else writes and whatever the disk says."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.full_disk import full_disk

from latentloom import files
from latentloom.files import digest_of, one_line, partial_path, printable, remove_debris, save_tensors, whole_folder


@pytest.fixture
def dead_pid() -> int:
    """The number of a process that is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_text_and_tensors_come_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "ä\n")
    save_tensors(tmp_path / "a.safetensors", {"x": torch.arange(3)}, {"made": "here"})
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "ä\n"
    assert load_file(tmp_path / "a.safetensors")["x"].tolist() == [0, 1, 2]
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == {"made": "here"}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "old")

    def stopped_half_way() -> None:
        with files.whole_file(tmp_path / "a.txt") as partial:
            partial.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_half_way()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_full_disk_is_an_os_error_with_the_files_name(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(OSError, match="File too large") as caught:
        save_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(1000)})
    assert caught.value.filename == str(tmp_path / "a.safetensors")
    with (
        full_disk(),
        pytest.raises(OSError, match="File too large"),
        whole_folder(tmp_path / "folder") as partial,
    ):
        save_file({"x": torch.zeros(1000)}, partial / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_with_all_its_files_or_not_at_all(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "a") as partial:
        (partial / "inner").mkdir()
        (partial / "inner" / "x").write_text("x")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "inner" / "x").read_text() == "x"
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "b"):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_takes_the_place_of_an_empty_one_only(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with whole_folder(tmp_path / "empty") as partial:
        (partial / "x").write_text("x")
    with pytest.raises(OSError), whole_folder(tmp_path / "full"):
        pass
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert found == {"empty", "empty/x", "full", "full/mine"}


def test_debris_of_the_dead_is_removed_and_that_of_the_living_left(tmp_path: Path, dead_pid: int) -> None:
    ours = partial_path(tmp_path / "a.safetensors")
    for pid in (dead_pid, os.getppid(), os.getpid()):
        ours.with_name(ours.name.replace(str(os.getpid()), str(pid))).write_text("half")
    partial_path(tmp_path / "folder").mkdir()
    (tmp_path / "stranger.partial").write_text("not ours")
    remove_debris(tmp_path)
    alive = ours.name.replace(str(os.getpid()), str(os.getppid()))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive, "stranger.partial"])


def test_a_name_of_any_length_and_alphabet_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "ü" * 127, "-", "\udcff.txt"):
        files.write_text(tmp_path / name, name[:3].encode("utf-8", "replace").decode())
    assert len(list(tmp_path.iterdir())) == 4


def test_a_checksum_is_the_files_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 100_000)
    assert digest_of(tmp_path / "a") == hashlib.sha256(b"a" * 100_000).hexdigest()


def test_nothing_that_steers_a_terminal_is_printed() -> None:
    text = "a\x1b[31m\nb\u202ec\udcff é"
    assert printable(text) == "a\\x1b[31m\\nb\\u202ec\\udcff é"
    assert one_line(f"  {text}\t") == "a\\x1b[31m b\\u202ec\\udcff é"
    assert printable(Path("a\nb")) == "a\\nb"
