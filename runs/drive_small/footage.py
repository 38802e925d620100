"""The shared driving footage -> the dataset that `drive-small` is trained on, with captions, labels and licences.

    python runs/drive_small/footage.py ../shared/data -o work/footage
    python runs/drive_small/footage.py ../shared/data -o work/large --size 512 1024 --only highway night stills_driveai

Expected: 27 records, 15,692 frames of 128x256, 111 captions of 63 words, 1.5 GB; 25 s on one core, no GPU. The same
command continues an interrupted run. Taken: the simulator drives (not `sim/unstated/`), the real clips and the stills
(not `driving/nc/`). Left out, and listed: everything whose licence forbids commercial use or is not stated. The splits
are those of the footage.

A caption is "source, light, place, turn, speed, traffic, details" from a small vocabulary. Simulator captions come from
recorded labels, those of stills from their boxes, those of real clips were written after looking at the frames.
`steering` is -1 (full left) to 1, `speed` is in m/s; both are there only where they were recorded. Stills have `night`
and, where their boxes are exact, these and the number of `vehicles`. Records whose captions were changed here are made
again; do not run this while another program writes to the same dataset.
"""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentloom.data.manifest import Caption, ClipRecord, Dataset, DatasetWriter
from latentloom.data.scenes import save_boxes
from latentloom.data.video import read_image, read_video
from latentloom.scenes import LABELS

WINDOW = 16  # frames that one simulator caption describes
METRES_PER_SECOND = 0.44704  # in a mile per hour
NEAR = 0.001  # of the picture: smaller boxes cannot be seen at 128x256

# Seen on the contact sheets: (first frame, caption without the source), each valid until the next.
HIGHWAY = "daytime, driving on a highway, going straight"
REAL_CLIPS = {
    "highway_white": [(0, f"{HIGHWAY}, some traffic, a white line on the right")],
    "highway_yellow_a": [
        (0, f"{HIGHWAY}, some traffic, a yellow line on the left"),
        (84, f"{HIGHWAY}, some traffic, a yellow line on the left, a green sign"),
        (143, f"{HIGHWAY}, some traffic, a yellow line on the left"),
        (172, f"{HIGHWAY}, no traffic, a yellow line on the left"),
    ],
    "highway_yellow_b": [
        (0, f"{HIGHWAY}, no traffic, a yellow line on the left, a green sign"),
        (35, f"{HIGHWAY}, no traffic, a yellow line on the left"),
    ],
    "night_road": [
        (0, "night, driving on a country road, going straight, a yellow line on the left, headlights ahead")
    ],
    "city_gif_1": [(0, "daytime, driving on a city street, going straight, heavy traffic, a bridge on the right")],
    "city_gif_2": [(0, "daytime, driving on a city street, going straight, heavy traffic, trees and tall buildings")],
}
STILL_PLACES = {
    "Town01": "daytime, driving on a town street",
    "Town02": "daytime, driving on a town street",
    "Town03": "daytime, driving on a city street",
    "Town04": "daytime, driving on a highway",
    None: "daytime, cloudy, driving on a city street",
}
LICENCE_NOTES = {"city_gif": "MIT (repository); origin of the footage not stated"}
STILL_SOURCES = {
    "carla": ("carla simulator", "DanielHfnr/Carla-Object-Detection-Dataset @ 2a10f67", "MIT"),
    "driveai": ("real photo", "Drive.ai Sample Dataset, from thosieucoi/car-detection-yolo @ 3d32c33", "CC BY 4.0"),
}


@dataclass(frozen=True, kw_only=True)
class Footage:
    """Where it lies, at which size it is wanted, and the beginnings of the ids that are; none means all."""

    shared: Path
    size: tuple[int, int]
    only: tuple[str, ...] = ()

    def lacks(self, writer: DatasetWriter, clip_id: str, captions: Sequence[Caption]) -> bool:
        """Whether this record is wanted and not there yet."""
        wanted = not self.only or clip_id.startswith(self.only)
        return wanted and not writer.has(clip_id, digest(captions))


