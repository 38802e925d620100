"""``latentloom prepare``: a folder of videos and captions becomes a dataset folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latentloom.cli.options import check_output_folder, parsed_size
from latentloom.cli.progress import progress

if TYPE_CHECKING:
    from latentloom.data.prepare import PrepareReport


def prepare(
    videos: Annotated[Path, typer.Argument(help="A folder of videos (those under one called val are held out).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The dataset folder to write or continue.")],
    size: Annotated[str, typer.Option(help="Height and width of the stored frames.", metavar="HxW")] = "128x256",
    fps: Annotated[float | None, typer.Option(help="Resample to this rate.", show_default="as filmed")] = None,
    min_frames: Annotated[int, typer.Option(help="Shorter videos are bad.")] = 8,
    caption: Annotated[str | None, typer.Option(help="For videos without a caption of their own.")] = None,
    max_bad_fraction: Annotated[float, typer.Option(help="More bad videos than this stop the run.")] = 0.05,
    licence: Annotated[str | None, typer.Option(help="Licence of the footage, kept with each clip.")] = None,
) -> None:
    """Decode videos and captions into a dataset folder.

    The same command continues a killed or grown one."""
    wanted = parsed_size(size)
    assert wanted is not None
    check_output_folder(output)
    from latentloom.data import prepare as preparing

    with progress("videos") as advance:
        report = preparing.prepare(
            videos,
            output,
            size=wanted,
            fps=fps,
            min_frames=min_frames,
            default_caption=caption,
            max_bad_fraction=max_bad_fraction,
            licence=licence,
            progress=advance,
        )
    print_report(report)


def print_report(report: "PrepareReport") -> None:
    """What became of the videos, in a few lines."""
    counts = report.captions
    print(f"clips: {len(report.prepared)} new of {report.num_frames} frames, {len(report.already_there)} there before")
    print(
        f"captions: {counts.own} of their own, {counts.default} by --caption, {counts.missing} without;"
        f" {counts.cleaned} cleaned, {counts.shortened} shortened, {counts.unused} name no video"
    )
    for error in report.rejected:
        print(f"rejected: {error}")
