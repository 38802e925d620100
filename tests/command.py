"""The command line as tests call it: in this process, output taken apart, nothing left switched on."""

from dataclasses import dataclass

import pytest

from latentloom.cli.app import run


@dataclass(frozen=True, kw_only=True)
class Result:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


class Command:
    """``command("generate", folder, ...)`` -> Result."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd

    def __call__(self, *arguments: object) -> Result:
        self.capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = self.capfd.readouterr()
        return Result(code=code, out=out, err=err)


def refusal(result: Result) -> str:
    """The one line of a clean refusal: exit code 2, one line on stderr, no traceback."""
    assert result.code == 2, result
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("latentloom: error: ")
    assert lines[0].isprintable()
    return lines[0].removeprefix("latentloom: error: ")


def files_under(folder):
    """Every path below a folder with its size, to see that nothing was written."""
    return {path: path.stat().st_size if path.is_file() else None for path in folder.rglob("*")}
