import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
import torch

from latentloom.stages.journal import Journal, make_anew


def killed_after(folder, settings, make):
    """The first window of a generation that then ends by a signal."""
    first = None
    with suppress(KeyboardInterrupt), Journal.opened(folder, settings) as journal:
        first = journal.remember("prediction", 0, make)
        raise KeyboardInterrupt
    return first


def test_what_is_remembered_is_not_made_again_and_bit_equal(tmp_path):
    made = []

    def make():
        made.append(1)
        return torch.randn(2, 3).to(torch.bfloat16)

    first = killed_after(tmp_path / "journal", {"seed": 1}, make)
    with Journal.opened(tmp_path / "journal", {"seed": 1}) as journal:
        assert journal.num_windows == 1
        assert torch.equal(journal.remember("prediction", 0, make), first)
        assert journal.remember("prediction", 0, make).dtype == torch.bfloat16
        assert len(made) == 1
        journal.remember("prediction", 1, make)
        journal.remember("interpolation-0", 0, make)
        assert len(made) == 3
    assert not (tmp_path / "journal").exists(), "a finished generation leaves no journal"


def test_another_generation_does_not_go_on_with_it(tmp_path):
    killed_after(tmp_path / "journal", {"seed": 1, "prompt": "a"}, lambda: torch.ones(3))
    with (
        pytest.raises(ValueError, match="another prompt, seed: give the same command"),
        Journal.opened(tmp_path / "journal", {"seed": 2, "prompt": "b"}),
    ):
        pass


@pytest.mark.parametrize("content", [b"", b"not a safetensors file", None])
def test_a_damaged_window_is_made_again(tmp_path, content):
    killed_after(tmp_path / "journal", {}, lambda: torch.ones(3))
    path = tmp_path / "journal" / "prediction-000000.safetensors"
    path.write_bytes(path.read_bytes()[:-4] if content is None else content)
    with Journal.opened(tmp_path / "journal", {}) as journal:
        assert journal.remember("prediction", 0, lambda: torch.zeros(3)).tolist() == [0, 0, 0]


def test_a_second_process_is_refused_while_the_first_lives_and_not_after(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from latentloom.stages.journal import Journal\n"
        f"with Journal.opened(Path({str(tmp_path / 'journal')!r}), {{}}): print('in', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "in\n"
    with pytest.raises(ValueError, match=f"in use by process {other.pid}"), Journal.opened(tmp_path / "journal", {}):
        pass
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with Journal.opened(tmp_path / "journal", {}) as journal:
        assert journal.num_windows == 0


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / "journal"
    folder.mkdir()
    for name in ("my.safetensors", "prediction-000000.safetensors", "notes.txt"):
        (folder / name).write_text("mine")
    with pytest.raises(ValueError, match=r"is no journal, it holds my\.safetensors"), Journal.opened(folder, {}):
        pass
    assert sorted(path.name for path in folder.iterdir()) == [
        "my.safetensors",
        "notes.txt",
        "prediction-000000.safetensors",
    ]


def test_without_a_journal_everything_is_made():
    assert make_anew("prediction", 0, lambda: torch.ones(2)).tolist() == [1, 1]
