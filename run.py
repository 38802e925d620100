#!/usr/bin/env python3
"""The one start: ``python3 run.py demo|test|check [args]``. Standard library only.

Makes ``.venv`` beside this file, installs the package into it under ``constraints.txt`` when something changed, and
hands over. A second start compares one small file and costs nothing; an interrupted set-up is noticed and done again.
"""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

if sys.version_info < (3, 11):  # before anything older Pythons would stumble over
    sys.exit("latentloom needs Python 3.11 or newer, this is %d.%d: try python3.11 run.py" % sys.version_info[:2])
if os.name != "posix":
    sys.exit("run.py sets up on Linux and macOS; elsewhere: pip install -c constraints.txt -e . && latentloom demo")

import fcntl
import tomllib

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STATE = VENV / "latentloom.json"  # what is installed; "installing" while a set-up is under way
EXTRAS = {"demo": (), "test": ("eval", "test", "train"), "check": ("dev", "eval", "test", "train")}

SOURCES = ("run.py", "src", "tests", "examples", "benchmarks", "runs")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


# --- the environment -------------------------------------------------------------------------------------------------


def read_state() -> dict | None:
    """What ``.venv`` holds: None when nobody recorded it, ``{"installing": True}`` when a set-up was cut short."""
    try:
        return json.loads(STATE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return {"installing": True}


def write_state(state: dict) -> None:
    """Replace the state file in one step, so that it is never half written."""
    draft = STATE.with_suffix(".new")
    draft.write_text(json.dumps(state), encoding="utf-8")
    draft.replace(STATE)


def wanted_state(extras: set[str]) -> dict:
    """The state in which ``extras`` are installed from today's pins, by this Python, in this folder."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    package = {name: settings[name] for name in ("build-system", "project")}  # the linters' settings install nothing
    pins = json.dumps(package) + (ROOT / "constraints.txt").read_text(encoding="utf-8")
    digest = hashlib.sha256(pins.encode()).hexdigest()
    return {"root": str(ROOT), "python": sys.version.split()[0], "pins": digest, "extras": sorted(extras)}


def is_ready(state: dict | None, wanted: dict) -> bool:
    """Whether the recorded environment covers the wanted one (more extras do no harm)."""
    if state is None or state.get("installing"):
        return False
    same = all(state.get(key) == wanted[key] for key in ("root", "python", "pins"))
    return same and set(wanted["extras"]) <= set(state["extras"])


def ensure_environment(extras: tuple[str, ...]) -> None:
    """Bring ``.venv`` to the pins with ``extras``; returns at once when it is there already."""
    if is_ready(read_state(), wanted_state(set(extras))):
        return
    with (ROOT / ".venv.lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)  # a pip that outlives a killed run.py keeps the lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of this folder")
            fcntl.flock(lock, fcntl.LOCK_EX)
        state = read_state()
        if not is_ready(state, wanted_state(set(extras))):
            set_up(state, set(extras))


def set_up(state: dict | None, extras: set[str]) -> None:
    """Make the environment where it is missing, cut short, moved or another Python's; then install into it."""
    started = time.monotonic()
    wanted = wanted_state(extras | set((state or {}).get("extras", ())))
    moved = state is not None and any(state.get(key) != wanted[key] for key in ("root", "python"))
    if moved or not (BIN / "python").exists():
        make_environment("the last set-up was cut short" if state and state.get("installing") else None)
        state = None
    write_state({"installing": True})
    names = "[" + ",".join(wanted["extras"]) + "]" if wanted["extras"] else ""
    say(f"installing latentloom{names} under constraints.txt (a minute or two, once)")
    command = [BIN / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    code = subprocess.call([*command, "-c", ROOT / "constraints.txt", "-e", f"{ROOT}{names}"], close_fds=False)
    if code:  # pip has put back what it had begun; what worked before still does
        write_state(state) if state else STATE.unlink()
        sys.exit(f"pip could not install latentloom (exit {code}, its reason above); the same command tries again")
    write_state(wanted)
    say(f"ready after {time.monotonic() - started:.0f} s")


def make_environment(reason: str | None) -> None:
    """An empty ``.venv``, whatever stood there before."""
    if not has_module("ensurepip"):
        sys.exit(
            f"this Python ({sys.executable}) has no ensurepip and cannot make an environment: "
            "install it (Debian, Ubuntu: apt install python3-venv) or start run.py with another Python 3.11+"
        )
    say("making .venv" + (f" again: {reason}" if reason else ""))
    if VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    write_state({"installing": True})
    base = getattr(sys, "_base_executable", sys.executable)  # not .venv's own, which is gone now
    if subprocess.call([base, "-m", "venv", VENV]):
        sys.exit("could not make .venv (reason above)")


def has_module(name: str) -> bool:
    """Whether this Python can import ``name``, found without importing it."""
    from importlib.util import find_spec

    return find_spec(name) is not None


# --- the commands ----------------------------------------------------------------------------------------------------


def demo(args: list[str]) -> None:
    """A driving video from the embedded stack."""
    hand_over([BIN / "latentloom", "demo", *args], HF_HUB_OFFLINE="1")


def test(args: list[str]) -> None:
    """The test suite; arguments are pytest's."""
    # one thread: the tests' tensors are tiny, and threads that wait for each other cost most on a busy machine
    hand_over([BIN / "python", "-m", "pytest", *args], HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")


def hand_over(command: list, **environment: str) -> None:
    """Become ``command``; a variable the user has set stays as it is."""
    words = [str(word) for word in command]
    os.chdir(ROOT)
    os.execve(words[0], words, {**environment, **os.environ})


def check(args: list[str]) -> None:
    """Lint, types, storeys and sizes; arguments name some of them."""
    checks = {
        "ruff": [BIN / "ruff", "check", "."],
        "format": [BIN / "ruff", "format", "--check", "."],
        "pyright": [BIN / "python", "-m", "pyright"],
        "storeys": [BIN / "lint-imports", "--no-cache"],  # its cache does not notice a new package
        "sizes": None,
    }
    if unknown := [name for name in args if name not in checks]:
        sys.exit(f"no check is called {', '.join(unknown)}; there are: {', '.join(checks)}")
    os.environ["PYRIGHT_PYTHON_IGNORE_WARNINGS"] = "1"  # else it asks the registry for a newer version of itself
    failed = []
    for name in args or checks:
        started = time.monotonic()
        command = checks[name]
        passed = report_sizes() if command is None else subprocess.call(command, cwd=ROOT) == 0
        say(f"{name}: {'ok' if passed else 'FAILED'} ({time.monotonic() - started:.1f} s)")
        if not passed:
            failed.append(name)
    if failed:
        sys.exit(f"check failed: {', '.join(failed)}")


# --- sizes -----------------------------------------------------------------------------------------------------------


def source_files(root: Path) -> list[Path]:
    """Every Python file that a reader meets, in order."""
    return sorted(
        path
        for name in SOURCES
        for path in ((root / name).rglob("*.py") if (root / name).is_dir() else [root / name])
        if path.is_file()
    )


def function_sizes(path: Path) -> list[tuple[int, str]]:
    """(lines, place) of each function of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return [((node.end_lineno or 0) - node.lineno + 1, f"{path}:{node.lineno} {node.name}") for node in functions]


def report_sizes(root: Path = ROOT) -> bool:
    """Print the largest files and functions and say whether all keep to the house's limits."""
    paths = source_files(root)
    files = sorted(((len(path.read_text(encoding="utf-8").splitlines()), str(path)) for path in paths), reverse=True)
    functions = sorted((size for path in paths for size in function_sizes(path)), reverse=True)
    say(f"{len(files)} files, {sum(lines for lines, _ in files)} lines, {len(functions)} functions")
    kept = True
    for rows, limit in ((files, MAX_FILE_LINES), (functions, MAX_FUNCTION_LINES)):
        over = sum(lines > limit for lines, _ in rows)
        for lines, place in rows[: max(over, 3)]:
            print(f"    {lines:4} {place.removeprefix(f'{root}/')}{'  over ' + str(limit) if lines > limit else ''}")
        kept = kept and not over
    return kept


def say(text: str) -> None:
    """One short line about what happens."""
    print(f"run.py: {text}", flush=True)


def main(argv: list[str]) -> None:
    """Choose the command, see to its environment, hand over."""
    commands = {"demo": demo, "test": test, "check": check}
    if not argv or argv[0] not in commands:
        lines = "".join(f"\n  {name:6} {function.__doc__}" for name, function in commands.items())
        sys.exit(f"usage: python3 run.py {'|'.join(commands)} [args]{lines}")
    ensure_environment(EXTRAS[argv[0]])
    commands[argv[0]](argv[1:])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
