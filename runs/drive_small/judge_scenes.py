"""Does the start frame hold what it was asked to: boxes, light, number of vehicles?

    python runs/drive_small/judge_scenes.py STACK work/scenes -o work/judged_scenes

Expected: figures.json and sheets in about fifteen minutes of two cores, no GPU. The measuring instrument is a small
network trained here, on the real frames of the set, to mark where vehicles are (one value per 4x4 pixels); a connected
area above one half is a vehicle, its bounds are its box. First it is tried on held-out real frames: that is what could
be measured at best. Then frames are made for the boxes and captions of held-out frames that hold one near vehicle or
several, and the intersection over union (IoU) of each asked box with the best area found is taken, at several scales of
guidance; beside it the same noise and sentence without boxes, which says how much the sentence alone gives.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentloom.data.clips import spread
from latentloom.data.manifest import Dataset
from latentloom.data.scenes import load_boxes
from latentloom.data.sheets import contact_sheet, with_boxes
from latentloom.precision import preferred_dtype
from latentloom.scenes import SceneTensors
from latentloom.shapes import to_pixels
from latentloom.stack import Stack
from latentloom.stages.request import seeded_generator
from latentloom.stages.start_frame import SceneConditions, generate_start_frame

CELL = 4
STEPS, BATCH = 700, 16
NEAR = 0.08  # of the picture's height: what counts as a vehicle that can be judged
LEAST = 6  # cells of an area that counts
GUIDANCE = (1.0, 2.0, 4.0)
COUNTS = (0, 3, 8)
Box = tuple[float, float, float, float]


class Marker(nn.Module):
    """Pictures in [-1, 1] to logits "a vehicle is here", one per 4x4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.GroupNorm(4, b), nn.SiLU(), nn.Conv2d(b, b, 3, 1, 1), nn.SiLU())
            for a, b in ((3, 16), (16, 32), (32, 64), (64, 96))
        )
        self.up = nn.ModuleList(nn.Conv2d(a + b, b, 3, 1, 1) for a, b in ((96, 64), (64, 32)))
        self.out = nn.Conv2d(32, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for block in self.down:
            x = block(x)
            maps.append(x)
        for conv, skip in zip(self.up, (maps[2], maps[1]), strict=True):
            x = F.silu(conv(torch.cat([F.interpolate(x, scale_factor=2), skip], 1)))
        return self.out(x)[:, 0]


def vehicles(rows: list[list[float]], least: float = 0.0) -> list[Box]:
    return [(r[0], r[1], r[2], r[3]) for r in rows if r[4] == 0 and r[3] - r[1] >= least]


def mask_of(boxes: list[Box], size: tuple[int, int]) -> Tensor:
    rows, columns = size[0] // CELL, size[1] // CELL
    y, x = (torch.arange(n).add(0.5).div(n) for n in (rows, columns))
    inside = [(y[:, None] >= b[1]) & (y[:, None] < b[3]) & (x >= b[0]) & (x < b[2]) for b in boxes]
    return torch.stack(inside).any(0).float() if inside else torch.zeros(rows, columns)


def train_marker(dataset: Dataset, places: list[tuple[int, int]], known: dict[int, list]) -> Marker:
    torch.manual_seed(0)
    marker = Marker()
    optimizer = torch.optim.AdamW(marker.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        chosen = [places[i] for i in torch.randint(len(places), (BATCH,), generator=generator).tolist()]
        pictures = torch.stack([dataset.frames(dataset.records[r], [f])[0] for r, f in chosen])
        x = pictures.movedim(-1, 1).float() / 127.5 - 1
        target = torch.stack([mask_of(vehicles(known[r][f]), dataset.size) for r, f in chosen])
        flip = torch.rand(BATCH, generator=generator) < 0.5
        x[flip], target[flip] = x[flip].flip(-1), target[flip].flip(-1)
        x = x * (0.7 + 0.6 * torch.rand(BATCH, 1, 1, 1, generator=generator))
        x = x + 0.05 * torch.randn(x.shape, generator=generator)
        loss = F.binary_cross_entropy_with_logits(marker(x), target, pos_weight=torch.tensor(2.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - step / STEPS)
        if step % 100 == 99:
            print(f"marker: step {step + 1}, loss {loss.item():.3f}", flush=True)
    return marker.eval()


@torch.no_grad()
def found(marker: Marker, picture: Tensor) -> list[Box]:
    """The boxes of areas marked in a picture ``h w 3``."""
    marks = marker(picture.movedim(-1, 0)[None].float() / 127.5 - 1)[0] > 0
    _, _, stats, _ = cv2.connectedComponentsWithStats(marks.numpy().astype(np.uint8))
    rows, columns = marks.shape
    return [
        (x / columns, y / rows, (x + w) / columns, (y + h) / rows) for x, y, w, h, area in stats[1:] if area >= LEAST
    ]


def iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    whole = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - shared
    return shared / whole


def covered(there: list[Box]) -> float:
    """The share of the picture in these boxes: many vehicles that touch are one area, and a larger one."""
    return sum((box[2] - box[0]) * (box[3] - box[1]) for box in there)


def best(asked: list[Box], there: list[Box]) -> float:
    """Mean over the asked boxes of the best IoU with an area that is there."""
    return sum(max((iou(box, other) for other in there), default=0.0) for box in asked) / len(asked)


class Judge:
    """A stack, the instrument, and held-out frames."""

    def __init__(self, stack: Stack, marker: Marker, output: Path) -> None:
        self.stack, self.marker, self.output = stack, marker, output

    def made(self, prompt: str, seed: int, scene: SceneTensors | None, guidance: float = 2.0) -> Tensor:
        assert self.stack.scene is not None
        encoder, layers = self.stack.scene
        told = None if scene is None else SceneConditions(scene=scene, encoder=encoder, layers=layers, scale=guidance)
        request = self.stack.info.request(prompt, num_frames=1)
        latents = generate_start_frame(self.stack, request, scene=told, generator=seeded_generator(seed))
        return to_pixels(self.stack.autoencoder.decode(latents)[0])[0]

    def boxes(self, cases: list[tuple[str, list]]) -> dict[str, float]:
        """IoU at each guidance and without boxes; the sheet shows real, made and asked boxes."""
        figures, rows = {}, []
        for guidance in (None, *GUIDANCE):
            name = "no boxes told" if guidance is None else f"guidance {guidance:g}"
            pictures = []
            for seed, (caption, boxes) in enumerate(cases):
                scene = None if guidance is None else SceneTensors.of(boxes)
                pictures.append(self.made(caption, seed, scene, guidance or 1.0))
            scores = [
                best(vehicles(boxes, NEAR), found(self.marker, picture))
                for picture, (_, boxes) in zip(pictures, cases, strict=True)
            ]
            figures[f"IoU, {name}"] = sum(scores) / len(scores)
            print(name, figures[f"IoU, {name}"], flush=True)
            rows += [
                with_boxes(p, [(*b[:4],) for b in boxes]) for p, (_, boxes) in zip(pictures[:6], cases, strict=False)
            ]
        contact_sheet(torch.stack(rows), self.output / "boxes.png", columns=min(6, len(cases)))
        return figures

    def labels(self, captions: list[str]) -> dict[str, float]:
        """What is found on empty roads; brightness by light; vehicles by number."""
        asked = {
            "nothing told": SceneTensors.of(),
            "empty road": SceneTensors.of([]),
            "day": SceneTensors.of(night=0.0),
            "night": SceneTensors.of(night=1.0),
            **{f"{count} vehicles": SceneTensors.of(vehicles=count) for count in COUNTS},
        }
        figures, rows = {}, []
        for name, scene in asked.items():
            pictures = [self.made(caption, seed, scene) for seed, caption in enumerate(captions)]
            areas = [found(self.marker, picture) for picture in pictures]
            figures[f"areas, {name}"] = sum(map(len, areas)) / len(areas)
            figures[f"share of the picture, {name}"] = sum(map(covered, areas)) / len(areas)
            figures[f"frames without one, {name}"] = sum(not a for a in areas) / len(areas)
            figures[f"brightness, {name}"] = torch.stack(pictures).float().mean().item()
            print(name, {k: round(v, 2) for k, v in figures.items() if k.endswith(name)}, flush=True)
            rows += pictures[:6]
        contact_sheet(torch.stack(rows), self.output / "labels.png", columns=min(6, len(captions)))
        return figures


def real_figures(
    dataset: Dataset, marker: Marker, places: list[tuple[int, int]], known: dict[int, list]
) -> dict[str, float]:
    """What the instrument finds on real frames like those asked for: what could be reached at best."""
    seen = {place: found(marker, dataset.frames(dataset.records[place[0]], [place[1]])[0]) for place in places}
    near = {place: vehicles(known[place[0]][place[1]], NEAR) for place in places}
    scores = [best(near[place], seen[place]) for place in places if 1 <= len(near[place]) <= 2]
    figures = {"IoU, real frames": sum(scores) / len(scores), "real frames": float(len(scores))}
    for count in COUNTS:
        alike = [place for place in places if abs(len(vehicles(known[place[0]][place[1]])) - count) <= count // 8]
        name = f"real frames of {count} vehicles"
        figures[f"areas, {name}"] = sum(len(seen[place]) for place in alike) / len(alike)
        figures[f"share of the picture, {name}"] = sum(covered(seen[place]) for place in alike) / len(alike)
    print(figures, flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=24)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    dataset = Dataset.load(arguments.dataset)
    known = {index: load_boxes(dataset, record) or [] for index, record in enumerate(dataset.records)}
    places = {
        split: [(i, f) for i, r in enumerate(dataset.records) if r.split == split for f in range(len(known[i]))]
        for split in ("train", "val")
    }
    marker = train_marker(dataset, places["train"], known)
    figures = real_figures(dataset, marker, places["val"], known)
    few = [(i, f) for i, f in places["val"] if 1 <= len(vehicles(known[i][f], NEAR)) <= 2]
    chosen = [few[k] for k in spread(len(few), arguments.frames)]
    cases = [(dataset.records[i].caption(f), known[i][f]) for i, f in chosen]
    judge = Judge(Stack.load(arguments.stack, dtype=preferred_dtype()), marker, arguments.output)
    figures |= judge.boxes(cases)
    roads = ("highway", "country road", "city street")
    figures |= judge.labels([f"rendered world, driving on a {roads[k % 3]}" for k in range(arguments.frames)])
    (arguments.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
