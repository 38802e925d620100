"""``latentloom evaluate``: figures of videos, and of generated ones against real ones, with a receipt.

``evaluate REAL FAKE`` judges, ``evaluate explain A.json B.json`` compares two receipts.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from latentloom.cli.evaluation_options import EvaluationOptions
from latentloom.cli.evaluation_report import print_report
from latentloom.cli.explain import explain
from latentloom.cli.progress import progress
from latentloom.cli.shared_options import takes

if TYPE_CHECKING:
    from latentloom.cli.evaluation_inputs import VideoSet
    from latentloom.cli.evaluation_networks import Networks

SAMPLING = "windows one after another from the first frame, none shared; videos drawn by seed where fewer are asked for"
RESIZE = "crop around the centre to the aspect, then area average (smaller) or Lanczos (larger)"


class _JudgesUnlessToldTo(TyperGroup):
    """A group whose first word may be left out: ``evaluate REAL FAKE``. A folder called explain is ``./explain``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] == ["explain"] else ["judge", *args])


class _Judge(TyperCommand):
    """The command of the word that may be left out, shown without it."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        formatter.write_usage("latentloom evaluate", " ".join(self.collect_usage_pieces(ctx)))


app = typer.Typer(cls=_JudgesUnlessToldTo, help="Judge generated videos beside real ones; explain two receipts.")
app.command("explain")(explain)


@app.command("judge", cls=_Judge)
@takes(EvaluationOptions)
def evaluate(
    real: Annotated[Path, typer.Argument(metavar="REAL", help="A video, a folder of videos, or a dataset folder.")],
    fake: Annotated[Path, typer.Argument(metavar="FAKE", help="The same, generated.")],
    options: EvaluationOptions,
) -> None:
    """Judge generated videos beside real ones. `latentloom evaluate explain A.json B.json` tells two results apart.

    Give both the same frame rate and the same kind of scene, and equally many windows: figures of different kinds of
    footage do not compare. Without --i3d and --inception the Frechet distance is in features of this package: it is
    no FVD and compares only with its own kind. What a number owes to is in the receipt, which -o writes with it.
    """
    options.check()
    from latentloom.cli.evaluation_inputs import check_comparable, check_names, video_set
    from latentloom.cli.evaluation_networks import check_captions, named_networks
    from latentloom.files import write_text

    size = options.judged_size
    sides = (("real", real), ("generated", fake))
    theirs, ours = (
        video_set(side, path, size, options.fps, options.split).drawn(options.videos, options.seed)
        for side, path in sides
    )
    if options.paired:
        check_names(theirs, ours)
    check_comparable(theirs, ours, options.fps)
    check_captions(options.clip, theirs, ours)
    networks = named_networks(options)
    report = _report(theirs, ours, networks, options)
    report["receipt"] = _receipt(theirs, ours, networks, report, options)
    print_report(report)
    if options.output is not None:
        write_text(options.output, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def _report(real: "VideoSet", fake: "VideoSet", networks: "Networks", options: EvaluationOptions) -> dict[str, Any]:
    from latentloom.cli.evaluation_networks import clip_similarities
    from latentloom.evaluation import comparison

    windows = comparison.Windows(length=options.window, stride=options.stride, per_video=options.windows_per_video)
    warp = options.warp and _can_warp()
    figures = [
        comparison.figures_of(side.frames(), windows=windows, warp=warp, networks=networks.extractors)
        for side in (real, fake)
    ]
    with progress("intervals") as advance:
        chance = comparison.Chance(
            seed=options.seed, resamples=options.resamples, advance=lambda done, total: advance(done, total)
        )
        compared = comparison.compared(figures[0], figures[1], chance)
    report: dict[str, Any] = {
        "real": {"path": str(real.path), **figures[0].to_dict()},
        "fake": {"path": str(fake.path), **figures[1].to_dict()},
        **compared,
    }
    if options.paired:
        report |= comparison.paired(real.frames(), fake.frames())
    if networks.clip is not None:
        both = [clip_similarities(networks.clip, side, options.batch_size) for side in (real, fake)]
        report["clipsim"] = dict(zip(("real", "fake"), both, strict=True))
    return report


def _can_warp() -> bool:
    from importlib.util import find_spec

    if find_spec("cv2") is None:
        print("warp error: left out, it needs OpenCV (pip install 'latentloom[eval]')")
        return False
    return True


def _receipt(
    real: "VideoSet", fake: "VideoSet", networks: "Networks", report: dict[str, Any], options: EvaluationOptions
) -> dict[str, Any]:
    """Everything the figures depend on."""
    import torch

    from latentloom.cli.options import compute_device
    from latentloom.receipt import environment, library_version

    machine = environment(torch.float32, compute_device())
    machine["versions"] |= {name: library_version(name) for name in ("pillow", "opencv-python-headless", "einops")}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {
            "size": list(options.judged_size),
            "resize": RESIZE,
            "fps": options.fps,
            "window": options.window,
            "stride": options.stride,
            "windows_per_video": options.windows_per_video,
            "videos": options.videos,
            "sampling": SAMPLING,
            "split": options.split,
            "warp": report["real"]["warp_error"] is not None,
            "batch_size": options.batch_size,
            "resamples": options.resamples,
        },
        "seed": options.seed,
        "inputs": {
            name: {**side.receipt(), "windows": report[name]["windows"]}
            for name, side in (("real", real), ("fake", fake))
        },
        "networks": networks.receipt,
        "environment": machine,
    }
