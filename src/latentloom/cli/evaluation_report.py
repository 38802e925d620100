"""What ``latentloom evaluate`` prints of its figures, and what it writes: JSON with the receipt, plots beside it."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from latentloom.cli.evaluation_options import EvaluationOptions
from latentloom.cli.tables import print_table
from latentloom.files import printable, write_text

if TYPE_CHECKING:
    from latentloom.cli.evaluation_figures import Figures

ROWS = (
    ("frame difference", "frame_difference"),
    ("warp error", "warp_error"),
    ("flicker power, brightness", "brightness_flicker"),
    ("flicker power, pixels", "pixel_flicker"),
)
DRIFTS = (
    ("brightness drift / 100 frames", "brightness_drift"),
    ("saturation drift / 100 frames", "saturation_drift"),
    ("sharpness drift / 100 frames", "sharpness_drift"),
)
DISTANCES = (("Frechet distance", "frechet", "own"), ("FVD", "fvd", "i3d"), ("FID", "fid", "inception"))
SCORES = (("inception score of frames", "inception_score"), ("inception score of clips, C3D", "c3d_inception_score"))
TRUSTED_DRIFT = 50
"""Frames of a video below which its slope per 100 frames says more about motion than about drift."""
SHOWN_NEAREST = 3


def write_report(report: Mapping[str, Any], figures: "Figures", options: EvaluationOptions) -> None:
    """Write what ``-o`` asks for; without matplotlib the plots are left out, which is told."""
    if options.output is None:
        return
    from importlib.util import find_spec

    plot = options.plot
    if plot is not None and find_spec("matplotlib") is None:
        print("plots: left out, they need matplotlib (pip install 'latentloom[eval]')")
        plot = None
    if plot is not None:
        from latentloom.evaluation.plots import plot_figures

        plot_figures(figures.real, figures.fake, report, plot)
    write_text(options.output, json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    beside = "" if plot is None else f"; plots: {printable(plot)}"
    print(f"figures and receipt: {printable(options.output)}{beside}")


def print_report(report: Mapping[str, Any]) -> None:
    """The table of both sets, then what one says of the other."""
    _print_table(report)
    if "psnr" in report:
        psnr = "infinite, the videos are equal" if report["psnr"] is None else f"{report['psnr']:.3f} dB"
        print(f"PSNR: {psnr}; flicker (error of frame differences): {report['flicker']:.3f}")
    networks = report["receipt"]["networks"]
    for title, name, network in DISTANCES:
        if name in report:
            print(f"{title}: {_distance(report[name], networks[network])}")
    for title, name, digits in (("KID, own features", "own_kid", 3), ("KID", "kid", 6)):
        if name in report:
            kid = report[name]
            subsets = f"{kid['subsets']} subsets of {kid['subset_size']} videos"
            print(f"{title}: {kid['mean']:.{digits}f}, standard deviation {kid['deviation']:.{digits}f} over {subsets}")
    for title, name in SCORES:
        if name in report:
            print(f"{title}: {_sides(report[name], _score)}")
    if "clipsim" in report:
        print(f"CLIPSIM: {_sides(report['clipsim'], _similarity)}")
    if "diversity" in report:
        _print_diversity(report["diversity"])
    if "memorisation" in report:
        _print_memorisation(report["memorisation"])


def _print_table(report: Mapping[str, Any]) -> None:
    sides = {name: report[name] for name in ("real", "fake")}
    rows = []
    for title, name in (*ROWS, *DRIFTS):
        values = [of[name] for of in sides.values()]
        ratio = "-"
        if (title, name) in ROWS and all(values):
            ratio = f"{values[1] / values[0]:.2f}"
        rows.append((title, *("-" if value is None else f"{value:.3f}" for value in values), ratio))
    titles = dict(zip(("real", "generated"), sides.values(), strict=True))
    heads = [f"{title}, {of['num_videos']} videos" for title, of in titles.items()]
    print_table(("", *heads, "generated / real"), rows)
    shortest = min(of["num_frames"] / of["num_videos"] for of in sides.values())
    if shortest < TRUSTED_DRIFT:
        print(f"drift is extrapolated: the videos have {shortest:.0f} frames on average, motion alone changes as much")
    for title, of in titles.items():
        if of["too_short"]:
            print(
                f"{of['too_short']} of {of['num_videos']} {title} videos are shorter than a window of {of['window']}"
                " frames: they count above, not below (--window)"
            )


def _distance(of: Mapping[str, Any] | None, network: Mapping[str, Any]) -> str:
    if of is None:
        return "none, it needs 2 windows of each; give more videos, longer ones or a shorter --window"
    interval = of["interval"]
    between = ""
    if interval is not None:
        between = f" [{interval['low']:.4g} to {interval['high']:.4g} with other videos]"
    vectors = of["vectors"]
    counts = f"{vectors['real']} real and {vectors['fake']} generated vectors of {of['width']}"
    return f"{of['distance']:.4g}{between} ({counts}; {network['name']}, sha256 {network['sha256'][:12]})"


def _score(of: Mapping[str, Any]) -> str:
    spread = "" if of["deviation"] is None else f" ± {of['deviation']:.3f}"
    parts = "1 part" if of["splits"] == 1 else f"{of['splits']} parts"
    return f"{of['mean']:.3f}{spread} ({parts} of {of['vectors']})"


def _similarity(of: Mapping[str, Any]) -> str:
    return f"{of['mean']:.4f} (of {of['videos']} videos)"


def _sides(of: Mapping[str, Any], told: Any) -> str:
    titles = {"real": "real", "fake": "generated"}
    return ", ".join(f"{titles[side]} {told(values)}" for side, values in of.items() if values is not None)


def _print_diversity(of: Mapping[str, Any]) -> None:
    fake, real = of["fake"], of["real"]
    print(f"diversity of generated NAME-1, NAME-2, ...: {fake['pairs']} pairs of {fake['groups']} names")
    for name, digits in (("features", 3), ("pixels", 1)):
        if fake[name] is not None:
            far = "" if real is None or real[name] is None else f"; any two real videos {real[name]:.{digits}f}"
            print(f"  {name}: {fake[name]:.{digits}f} apart{far}")


def _print_memorisation(of: Mapping[str, Any]) -> None:
    print("nearest in the training footage, in levels of 0 to 255 (median, and the nearest of all):")
    rows = [
        (
            f"a {kind[:-1]} of each video",
            *(f"{found[side]['median']:.1f} ({found[side]['smallest']:.1f})" for side in ("real", "fake")),
        )
        for kind, found in of.items()
    ]
    print_table(("", "real", "generated"), rows)
    each = ", ".join(f"{found['clips_each']} {kind}" for kind, found in of.items())
    print(f"  the least over as many of each video, evenly spread: {each}")
    if count := of["clips"]["real_in_training"]:
        print(f"  {count} real videos are in the training footage: give held-out ones as REAL, or it says nothing")
        return
    for kind, found in of.items():
        if not found["nearer_than_any_real"]:
            print(f"  no generated video has a {kind[:-1]} nearer than that of every real one")
            continue
        nearest = sorted(found["nearest"].items(), key=lambda pair: pair[1]["distance"])
        shown = [
            f"{printable(name)} to {printable(clip['name'])} from frame {clip['first']} ({clip['distance']:.1f})"
            for name, clip in nearest[: min(SHOWN_NEAREST, found["nearer_than_any_real"])]
        ]
        print(
            f"  {found['nearer_than_any_real']} of {found['fake']['videos']} generated videos have a {kind[:-1]} nearer"
            f" than any real one ({found['by_chance']:.1f} would by chance), look at them: {'; '.join(shown)}"
        )
