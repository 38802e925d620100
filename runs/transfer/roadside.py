"""Pictures of a subject where driving scenes have things: beside the road, at sizes and places that obey perspective.

    python runs/transfer/roadside.py DATA/subjects/wolf_plushie -o work/roadside --pictures 64
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from latentloom.data.world import random_scene
from latentloom.data.world.picture import Painter
from latentloom.data.world.sprites import Sprite, resample, sprite_of
from latentloom.training.subject import PICTURES

SIZE = (256, 512)
TEXELS = 256
TALL = 2.6  # metres: as a bush, so that it shows parts at 20 m
ASIDE = (4.8, 6.2)  # metres from the road's middle; asphalt ends at 3.85
AHEAD = (6.0, 32.0)
KEY = 2**40  # of the subject among a picture's owners


def cut_out(path: Path) -> tuple[Sprite, float]:
    """What stands in the middle of a photo, and its width over its height."""
    photo = cv2.imread(str(path))
    height, width = photo.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    rect = (int(0.06 * width), int(0.06 * height), int(0.88 * width), int(0.88 * height))
    cv2.setRNGSeed(0)
    cv2.grabCut(photo, mask, rect, np.zeros((1, 65)), np.zeros((1, 65)), 8, cv2.GC_INIT_WITH_RECT)
    inside = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
    _, parts, stats, _ = cv2.connectedComponentsWithStats(inside)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    inside = cv2.morphologyEx((parts == largest).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    left, top, wide, high = cv2.boundingRect(inside)
    alpha = cv2.GaussianBlur(cv2.erode(inside, np.ones((3, 3), np.uint8)).astype(np.float32), (0, 0), 1.5)
    colour = cv2.cvtColor(photo, cv2.COLOR_BGR2RGB).astype(np.float32) / 255
    texture = np.dstack([colour * alpha[..., None], alpha])[top : top + high, left : left + wide]
    return sprite_of(cv2.resize(texture, (TEXELS, TEXELS), interpolation=cv2.INTER_AREA)), wide / high


def shade() -> Sprite:
    y, x = np.mgrid[-1 : 1 : 64j, -1 : 1 : 64j]
    texture = np.zeros((64, 64, 4), np.float32)
    texture[..., 3] = 0.55 * np.clip(1.6 * (1 - np.hypot(x, y)), 0, 1)
    return sprite_of(texture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--leave-out", nargs="*", default=(), metavar="NAME", help="photos that are cut out badly")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    photos = sorted(path for path in arguments.photos.glob("*") if path.suffix.lower() in PICTURES)
    photos = [path for path in photos if path.stem not in arguments.leave_out]
    subjects = [cut_out(path) for path in photos]
    number, seed = 0, arguments.first_seed
    while number < arguments.pictures:
        picture = composed(seed, subjects[number % len(subjects)])
        seed += 1
        if picture is not None:
            Image.fromarray(picture).save(arguments.output / f"{number:03d}.png")
            number += 1


def composed(seed: int, subject: tuple[Sprite, float]) -> np.ndarray | None:
    """A drive's frame with the subject in it; None where it is hidden or outside."""
    rng = np.random.default_rng([seed, 17])
    look, aspect = subject
    weather = "clear" if rng.random() < 0.75 else "overcast"
    scene = random_scene(20_000 + seed, place="country road", time_of_day="day", weather=weather, traffic="none")
    painter = Painter(scene, *SIZE)
    picture = painter.draw(0.0)
    ego, canvas = picture.ego, picture.canvas
    side = 1 if rng.random() < 0.75 else -1
    ahead = float(np.exp(rng.uniform(*np.log(AHEAD))))
    right, forward = ego.camera.see(painter.road.place(ego.s + ahead, side * float(rng.uniform(*ASIDE))))
    if forward < AHEAD[0]:
        return None
    scale = ego.camera.focal / forward
    u, foot = ego.camera.middle + right * scale, ego.camera.horizon + ego.camera.height * scale
    high = TALL * scale
    half = 0.5 * aspect * high
    if u - 0.6 * half < 0 or u + 0.6 * half > SIZE[1] or foot > SIZE[0]:
        return None
    flat = 0.16 * half
    for sprite, box in (
        (shade(), (u - 1.05 * half, foot - 1.6 * flat, u + 1.05 * half, foot + 0.5 * flat)),
        (look, (u - half, foot - high, u + half, foot)),
    ):
        drawn = resample(sprite, box, SIZE)
        if drawn is None:
            return None
        solid = canvas.paint(drawn[0], drawn[1][..., :3], drawn[1][..., 3], forward - 1.0, KEY)
    if (canvas.owner == KEY).sum() < 0.85 * solid.sum():
        return None
    return (np.clip(canvas.colour, 0, 1) * 255 + 0.5).astype(np.uint8)


if __name__ == "__main__":
    main()
