import subprocess
import sys

import pytest
from tests.command import refusal

from latentloom.cli import failures, inspect
from latentloom.training.loop import Stopped

HEAVY = ("torch", "diffusers", "transformers", "av", "numpy", "PIL")


def in_new_process(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def test_help_and_refusals_of_usage_import_nothing_heavy():
    code = (
        "import sys; from latentloom.cli.app import run; "
        "codes = [run(words.split()) for words in sys.argv[1:]]; "
        f"print(codes, [name for name in {HEAVY} if name in sys.modules])"
    )
    lines = ("--help", "generate --help", "train temporal --help", "animate --help", "generate", "nonsense")
    done = in_new_process(code, *lines)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0, 2, 2] []"
    assert len(done.stderr.splitlines()) == 2, done.stderr


@pytest.mark.parametrize("words", ["demo", "generate", "animate", "prepare", "inspect"])
def test_every_command_explains_itself(latentloom, words):
    result = latentloom(words, "--help")
    assert result.code == 0
    assert result.err == ""
    assert "Usage: latentloom " + words in result.out


@pytest.mark.parametrize("command", ["autoencoder", "image", "temporal"])
def test_every_training_has_the_shared_options(latentloom, command):
    out = latentloom("train", command, "--help").out
    for option in ("--steps", "--weight", "--report-to", "--dry-run", "--recipe", "--output"):
        assert option in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), ""),
        (("paint",), "paint"),
        (("generate", "tiny"), "prompt"),
        (("generate", "tiny", "a road", "-o", "x.mp4", "--frames", "many"), "--frames"),
        (("train", "temporal", "data", "-o", "run", "--stack", "tiny", "--recipe", "secret"), "--recipe"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(latentloom, words, said):
    result = latentloom(*words)
    if words:
        assert said in refusal(result)
    assert result.code == 2


def failing(monkeypatch, error):
    def fail(path):
        raise error

    monkeypatch.setattr(inspect, "_inspect_video", fail)
    return ("inspect", __file__)


def test_a_defect_is_one_line_that_names_its_type_and_exit_code_1(latentloom, monkeypatch):
    result = latentloom(*failing(monkeypatch, KeyError("weights")))
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    assert "KeyError: 'weights'" in result.err
    assert "--debug" in result.err


def test_debug_shows_the_traceback_and_the_line(latentloom, monkeypatch):
    words = failing(monkeypatch, ValueError("no road"))
    assert "Traceback" not in latentloom(*words).err
    result = latentloom("--debug", *words)
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1] == "latentloom: error: no road"
    assert result.code == 2


def test_control_characters_of_names_never_reach_the_terminal(latentloom, monkeypatch):
    message = refusal(latentloom(*failing(monkeypatch, ValueError("bad\x1b[2Jname\n\u202eevil\udcff"))))
    assert message == "bad\\x1b[2Jname \\u202eevil\\udcff"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "--batch-size"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 2, "--batch-size"),
        (PermissionError(13, "Permission denied", "/somewhere"), 2, "/somewhere: Permission denied"),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
    ],
)
def test_what_the_machine_refuses_is_told_in_one_line(latentloom, monkeypatch, error, code, said):
    monkeypatch.setattr("typer.core.TyperGroup.invoke", lambda *_: (_ for _ in ()).throw(error))
    result = latentloom("inspect", __file__)
    assert result.code == code
    assert len(result.err.splitlines()) <= 1
    assert said in result.err


@pytest.mark.parametrize("code", [130, 143])
def test_a_training_that_was_stopped_keeps_its_exit_code_and_is_no_error(latentloom, monkeypatch, code):
    result = latentloom(*failing(monkeypatch, Stopped(code)))
    assert (result.code, result.err) == (code, "")


def test_warnings_and_logs_are_one_line_each_on_stderr():
    code = (
        "from latentloom.cli.failures import quiet_libraries; quiet_libraries(); import logging, warnings; "
        "warnings.warn('slow\\nmachine'); logging.getLogger('latentloom.models.text').warning('no word\\x07 %s', 'x')"
    )
    done = in_new_process(code)
    assert done.stderr.splitlines() == [
        "latentloom: warning: slow machine",
        "latentloom: warning: no word\\x07 x",
    ]


def test_one_line_keeps_what_can_be_shown():
    assert failures.one_line("Straße 東京 🚗\t x") == "Straße 東京 🚗 x"
