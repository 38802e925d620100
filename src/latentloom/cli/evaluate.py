"""``latentloom evaluate``: figures of videos, and of generated ones against real ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentloom.cli.options import Force, check_outputs, parsed_size
from latentloom.cli.progress import progress
from latentloom.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Loader = Callable[[], Tensor]

ROWS = (
    ("frame difference", "frame_difference"),
    ("warp error", "warp_error"),
    ("brightness drift / 100 frames", "brightness_drift"),
    ("saturation drift / 100 frames", "saturation_drift"),
    ("sharpness drift / 100 frames", "sharpness_drift"),
)


def evaluate(
    real: Annotated[Path, typer.Argument(help="A video, a folder of videos, or a dataset folder.")],
    fake: Annotated[Path, typer.Argument(help="The same, generated.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the figures there as JSON.")] = None,
    paired: Annotated[bool, typer.Option("--paired", help="Videos belong together by name: PSNR and flicker.")] = False,
    split: Annotated[str, typer.Option(help="Clips of a dataset folder to take; where it has none, all.")] = "val",
    window: Annotated[int, typer.Option(help="Frames of a clip that one feature describes.")] = 16,
    size: Annotated[str, typer.Option(help="Height and width to judge at.", metavar="HxW")] = "128x256",
    fps: Annotated[float | None, typer.Option(help="Resample to this rate.", show_default="as filmed")] = None,
    warp: Annotated[bool, typer.Option("--warp/--no-warp", help="Warp error by OpenCV's optical flow.")] = True,
    force: Force = False,
) -> None:
    """Judge generated videos beside real ones.

    Give both the same frame rate and the same kind of scene, and equally many windows: figures of different kinds of
    footage do not compare. The Frechet distance is in features of this package: it is no FVD and compares only with
    its own kind.
    """
    wanted = parsed_size(size)
    assert wanted is not None
    if output is not None:
        check_outputs([output], force=force)
    from importlib.util import find_spec

    from latentloom.evaluation import comparison
    from latentloom.files import write_text
    from latentloom.stages.request import MAX_FRAMES, check_count

    check_count("window", window, MAX_FRAMES)
    if warp and find_spec("cv2") is None:
        print("warp error: left out, it needs OpenCV (pip install 'latentloom[eval]')")
        warp = False
    theirs, ours = (_loaders(path, wanted, fps, split) for path in (real, fake))
    if paired:
        _check_names(theirs, ours)
    figures = [
        comparison.figures_of(_read(path, loaders), window=window, warp=warp)
        for path, loaders in ((real, theirs), (fake, ours))
    ]
    report: dict[str, Any] = {
        "settings": {"size": list(wanted), "fps": fps, "window": window, "split": split},
        "real": {"path": str(real), **figures[0].to_dict()},
        "fake": {"path": str(fake), **figures[1].to_dict()},
        **comparison.compared(*figures),
    }
    if paired:
        report |= comparison.paired(_read(real, theirs), _read(fake, ours))
    _print(report)
    if output is not None:
        write_text(output, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def _loaders(path: Path, size: tuple[int, int], fps: float | None, split: str) -> "dict[str, Loader]":
    """The videos of an argument: name to what reads its frames ``t h w 3``."""
    if (path / "dataset.json").is_file():
        return _clips(path, size, split)
    from latentloom.data.prepare import list_videos
    from latentloom.data.video import read_video

    folder, files, _ = list_videos(path)
    loaders: dict[str, Loader] = {}
    for file in files:
        name = str(file.relative_to(folder).with_suffix(""))
        if name in loaders:
            raise ValueError(f"{path} holds two videos called {name}; take one of them out")
        loaders[name] = lambda file=file: read_video(file, fps, size=size).frames
    return loaders


def _clips(path: Path, size: tuple[int, int], split: str) -> "dict[str, Loader]":
    from latentloom.data.manifest import Dataset

    dataset = Dataset.load(path)
    if dataset.size != size:
        raise ValueError(f"{path} holds frames of {dataset.size[0]}x{dataset.size[1]}; judge at that --size")
    clips = [record for record in dataset.records if record.contiguous and record.num_frames > 1]
    chosen = [record for record in clips if record.split == split] or clips
    return {r.id: lambda record=r: dataset.frames(record, range(record.num_frames)) for r in chosen}


def _read(path: Path, loaders: "dict[str, Loader]") -> "Iterator[Tensor]":
    with progress(path.name) as advance:
        for done, (name, load) in enumerate(sorted(loaders.items())):
            advance(done, len(loaders), name)
            yield load()
        advance(len(loaders), len(loaders))


def _check_names(real: "dict[str, Loader]", fake: "dict[str, Loader]") -> None:
    alone = sorted(set(real) ^ set(fake))
    if alone and len(real) + len(fake) > 2:
        raise ValueError(f"--paired: {alone[0]} has no partner of that name; both folders need the same names")


TRUSTED_DRIFT = 50
"""Frames of a video below which its slope per 100 frames says more about motion than about drift."""


def _print(report: dict[str, Any]) -> None:
    rows = []
    for title, name in ROWS:
        values = [report[side][name] for side in ("real", "fake")]
        rows.append((title, *("-" if value is None else f"{value:.3f}" for value in values)))
    counts = [f"{report[side]['num_videos']} videos" for side in ("real", "fake")]
    print_table(("", *(f"{side}, {count}" for side, count in zip(("real", "fake"), counts, strict=True))), rows)
    shortest = min(report[side]["num_frames"] / report[side]["num_videos"] for side in ("real", "fake"))
    if shortest < TRUSTED_DRIFT:
        print(f"drift is extrapolated: the videos have {shortest:.0f} frames on average, motion alone changes as much")
    for title, name in (("frame difference, fake over real", "frame_difference_ratio"), ("PSNR, dB", "psnr")):
        if report.get(name) is not None:
            print(f"{title}: {report[name]:.3f}")
    if "flicker" in report:
        print(f"flicker (error of frame differences): {report['flicker']:.3f}")
    if report["frechet_distance"] is not None:
        print(f"Frechet distance: {report['frechet_distance']:.5f} ({report['features']}; no FVD)")
