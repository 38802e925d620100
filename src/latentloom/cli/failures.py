"""How a command fails: one line on stderr and an exit code. 2: refused, the user can mend it; 1: broken, we should.

Every room raises ``ValueError`` for what a user did; anything else but the operating system's refusals is a defect.
"""

import logging
import os
import sys
import traceback
import warnings
from typing import Any

from latentloom.files import one_line

REFUSED, BROKEN, INTERRUPTED = 2, 1, 130
OUT_OF_MEMORY = "out of memory; lower --batch-size, --frames or --size, whichever this command has"


def exit_code_of(error: BaseException, *, debug: bool = False) -> int:
    """Tell the user what happened, in one line unless ``debug`` adds the traceback, and return the exit code."""
    if isinstance(error, SystemExit):  # a stopped training has saved and knows its code
        return error.code if isinstance(error.code, int) else BROKEN
    if debug:
        traceback.print_exception(error)
    message, code = described(error)
    if message:
        print(f"latentloom: error: {one_line(message)}", file=sys.stderr)
    return code


def described(error: BaseException) -> tuple[str, int]:
    """What to say about an error, and the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; what is under its final name is complete", INTERRUPTED
    if show := getattr(error, "format_message", None):  # typer's usage errors; where their class lives has changed
        return f"{show().rstrip('.')} (see --help)" if show() else "", getattr(error, "exit_code", REFUSED)
    if isinstance(error, ValueError):
        return str(error) or type(error).__name__, REFUSED
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
        return OUT_OF_MEMORY, REFUSED
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, REFUSED
    return f"{type(error).__name__}: {error} (a defect; `latentloom --debug ...` shows where)", BROKEN


def quiet_libraries() -> None:
    """Warnings in our form, one line each; libraries do not chat. The network is for ``models.hub`` alone."""
    for name, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("DIFFUSERS_VERBOSITY", "error"),
        ("HF_HUB_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),  # else forked data workers complain
    ):
        os.environ.setdefault(name, value)
    logging.basicConfig(level=logging.WARNING, format="latentloom: %(levelname)s: %(message)s", handlers=[_OneLine()])
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", FutureWarning)
    warnings.showwarning = _show_warning


class _OneLine(logging.StreamHandler):
    """Log records on stderr, one line each."""

    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        return one_line(super().format(record))


def _show_warning(message: Warning | str, *place: Any) -> None:
    print(f"latentloom: warning: {one_line(str(message))}", file=sys.stderr)
