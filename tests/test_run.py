"""The one start: when it sets up, when it does not, and what it says to a user it cannot serve."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import run

PROJECT = '[build-system]\nrequires = []\n[project]\nname = "one"\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty checkout: no environment, two small files of pins."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "constraints.txt").write_text("one==1\n")
    environment = tmp_path / ".venv"
    places = {"ROOT": tmp_path, "VENV": environment, "BIN": environment / "bin"}
    for name, value in {**places, "STATE": environment / "latentloom.json"}.items():
        monkeypatch.setattr(run, name, value)
    return tmp_path


@pytest.fixture
def commands(folder, monkeypatch):
    """What run.py starts; making an environment succeeds, and ``commands.code`` is pip's exit status."""

    class Commands(list):
        code = 0

    started = Commands()

    def call(command, **_):
        words = [str(word) for word in command]
        started.append(words)
        if "venv" in words:
            (folder / ".venv" / "bin").mkdir(parents=True)
            (folder / ".venv" / "bin" / "python").touch()
            return 0
        return started.code

    monkeypatch.setattr(subprocess, "call", call)
    return started


def state(folder: Path) -> dict:
    return json.loads((folder / ".venv" / "latentloom.json").read_text())


def test_the_first_start_installs_and_the_second_does_nothing(folder, commands):
    run.ensure_environment(("test",))
    assert [words[2] for words in commands] == ["venv", "pip"]
    assert commands[-1][-1] == f"{folder}[test]"
    commands.clear()
    run.ensure_environment(("test",))
    run.ensure_environment(())
    assert commands == []


def test_another_command_adds_its_extras_to_those_already_there(folder, commands):
    run.ensure_environment(("test",))
    run.ensure_environment(("dev",))
    assert commands[-1][-1] == f"{folder}[dev,test]"
    assert sum("venv" in words for words in commands) == 1


@pytest.mark.parametrize(
    ("name", "text"), [("constraints.txt", "one==2\n"), ("pyproject.toml", PROJECT + 'dependencies = ["two"]\n')]
)
def test_changed_pins_install_again_into_the_same_environment(folder, commands, name, text):
    run.ensure_environment(())
    (folder / name).write_text(text)
    run.ensure_environment(())
    assert [words[2] for words in commands] == ["venv", "pip", "pip"]


def test_settings_of_linters_install_nothing(folder, commands):
    run.ensure_environment(())
    commands.clear()
    (folder / "pyproject.toml").write_text(PROJECT + "[tool.ruff]\nline-length = 120\n")
    run.ensure_environment(())
    assert commands == []


def test_a_set_up_that_was_cut_short_is_done_again_from_nothing(folder, commands):
    run.ensure_environment(())
    debris = folder / ".venv" / "half_a_package"
    debris.touch()
    run.write_state({"installing": True})
    run.ensure_environment(())
    assert [words[2] for words in commands] == ["venv", "pip"] * 2
    assert not debris.exists()


def test_a_moved_folder_gets_a_new_environment(folder, commands):
    run.ensure_environment(())
    run.write_state({**state(folder), "root": "/elsewhere"})
    run.ensure_environment(())
    assert sum("venv" in words for words in commands) == 2


def test_an_environment_that_the_user_made_is_kept(folder, commands):
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").touch()
    run.ensure_environment(())
    assert [words[2] for words in commands] == ["pip"]


def test_a_failed_installation_leaves_what_worked_before(folder, commands):
    run.ensure_environment(())
    before = state(folder)
    commands.code = 1
    with pytest.raises(SystemExit, match="same command tries again"):
        run.ensure_environment(("dev",))
    assert state(folder) == before


def test_a_python_without_ensurepip_is_told_what_to_install(folder, monkeypatch):
    monkeypatch.setattr(run, "has_module", lambda name: name != "ensurepip")
    with pytest.raises(SystemExit, match="python3-venv"):
        run.ensure_environment(())
    assert not (folder / ".venv").exists()


def test_an_older_python_is_told_so_in_one_line():
    script = (
        f"import sys; sys.version_info = (3, 8, 1); sys.argv = ['run.py', 'demo']; exec(open({run.__file__!r}).read())"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr == "latentloom needs Python 3.11 or newer, this is 3.8: try python3.11 run.py\n"


def test_run_py_needs_nothing_but_the_standard_library():
    script = f"import runpy; runpy.run_path({run.__file__!r})"
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("words", [[], ["walk"]])
def test_an_unknown_command_prints_the_three_that_there_are(words):
    with pytest.raises(SystemExit, match=r"demo\|test\|check"):
        run.main(words)
