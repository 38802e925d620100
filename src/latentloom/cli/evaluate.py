"""``latentloom evaluate``: figures of videos, and of generated ones against real ones, with a receipt.

``evaluate REAL FAKE`` judges, ``evaluate explain A.json B.json`` compares two receipts.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from latentloom.cli.evaluation_options import EvaluationOptions
from latentloom.cli.explain import SCHEMA, explain
from latentloom.cli.shared_options import takes

if TYPE_CHECKING:
    from latentloom.cli.evaluation_inputs import VideoSet
    from latentloom.cli.evaluation_networks import Networks
    from latentloom.cli.evaluation_stacks import Wanted
    from latentloom.stack_folder import StackFolder

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
    fake: Annotated[Path, typer.Argument(metavar="FAKE", help="The same, generated; or a stack, which makes them.")],
    options: EvaluationOptions,
) -> None:
    """Judge generated videos beside real ones. `latentloom evaluate explain A.json B.json` tells two results apart.

    Give both the same frame rate and the same kind of scene, and equally many windows: figures of different kinds of
    footage do not compare. The Frechet distance is in features of a small network of this package: it is no FVD and
    compares only with its own kind. What a number owes to is in the receipt, which -o writes with it.
    """
    options.check()
    from latentloom.cli.evaluation_figures import judged
    from latentloom.cli.evaluation_inputs import VideoSet, check_comparable
    from latentloom.cli.evaluation_networks import named_networks
    from latentloom.cli.evaluation_report import print_report, write_report
    from latentloom.cli.evaluation_stacks import made_videos, stack_at

    stack = stack_at(fake)
    theirs, ours, known = _given(real, fake, stack, options)
    networks = named_networks(options)  # before anything that takes long: a wrong file is told at once
    if not isinstance(ours, VideoSet):
        assert stack is not None
        ours = made_videos(stack, ours, theirs, options)
        check_comparable([theirs, ours], options.fps)
    sets = {"real": theirs, "fake": ours, **({} if known is None else {"training": known})}
    figures = judged(sets, networks, options)
    report = {"schema": SCHEMA, **figures.report, "receipt": _receipt(sets, networks, figures.report, options)}
    print_report(report)
    write_report(report, figures, options)


def _given(
    real: Path, fake: Path, stack: "StackFolder | None", options: EvaluationOptions
) -> "tuple[VideoSet, VideoSet | list[Wanted], VideoSet | None]":
    """Real videos, generated ones (or those that the stack is to make) and footage of the training.

    What is wrong with any of them shows here, before networks are loaded and videos are made. Raises ``ValueError``.
    """
    from latentloom.cli.evaluation_figures import check_groups
    from latentloom.cli.evaluation_inputs import (
        TRAINING,
        VideoSet,
        check_comparable,
        check_lengths,
        check_pairs,
        tell_crop,
        tell_other_rates,
        video_set,
    )
    from latentloom.cli.evaluation_networks import check_captions
    from latentloom.cli.evaluation_stacks import check_options, wanted_videos

    size, fps = options.judged_size, options.fps
    theirs = video_set("real", real, size, fps, options.split)
    known = None if options.training is None else video_set(TRAINING, options.training, size, fps, "train")
    check_options(stack, fake, options, theirs)
    if stack is not None:
        assert options.videos is not None
        ours = wanted_videos(theirs.texts(options.seed), options.videos, options.seed)
        theirs = theirs.drawn(min(options.videos, len(theirs.videos)), options.seed)
        check_captions(options.clip, theirs)
    else:
        theirs = theirs.drawn(options.videos, options.seed)
        ours = video_set("generated", fake, size, fps, options.split).drawn(options.videos, options.seed)
        check_captions(options.clip, ours)
        if options.paired:
            check_pairs(theirs, ours)
        if options.diversity:
            check_groups(ours)
    given = [one for one in (theirs, ours, known) if isinstance(one, VideoSet)]
    check_comparable(given, fps)
    check_lengths(given, options.windows.span)
    tell_crop(given, size)
    if known is not None:
        tell_other_rates(known, theirs, fps)
    return theirs, ours, known


def _receipt(
    sets: "Mapping[str, VideoSet]", networks: "Networks", report: Mapping[str, Any], options: EvaluationOptions
) -> dict[str, Any]:
    """Everything the figures depend on."""
    import torch

    from latentloom.cli.options import compute_device
    from latentloom.receipt import environment, library_version

    machine = environment(torch.float32, compute_device())
    machine["versions"] |= {name: library_version(name) for name in ("pillow", "opencv-python-headless", "einops")}
    inputs = {name: one.receipt() for name, one in sets.items()}
    for name in ("real", "fake"):
        inputs[name]["windows"] = report[name]["windows"]
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
            "processes": options.processes,
            "resamples": options.resamples,
        },
        "seed": options.seed,
        "inputs": inputs,
        "networks": networks.receipt,
        "environment": machine,
    }
