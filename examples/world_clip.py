"""A rendered drive as a video and a contact sheet, with what is true of it.

    python examples/world_clip.py work/world --seed 7

Writes work/world/drive.mp4 (4 s) and work/world/drive.png and prints the caption and the truth of the first frame.
"""

import argparse
from pathlib import Path

from latentloom.data.sheets import contact_sheet
from latentloom.data.video import write_video
from latentloom.data.world import random_scene, render

FPS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("work/world"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--frames", type=int, default=32)
    arguments = parser.parse_args()

    clip = render(random_scene(arguments.seed), arguments.frames, FPS)

    arguments.folder.mkdir(parents=True, exist_ok=True)
    write_video(clip.frames, arguments.folder / "drive.mp4", FPS, force=True)
    contact_sheet(clip.frames[::4], arguments.folder / "drive.png", columns=2)
    print(clip.caption)
    print(f"{clip.speed[0]:.1f} m/s, steering {clip.steering[0]:+.3f} (-1 is full left)")
    for box in clip.boxes[0]:
        print(f"{box.label} {box.distance:.0f} m ahead at {box.x0:.2f} {box.y0:.2f} {box.x1:.2f} {box.y1:.2f}")


if __name__ == "__main__":
    main()
