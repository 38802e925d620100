"""The commands by name, and the one place where they are started."""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, NoReturn

import typer

from latentloom.cli import animate, demo, evaluate, generate, inspect, plan, prepare, study, train, transplant
from latentloom.cli.failures import INTERRUPTED, exit_code_of, quiet_libraries

app = typer.Typer(
    name="latentloom",
    help="Temporal layers woven into an image diffusion model: text and footage to video.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("generate")(generate.generate)
app.command("animate")(animate.animate)
app.add_typer(train.app, name="train")
app.command("prepare")(prepare.prepare)
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(study.app, name="study")
app.command("inspect")(inspect.inspect)
app.command("plan")(plan.plan)
app.command("transplant")(transplant.transplant)


@app.callback()
def root(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Temporal layers woven into an image diffusion model: text and footage to video."""
    # --debug must count even where typer refuses the rest of the line: ``run`` reads it


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 done, 2 refused, 1 failed, 130 or 143 stopped by a signal."""
    quiet_libraries()
    signal.signal(signal.SIGTERM, _terminate)  # so that temporary files go away; training puts its own in its place
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and return the exit code; errors are told in one line on stderr."""
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="latentloom", standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of Ctrl-C, without a word
            raise KeyboardInterrupt
    except BaseException as error:
        return exit_code_of(error, debug=arguments[:1] == ["--debug"])
    return code if isinstance(code, int) else 0


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
