"""Memory, time and disk of long videos against their plan, and what a generation makes of being killed.

    python runs/drive_small/long_video.py drive-small -o work/long --seconds 10 60 --kills 5

Expected: figures.json in about twenty minutes of two cores with ``--steps 6``, no GPU. Memory is the largest resident
set of the command (wait4), disk the largest size its journal had; both beside what `latentloom plan` says, and time
too. Then the shortest video is made again, killed (SIGKILL) at random moments and continued each time by the same
command; its bytes must be those of the one made in one piece. Options behind ``--`` go to `latentloom generate`.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from latentloom.cli.generation_options import GenerationOptions
from latentloom.generation.videos import Generation, open_stack
from latentloom.plan import plan_of

PROMPT = "simulator, daytime, driving on the lake track, going straight, fast"
POLL = 0.2  # seconds between looks at the journal


def command(stack: str, output: Path, seconds: float, more: list[str]) -> list[str]:
    words = [sys.executable, "-m", "latentloom", "generate", stack, PROMPT, "-o", str(output)]
    return [*words, "--seconds", f"{seconds:g}", *more]


def size_of(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except OSError:
        return 0


def measured(words: list[str], output: Path) -> dict[str, float]:
    """Run to the end: largest resident set and journal in MB, seconds."""
    begun, disk = time.monotonic(), 0
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    while True:
        done, status, usage = os.wait4(child.pid, os.WNOHANG)
        disk = max(disk, size_of(output.with_suffix(".journal")))
        if done:
            break
        time.sleep(POLL)
    if status:
        raise SystemExit(f"failed with {os.waitstatus_to_exitcode(status)}: {' '.join(words)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {"memory": usage.ru_maxrss * unit / 1e6, "disk": disk / 1e6, "seconds": time.monotonic() - begun}


def planned(stack: str, seconds: float, steps: int) -> dict[str, float]:
    """The same figures from the plan, in a process of its own so that nothing of it stays here."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from long_video import plan; "
        "print(json.dumps(plan(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))))"
    )
    words = [sys.executable, "-c", code, str(Path(__file__).parent), stack, str(seconds), str(steps)]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def plan(stack: str, seconds: float, steps: int) -> dict[str, float]:
    options = GenerationOptions(seconds=seconds, steps=steps)
    made = plan_of(Generation.of(open_stack(stack, "auto", "cpu"), options.asked(PROMPT), [Path("out.mp4")]))
    writing = sum(stage.disk for stage in made.stages if stage.stage == "writing")
    return {"memory": made.memory / 1e6, "disk": (made.disk - writing) / 1e6, "seconds": made.seconds or 0.0}


def killed(words: list[str], seconds: float, kills: int) -> int:
    """Run, kill at random moments of an undisturbed run's time, continue to the end; returns how often it was hit."""
    chance, hits = random.Random(0), 0
    for _ in range(kills):
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            child.wait(chance.uniform(0.1, 0.6) * seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            hits += 1
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return hits


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 60.0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("more", nargs="*", help="further options of generate")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    more = ["--steps", str(arguments.steps), *arguments.more]
    figures: dict[str, Any] = {}
    for seconds in arguments.seconds:
        output = arguments.output / f"{seconds:g}s.mp4"
        row = measured(command(arguments.stack, output, seconds, more), output)
        figures[f"{seconds:g} s"] = {"measured": row, "planned": planned(arguments.stack, seconds, arguments.steps)}
        print(seconds, figures[f"{seconds:g} s"], flush=True)
    shortest = min(arguments.seconds)
    if arguments.kills:
        again = arguments.output / "killed.mp4"
        took = figures[f"{shortest:g} s"]["measured"]["seconds"]
        hits = killed(command(arguments.stack, again, shortest, more), took, arguments.kills)
        same = digest(again) == digest(arguments.output / f"{shortest:g}s.mp4")
        figures["killed"] = {"times": hits, "same bytes": same}
        print(figures["killed"], flush=True)
    (arguments.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
