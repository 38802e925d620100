"""What ``latentloom evaluate`` prints of its figures."""

from collections.abc import Mapping
from typing import Any

from latentloom.cli.tables import print_table

ROWS = (
    ("frame difference", "frame_difference"),
    ("warp error", "warp_error"),
    ("brightness drift / 100 frames", "brightness_drift"),
    ("saturation drift / 100 frames", "saturation_drift"),
    ("sharpness drift / 100 frames", "sharpness_drift"),
)
TRUSTED_DRIFT = 50
"""Frames of a video below which its slope per 100 frames says more about motion than about drift."""


def print_report(report: Mapping[str, Any]) -> None:
    """The table of both sets, then what one says of the other."""
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
        interval = _between(report["frechet_interval"], 5)
        print(f"Frechet distance: {report['frechet_distance']:.5f}{interval} ({report['features']}; no FVD)")
    _print_learned(report)


def _print_learned(report: Mapping[str, Any]) -> None:
    networks = report["receipt"]["networks"]
    for title, name, network in (("FVD", "fvd", "i3d"), ("FID", "fid", "inception")):
        if name in report:
            of = report[name]
            counts = f"{of['vectors']['real']} real, {of['vectors']['fake']} generated vectors of {of['width']}"
            print(
                f"{title}: {of['distance']:.3f}{_between(of['interval'], 3)} ({counts}; {networks[network]['name']},"
                f" sha256 {networks[network]['sha256'][:12]})"
            )
    if "kid" in report:
        kid = report["kid"]
        subsets = f"{kid['subsets']} subsets of {kid['subset_size']}"
        print(f"KID: {kid['mean']:.6f}, standard deviation {kid['deviation']:.6f} over {subsets}")
    for title, name in (("inception score", "inception_score"), ("CLIPSIM", "clipsim")):
        if name in report:
            shown = [f"{side} {of['mean']:.4f}" for side, of in report[name].items() if of is not None]
            print(f"{title}: {', '.join(shown)}")


def _between(interval: Mapping[str, Any] | None, digits: int) -> str:
    if interval is None:
        return ""
    return f" [{interval['low']:.{digits}f} to {interval['high']:.{digits}f} with other videos]"
