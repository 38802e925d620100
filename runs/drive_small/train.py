"""From the shared footage to the embedded stack `drive-small`: every command, in order; the same command continues.

    python runs/drive_small/train.py ../shared/data -o work/drive_small            # about six core-hours
    python runs/drive_small/train.py ../shared/data -o work/twin --tiny            # the same path in minutes, of no use

Hardware of the shipped weights: a two-core AMD EPYC (Zen 4, avx512_bf16), bf16, no GPU. Core-minutes: autoencoder 64,
latents 13, image 70, temporal layers 186. Expected figures: docs/log.md and MODEL_CARD.md. The shipped weights took the
same steps, with one restart of the autoencoder's rate after step 1,600: what this makes is not bit-equal to them.
The last step (`pack.py`) writes the folder that goes to src/latentloom/assets/drive_small.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PIXELS = {"lake": 0.50, "jungle": 0.17, "highway": 0.06, "night": 0.03, "city_gif": 0.02, "stills": 0.08, "world": 0.14}
CLIPS = {
    "lake": 0.30,
    "jungle": 0.12,
    "highway": 0.16,
    "night": 0.05,
    "city_gif": 0.02,
    "real_garage": 0.02,
    "world": 0.33,
}
IMAGES = {
    "lake": 0.30,
    "jungle": 0.10,
    "highway": 0.13,
    "night": 0.04,
    "city_gif": 0.02,
    "stills": 0.09,
    "real_garage": 0.02,
    "world": 0.30,
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything: the shipped stack, or its twin. ``steps`` None are those of the recipe."""

    scenes: int
    steps: int | None
    recipe: str


FULL = Size(scenes=260, steps=None, recipe="driving")
TINY = Size(scenes=2, steps=3, recipe="tiny")


def python(script: str, *arguments: str | Path) -> None:
    run(sys.executable, HERE / script, *arguments)


def train(kind: str, size: Size, weights: dict[str, float], *arguments: str | Path) -> None:
    options = ["--recipe", size.recipe, "--threads", "2"]
    options += [word for name, share in weights.items() for word in ("--weight", f"{name}={share}")]
    options += [] if size.steps is None else ["--steps", str(size.steps)]
    run(sys.executable, "-m", "latentloom", "train", kind, *arguments, *options)


def run(*command: str | Path) -> None:
    print("$", *command, flush=True)
    subprocess.run([str(word) for word in command], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, help="the footage, ../shared/data")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    work, size = arguments.output, TINY if arguments.tiny else FULL
    python("footage.py", arguments.shared, "-o", work / "footage")
    python("world.py", "-o", work / "footage", "--scenes", str(size.scenes))
    python("thin.py", work / "footage", "-o", work / "clips", "--fps", "6.5")
    train("autoencoder", size, PIXELS, work / "footage", "-o", work / "autoencoder")
    image = (work / "clips", "--autoencoder", work / "autoencoder", "-o", work / "image")
    train("image", size, IMAGES, *image)
    clips = (work / "clips", "--stack", work / "image" / "stack", "-o", work / "temporal")
    train("temporal", size, CLIPS, *clips)
    if not (work / "drive_small").exists():
        python("pack.py", work / "temporal" / "stack", "-o", work / "drive_small")


if __name__ == "__main__":
    main()
