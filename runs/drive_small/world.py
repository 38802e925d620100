"""Rendered drives with known truth, added to the dataset of `footage.py`.

    python runs/drive_small/world.py -o work/footage --scenes 120
    python runs/drive_small/world.py -o work/fine --name fine --scenes 100 --frames 56 --fps 26 --first-seed 3000

Expected: one record of 40 frames at 7 fps per scene (every twentieth held out), 128x256, about 40 frames a second on
one core, no GPU. The same command continues an interrupted run; a larger ``--scenes`` adds scenes and changes none.
`steering` is -1 (full left) to 1, `speed` in m/s, `vehicles` a count, `night` 1 or 0; boxes lie in ``boxes/``.
"""

import argparse
from pathlib import Path

from latentloom.data.manifest import Caption, ClipRecord, DatasetWriter
from latentloom.data.scenes import save_boxes
from latentloom.data.world import Box, WorldClip, random_scene, render
from latentloom.scenes import LABELS

SECONDS = 10 / 7  # that one caption describes
HELD_OUT = 20  # every twentieth scene


def add_scene(writer: DatasetWriter, clip_id: str, clip: WorldClip, *, held_out: bool) -> ClipRecord:
    rows = [[[*_corners(box), LABELS.index(box.label)] for box in frame] for frame in clip.boxes]
    save_boxes(writer.root, clip_id, rows)
    count, window = len(clip.frames), max(1, round(SECONDS * clip.fps))
    return writer.add(
        clip_id,
        clip.frames,
        fps=clip.fps,
        captions=[
            Caption(start=first, stop=stop, text=clip.words_of(first, stop).caption)
            for first, stop in ((first, min(first + window, count)) for first in range(0, count, window))
        ],
        labels={
            "steering": [float(value) for value in clip.steering],
            "speed": [float(value) for value in clip.speed],
            "vehicles": [len(boxes) for boxes in clip.boxes],
            "night": [float(clip.scene.time_of_day == "night")] * count,
        },
        source=f"latentloom.data.world, seed {clip.scene.seed}",
        licence="Apache-2.0 (rendered by this project)",
        split="val" if held_out else "train",
    )


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="dataset folder of footage.py, or a new one")
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--name", default="world", help="records are NAME_0000, NAME_0001, ...")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--fps", type=float, default=7.0)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--held-out-only", action="store_true", help="leave out the others: more to judge by")
    arguments = parser.parse_args()
    with DatasetWriter(arguments.output, {"kind": "drive-small footage", "size": list(arguments.size)}) as writer:
        for number in range(arguments.scenes):
            clip_id = f"{arguments.name}_{number:04d}"
            held_out = number % HELD_OUT == HELD_OUT - 1
            if not writer.has(clip_id) and (held_out or not arguments.held_out_only):
                scene = random_scene(arguments.first_seed + number)
                clip = render(scene, arguments.frames, arguments.fps, *arguments.size)
                record = add_scene(writer, clip_id, clip, held_out=held_out)
                print(record.id, record.captions[0].text, flush=True)


if __name__ == "__main__":
    main()
