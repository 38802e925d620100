"""Long videos: memory, time and disk against their plan, drift and joins, and what a generation makes of being killed.

    python runs/drive_small/long_video.py drive-small -o work/long --seconds 10 60 --kills 5
    python runs/drive_small/long_video.py drive-small -o work/long_fine -- --interpolate 1 --upsample

Expected: figures.json in about fifteen minutes of two cores (six with ``--steps 6``), no GPU. Memory is the largest
resident set of the command (wait4), disk the largest size its journal had; both beside what `latentloom plan` says,
and time too. Drift is per 100 frames (``evaluation.drift``), joins are the changes where windows of a stage meet over
those elsewhere (1: no jump). Then the shortest video is made again, killed (SIGKILL) soon after as many random windows
as ``--kills`` says, and continued each time by the same command; its bytes must be those of the one made in one piece.
Options behind ``--`` go to `latentloom generate`, and to the plan.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latentloom.data.video import read_video
from latentloom.evaluation.drift import drift
from latentloom.evaluation.motion import join_ratio
from latentloom.stages.cascade import CascadeRequest
from latentloom.stages.request import ClipRequest

PROMPT = "simulator, daytime, driving on the lake track, going straight, fast"
POLL = 0.1  # seconds between looks at the journal


def options(output: Path, stack: str, seconds: float, more: list[str]) -> list[str]:
    return [stack, PROMPT, "-o", str(output), "--seconds", f"{seconds:g}", *more]


def begun(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "latentloom", "generate", *words], stdout=subprocess.DEVNULL)


def finished_windows(journal: Path) -> list[Path]:
    return list(journal.glob("*.safetensors"))


def size_of(paths: list[Path]) -> int:
    try:
        return sum(path.stat().st_size for path in paths)
    except OSError:  # removed meanwhile
        return 0


def measured(words: list[str], journal: Path) -> dict[str, float]:
    """Run to the end: largest resident set and journal in MB, seconds, windows."""
    start, disk, windows = time.monotonic(), 0, 0
    child = begun(words)
    while True:
        done, status, usage = os.wait4(child.pid, os.WNOHANG)
        held = finished_windows(journal)
        disk, windows = max(disk, size_of(held)), max(windows, len(held))
        if done:
            break
        time.sleep(POLL)
    if status:
        raise SystemExit(f"failed with {os.waitstatus_to_exitcode(status)}: {' '.join(words)}")
    unit = 1 if sys.platform == "darwin" else 1024
    seconds = time.monotonic() - start
    return {"memory": usage.ru_maxrss * unit / 1e6, "disk": disk / 1e6, "seconds": seconds, "windows": windows}


def planned(stack: str, seconds: float, more: list[str]) -> dict[str, float]:
    """The same figures from `latentloom plan`; the video itself is no part of the journal."""
    command = [sys.executable, "-m", "latentloom", "plan", stack, "--json", "--seconds", f"{seconds:g}", *more]
    made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    disk = sum(stage["disk"] for stage in made["stages"] if stage["stage"] != "writing")
    return {"memory": made["memory"] / 1e6, "disk": disk / 1e6, "seconds": made["seconds"]}


def joins(receipt: Path) -> dict[str, list[int]]:
    """Stage to the frames of the video at which its windows begin to add their own."""
    content = json.loads(receipt.read_text(encoding="utf-8"))
    said = content["settings"]
    windows = {name: said[name] and ClipRequest(**said[name]) for name in ("prediction", "interpolation")}
    plain = {name: said[name] for name in ("num_frames", "passes", "overlap")}
    request = CascadeRequest(clip=ClipRequest(**content["request"]), **windows, **plain)
    found = {stage.name: list(stage.joins) for stage in request.stages(from_frame=said["start_frame"] is not None)}
    if said["upsampling"] is not None:
        portion, overlap = said["upsampling"]["portion"], said["upsampling"]["overlap"]
        found["upsampling"] = list(range(portion, request.num_frames, portion - overlap))
    return found


def looked_at(video: Path, joined: Mapping[str, list[int]]) -> dict[str, Any]:
    """Drift and joins of a finished video."""
    frames = read_video(video).frames
    at = {stage: join_ratio(frames, places) for stage, places in joined.items() if places}
    return {"drift per 100 frames": asdict(drift(frames)), "joins over elsewhere": at}


def killed(words: list[str], journal: Path, windows: int, kills: int) -> int:
    """Run, kill soon after random windows were finished, continue to the end; returns how often it was hit."""
    chance, hits = random.Random(0), 0
    for target in sorted(chance.choices(range(windows), k=kills)):
        child, wait = begun(words), chance.uniform(0, 2)
        while child.poll() is None and len(finished_windows(journal)) < target:
            time.sleep(POLL)
        time.sleep(wait)
        if child.poll() is None:
            child.kill()
            hits += 1
        child.wait()
    if not Path(words[3]).with_suffix(".json").is_file():
        assert begun(words).wait() == 0
    return hits


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 60.0])
    parser.add_argument("--steps", type=int, help="the stack's own unless said")
    parser.add_argument("--kills", type=int, default=5)
    words = [*sys.argv[1:], "--"]
    cut = words.index("--")  # by hand: argparse hands what stands behind it to the first positional
    arguments = parser.parse_args(words[:cut])
    arguments.output.mkdir(parents=True)
    steps = [] if arguments.steps is None else ["--steps", str(arguments.steps)]
    more, figures = [*steps, *words[cut + 1 : -1]], dict[str, Any]()

    def note(name: str, row: dict[str, Any]) -> None:
        figures[name] = row
        print(name, row, flush=True)
        (arguments.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")

    for seconds in arguments.seconds:
        output = arguments.output / f"{seconds:g}s.mp4"
        words = options(output, arguments.stack, seconds, more)
        row = measured(words, output.with_suffix(".journal"))
        promised = planned(arguments.stack, seconds, more)
        seen = looked_at(output, joins(output.with_suffix(".json")))
        note(f"{seconds:g} s", {"measured": row, "planned": promised, **seen})
    if arguments.kills:
        shortest, again = min(arguments.seconds), arguments.output / "killed.mp4"
        windows = int(figures[f"{shortest:g} s"]["measured"]["windows"])
        words = options(again, arguments.stack, shortest, more)
        hits = killed(words, again.with_suffix(".journal"), windows, arguments.kills)
        same = digest(again) == digest(arguments.output / f"{shortest:g}s.mp4")
        note("killed", {"times": hits, "same bytes": same})


if __name__ == "__main__":
    main()
