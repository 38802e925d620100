"""Rendered drives with known truth, added to the dataset of `footage.py`.

    python runs/drive_small/world.py -o work/footage --scenes 120

Expected: one record of 40 frames at 7 fps per scene (every twentieth held out), 128x256, about 40 frames a second on
one core, no GPU. The same command continues an interrupted run; a larger ``--scenes`` adds scenes and changes none.
`steering` is -1 (full left) to 1, `speed` in m/s, `vehicles` a
count.
"""

import argparse
from pathlib import Path

from latentloom.data.boxes import LABELS, save_boxes
from latentloom.data.manifest import Caption, ClipRecord, DatasetWriter
from latentloom.data.world import Box, WorldClip, random_scene, render

SIZE = (128, 256)
NUM_FRAMES, FPS = 40, 7.0
WINDOW = 10  # frames that one caption describes
HELD_OUT = 20  # every twentieth scene
FIRST_SEED = 1000


def add_scene(writer: DatasetWriter, number: int, clip: WorldClip) -> ClipRecord:
    rows = [[[*_corners(box), LABELS.index(box.label)] for box in frame] for frame in clip.boxes]
    save_boxes(writer.root, f"world_{number:04d}", rows)
    return writer.add(
        f"world_{number:04d}",
        clip.frames,
        fps=FPS,
        captions=[
            Caption(start=first, stop=first + WINDOW, text=clip.words_of(first, first + WINDOW).caption)
            for first in range(0, NUM_FRAMES, WINDOW)
        ],
        labels={
            "steering": [float(value) for value in clip.steering],
            "speed": [float(value) for value in clip.speed],
            "vehicles": [len(boxes) for boxes in clip.boxes],
        },
        source=f"latentloom.data.world, seed {FIRST_SEED + number}",
        licence="Apache-2.0 (rendered by this project)",
        split="val" if number % HELD_OUT == HELD_OUT - 1 else "train",
    )


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="dataset folder of footage.py")
    parser.add_argument("--scenes", type=int, default=120)
    arguments = parser.parse_args()
    with DatasetWriter(arguments.output, {"kind": "drive-small footage", "size": list(SIZE)}) as writer:
        for number in range(arguments.scenes):
            if not writer.has(f"world_{number:04d}"):
                record = add_scene(writer, number, render(random_scene(FIRST_SEED + number), NUM_FRAMES, FPS, *SIZE))
                print(record.id, record.captions[0].text, flush=True)


if __name__ == "__main__":
    main()
