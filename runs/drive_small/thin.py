"""A dataset at one rate: every k-th frame of each drive, k so that the rate is nearest to ``--fps``; stills stay.

    python runs/drive_small/thin.py work/footage -o work/clips --fps 6.5
    python runs/drive_small/thin.py work/footage -o work/fine --fps 14 --only lake_a lake_b highway

Expected: 19,628 of 26,092 frames, ten seconds, no GPU. The simulator recorded 7 to 14 frames a second and clips are
trained at 5 to 8, so the frames between would be encoded and never seen. The same command continues an interrupted run.
"""

import argparse
from pathlib import Path

from latentloom.data.clips import stride_for
from latentloom.data.manifest import Caption, ClipRecord, Dataset, DatasetWriter
from latentloom.data.scenes import load_boxes, save_boxes


def thin(dataset: Dataset, record: ClipRecord, stride: int, writer: DatasetWriter) -> None:
    kept = range(0, record.num_frames, stride)
    boxes = load_boxes(dataset, record)
    if boxes is not None:
        save_boxes(writer.root, record.id, boxes[::stride])
    writer.add(
        record.id,
        dataset.frames(record, kept),
        fps=record.fps / stride,
        times=None if record.times is None else [record.times[i] for i in kept],
        captions=[
            Caption(start=-(-c.start // stride), stop=-(-c.stop // stride), text=c.text)
            for c in record.captions
            if -(-c.start // stride) < -(-c.stop // stride)
        ],
        labels={name: [values[i] for i in kept] for name, values in record.labels.items()},
        contiguous=record.contiguous,
        source=record.source,
        licence=record.licence,
        split=record.split,
        digest=record.digest,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--fps", type=float, required=True)
    parser.add_argument("--only", nargs="*", default=(), metavar="ID", help="records whose id begins so")
    arguments = parser.parse_args()
    dataset = Dataset.load(arguments.dataset)
    with DatasetWriter(arguments.output, dict(dataset.config)) as writer:
        for record in dataset.records:
            stride = stride_for(record.fps, arguments.fps) if record.contiguous else 1
            wanted = not arguments.only or record.id.startswith(tuple(arguments.only))
            if wanted and not writer.has(record.id, record.digest):
                thin(dataset, record, stride, writer)
    print(sum(record.num_frames for record in Dataset.load(arguments.output).records), "frames")


if __name__ == "__main__":
    main()
