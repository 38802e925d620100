"""From the shared footage to the embedded stack `drive-small`: every command, in order; the same command continues.

    python runs/drive_small/train.py ../shared/data -o work/drive_small            # about twelve core-hours
    python runs/drive_small/train.py ../shared/data -o work/twin --tiny            # the same path in minutes, of no use

Hardware of the shipped weights: a two-core AMD EPYC (Zen 4, avx512_bf16), bf16, no GPU. Core-minutes: docs/log.md.
Expected figures: docs/log.md and MODEL_CARD.md. The shipped weights took the same steps, with two differences: the
autoencoder's rate began again after step 1,600, and prediction learned to move in 1,000 steps after these 2,000. What
this makes is not bit-equal to them. The last step (`pack.py`) writes the folder that goes to
src/latentloom/assets/drive_small.
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
DEFAULTS = (
    *("--prediction", "context_noise=0", "strength=0.8"),
    *("--interpolation", "context_noise=0", "num_inference_steps=2"),
)
FINE = {"fine": 0.45, "highway": 0.20}
LARGE = {"highway": 0.40, "night": 0.10}
LARGE_STILLS = {**LARGE, "stills": 0.15}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything: the shipped stack, or its twin. ``steps`` None are those of the recipe."""

    scenes: int
    fine_scenes: int
    still_scenes: int
    large_scenes: int
    steps: int | None
    recipe: str


FULL = Size(scenes=260, fine_scenes=100, still_scenes=1500, large_scenes=40, steps=None, recipe="driving")
TINY = Size(scenes=2, fine_scenes=2, still_scenes=4, large_scenes=2, steps=3, recipe="tiny")


def python(script: str, *arguments: str | Path) -> None:
    run(sys.executable, HERE / script, *arguments)


def world(folder: Path, name: str, scenes: int, frames: int, fps: float, first_seed: int, *size: str) -> None:
    options = ("--scenes", scenes, "--frames", frames, "--fps", fps, "--first-seed", first_seed, *size)
    python("world.py", "-o", folder, "--name", name, *map(str, options))


def train(kind: str, size: Size, weights: dict[str, float], *arguments: str | Path) -> None:
    options = ["--recipe", size.recipe, "--threads", "2"]
    options += [word for name, share in weights.items() for word in ("--weight", f"{name}={share}")]
    options += [] if size.steps is None else ["--steps", str(size.steps)]
    run(sys.executable, "-m", "latentloom", "train", kind, *arguments, *options)


def run(*command: str | Path) -> None:
    print("$", *command, flush=True)
    subprocess.run([str(word) for word in command], check=True)


def prepare(shared: Path, work: Path, size: Size) -> None:
    """The five datasets: footage, its clips at one rate, faster clips, larger frames, and frames with known scenes."""
    python("footage.py", shared, "-o", work / "footage")
    world(work / "footage", "world", size.scenes, 40, 7.0, 1000)
    python("thin.py", work / "footage", "-o", work / "clips", "--fps", "6.5")
    python(
        "thin.py", work / "footage", "-o", work / "fine", "--fps", "14", "--only", "lake_a_more", "lake_b", "highway"
    )
    world(work / "fine", "fine", size.fine_scenes, 56, 26.0, 3000)
    python("footage.py", shared, "-o", work / "scenes", "--only", "stills_carla")
    world(work / "scenes", "scene", size.still_scenes, 3, 0.7, 5000)
    large = ("--size", "512", "1024")
    python("footage.py", shared, "-o", work / "large", *large, "--only", "highway", "night", "stills_driveai")
    world(work / "large", "large", size.large_scenes, 8, 6.5, 8000, *large)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, help="the footage, ../shared/data")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    work, size = arguments.output, TINY if arguments.tiny else FULL
    prepare(arguments.shared, work, size)
    train("autoencoder", size, PIXELS, work / "footage", "-o", work / "autoencoder")
    image = (work / "clips", "--autoencoder", work / "autoencoder", "-o", work / "image")
    train("image", size, IMAGES, *image)
    train("temporal", size, CLIPS, work / "clips", "--stack", work / "image" / "stack", "-o", work / "temporal")
    base = ("--stack", work / "temporal" / "stack", "-o")
    train("prediction", size, CLIPS, work / "clips", *base, work / "prediction")
    train("interpolation", size, FINE, work / "fine", *base, work / "interpolation")
    train("boxes", size, {}, work / "scenes", *base, work / "scenes_run")
    train("decoder", size, CLIPS, work / "clips", *base, work / "decoder")
    train("decoder", size, CLIPS, work / "clips", *base, work / "decoder_frame", "--discriminator", "frame")
    train("upsampler", size, LARGE_STILLS, work / "large", *base, work / "upsampler")
    upsampler = ("--temporal", "--stack", work / "upsampler" / "stack", "-o", work / "upsampler_temporal")
    train("upsampler", size, LARGE, work / "large", *upsampler)
    if not (work / "drive_small").exists():
        runs = ("temporal", "prediction", "interpolation", "scenes_run", "decoder", "upsampler_temporal")
        python("pack.py", *(work / name / "stack" for name in runs), "-o", work / "drive_small", *DEFAULTS)


if __name__ == "__main__":
    main()