def add_drives(footage: Footage, writer: DatasetWriter) -> Iterator[str]:
    """Every simulator drive whose licence is stated, at its own timing; yields what was left out."""
    for drive in json.loads((footage.shared / "sim/drives.json").read_text()):
        if "unstated" in Path(drive["file"]).parts:
            yield f"{drive['id']}: licence {drive['licence']}"
        elif footage.lacks(writer, drive["id"], drive_captions(drive)):
            add_drive(footage, writer, drive)


def add_drive(footage: Footage, writer: DatasetWriter, drive: dict[str, Any]) -> ClipRecord:
    frames = read_video(footage.shared / drive["file"], size=footage.size).frames
    if len(frames) != drive["frames"]:
        raise ValueError(f"{drive['file']}: {len(frames)} frames, its labels describe {drive['frames']}")
    labels = {}
    if drive["steering"] is not None and drive["speed"] is not None:
        labels = {"steering": drive["steering"], "speed": [mph * METRES_PER_SECOND for mph in drive["speed"]]}
    stamps = drive["t_ms"]
    return writer.add(
        drive["id"],
        frames,
        fps=drive["fps"],
        times=None if stamps is None else [(stamp - stamps[0]) / 1000 for stamp in stamps],
        captions=drive_captions(drive),
        labels=labels,
        source=f"{drive['source_repository']} @ {drive['commit'][:7]}, {drive['source_folder']}",
        licence=drive["licence"],
        split=drive["split"],
        digest=digest(drive_captions(drive)),
    )


def drive_captions(drive: dict[str, Any]) -> list[Caption]:
    """The recorded captions of 16 frames each; frames after the last full window get only what is true of the drive."""
    head = "real video, indoors" if drive["real"] else "simulator, daytime"
    captions = [
        Caption(start=WINDOW * k, stop=WINDOW * (k + 1), text=f"{head}, {text}")
        for k, text in enumerate(drive["captions"])
    ]
    rest = WINDOW * len(captions)
    if rest < drive["frames"]:
        place = drive["captions"][0].split(",")[0]
        captions.append(Caption(start=rest, stop=drive["frames"], text=f"{head}, {place}"))
    return captions


def digest(captions: Sequence[Caption]) -> str:
    """Of the captions alone: the pictures never change, what is said of them may."""
    return hashlib.sha256(repr(captions).encode()).hexdigest()


def add_clips(footage: Footage, writer: DatasetWriter) -> Iterator[str]:
    """The real clips, resized, with captions written by hand; yields what was left out."""
    for clip in json.loads((footage.shared / "driving/clips.json").read_text()):
        if clip["non_commercial"]:
            yield f"{clip['id']}: licence {clip['licence']}"
        elif footage.lacks(writer, clip["id"], clip_captions(clip)):
            video = read_video(footage.shared / clip["file"], size=footage.size)
            writer.add(
                clip["id"],
                video.frames,
                fps=video.fps,
                times=video.times.tolist(),
                captions=clip_captions(clip),
                source=clip["source"],
                licence=next((note for name, note in LICENCE_NOTES.items() if name in clip["id"]), clip["licence"]),
                split=clip["split"],
                digest=digest(clip_captions(clip)),
            )


def clip_captions(clip: dict[str, Any]) -> list[Caption]:
    starts = REAL_CLIPS[clip["id"]]
    stops = [start for start, _ in starts[1:]] + [clip["frames"]]
    return [
        Caption(start=start, stop=stop, text=f"real video, {text}")
        for (start, text), stop in zip(starts, stops, strict=True)
    ]


def add_stills(footage: Footage, writer: DatasetWriter) -> Iterator[str]:
    """The stills, one record of non-contiguous frames per set, drive and split; yields what was left out."""
    groups: dict[tuple[str, str | None, str], list[dict[str, Any]]] = {}
    content = json.loads((footage.shared / "driving/stills.json").read_text())
    for still in content["stills"]:
        groups.setdefault((still["set"], still.get("drive"), still["split"]), []).append(still)
    for (name, drive, split), stills in groups.items():
        clip_id = "_".join(filter(None, ("stills", name, drive, split)))
        if name not in STILL_SOURCES:
            yield f"{clip_id}: {len(stills)} frames, non-commercial licence"
            continue
        head, source, licence = STILL_SOURCES[name]
        texts = [f"{head}, {STILL_PLACES[drive]}, {contents(still['boxes'], content['labels'])}" for still in stills]
        captions = [Caption(start=k, stop=k + 1, text=text) for k, text in enumerate(texts)]
        if footage.lacks(writer, clip_id, captions):
            writer.add(
                clip_id,
                torch.stack([read_image(footage.shared / still["file"], footage.size) for still in stills]),
                fps=1.0,
                captions=captions,
                labels={"night": [0.0] * len(stills), **exact_boxes(writer.root, clip_id, stills, content["labels"])},
                contiguous=False,
                source=source,
                licence=licence,
                split=split,
                digest=digest(captions),
            )


def exact_boxes(
    root: Path, clip_id: str, stills: Sequence[dict[str, Any]], labels: Sequence[str]
) -> dict[str, list[float]]:
    """Keep the boxes where they are exact, and count the vehicles; what a detector found is no truth."""
    if any(still["boxes_kind"] != "exact" for still in stills):
        return {}
    frames = [[[*box[:4], LABELS.index(labels[int(box[4])])] for box in still["boxes"]] for still in stills]
    save_boxes(root, clip_id, frames)
    return {"vehicles": [float(sum(row[4] == LABELS.index("vehicle") for row in rows)) for rows in frames]}


def contents(boxes: Sequence[Sequence[float]], labels: Sequence[str]) -> str:
    """What a still shows, from its boxes (x0, y0, x1, y1, label, score): traffic rated, the rest named."""
    near = Counter(labels[int(box[4])] for box in boxes if (box[2] - box[0]) * (box[3] - box[1]) >= NEAR)
    traffic = "no traffic" if not near["vehicle"] else "some traffic" if near["vehicle"] < 4 else "heavy traffic"
    named = {"bicycle": "a bicycle", "motorcycle": "a motorcycle", "traffic_light": "a traffic light"}
    return ", ".join([traffic, *(words for label, words in named.items() if near[label])])


def print_table(records: Sequence[ClipRecord], left_out: Sequence[str]) -> None:
    print(f"{'record':28}{'split':7}{'frames':>7}{'fps':>7}  {'kind':7}{'labels':16}licence")
    for record in records:
        kind = "video" if record.contiguous else "stills"
        names = "+".join(record.labels) or "-"
        print(
            f"{record.id:28}{record.split:7}{record.num_frames:7}{record.fps:7.2f}  {kind:7}{names:16}{record.licence}"
        )
    for split in ("train", "val"):
        print(f"{split}: {sum(record.num_frames for record in records if record.split == split)} frames")
    captions = {caption.text for record in records for caption in record.captions}
    words = {word for caption in captions for word in caption.replace(",", " ").split()}
    print(f"{len(captions)} captions of {len(words)} words: {' '.join(sorted(words))}")
    print("left out:", *left_out, sep="\n  ")


def main() -> None:
    parser = argparse.ArgumentParser(description="turn the shared driving footage into a training dataset")
    parser.add_argument("shared", type=Path, help="the shared data folder (it holds sim/ and driving/)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the dataset folder to make or continue")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--only", nargs="*", default=(), metavar="ID", help="records whose id begins so")
    arguments = parser.parse_args()
    footage = Footage(shared=arguments.shared, size=tuple(arguments.size), only=tuple(arguments.only))
    left_out: list[str] = []
    with DatasetWriter(arguments.output, {"kind": "drive-small footage", "size": list(footage.size)}) as writer:
        for add in (add_drives, add_clips, add_stills):
            left_out += add(footage, writer)
    print_table(Dataset.load(arguments.output).records, left_out)


if __name__ == "__main__":
    main()
