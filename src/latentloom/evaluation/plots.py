"""The figures of an evaluation as one picture: how both sets look over time, and how far generated is from real.

matplotlib is imported when a plot is drawn; what is drawn is in the report too, as numbers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from latentloom.evaluation.comparison import SetFigures
from latentloom.evaluation.video_figures import CURVES
from latentloom.files import one_line, whole_file

COLOURS = {"real": "#4d4d4d", "generated": "#d1495b"}
RATIOS = (
    ("frame difference", "frame_difference"),
    ("warp error", "warp_error"),
    ("flicker, brightness", "brightness_flicker"),
    ("flicker, pixels", "pixel_flicker"),
)
BAR = 0.6
DISTANCES = (("Frechet, own features", "frechet"), ("FVD", "fvd"), ("FID", "fid"))


def plot_figures(real: SetFigures, fake: SetFigures, report: Mapping[str, Any], path: Path) -> None:
    """Write the picture, a PNG: curves over frames above, bars below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # of no screen, whatever the user's settings say
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 10), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    titles = [
        f"{side}: {one_line(report[name]['path'])[-60:]}" for side, name in (("real", "real"), ("generated", "fake"))
    ]
    figure.suptitle("    ".join(titles), fontsize="medium")
    axes = figure.subplots(3, 2)
    for place, (axis, title) in enumerate(zip(axes.flat, CURVES, strict=False)):
        for side, one in (("real", real), ("generated", fake)):
            mean, deviation = mean_curve([video.curves[place] for video in one.videos])
            frames = list(range(len(mean)))
            axis.plot(frames, mean, color=COLOURS[side], label=f"{side}, {one.num_videos} videos")
            axis.fill_between(frames, mean - deviation, mean + deviation, color=COLOURS[side], alpha=0.2, linewidth=0)
        axis.set(title=title, xlabel="frame")
        axis.legend(fontsize="small")
    _ratios(axes[2, 0], real, fake)
    _distances(axes[2, 1], report)
    with whole_file(path) as partial, partial.open("wb") as file:
        canvas.print_png(file)


def mean_curve(curves: Sequence[Float64[Tensor, " _"]]) -> tuple[Float64[Tensor, " t"], Float64[Tensor, " t"]]:
    """Mean and standard deviation at each frame, over the videos that are as long."""
    rows = torch.full((len(curves), max(map(len, curves))), torch.nan, dtype=torch.float64)
    for row, curve in zip(rows, curves, strict=True):
        row[: len(curve)] = curve
    mean = rows.nanmean(0)
    return mean, (rows - mean).square().nanmean(0).sqrt()


def _ratios(axis: Any, real: SetFigures, fake: SetFigures) -> None:
    """Bars of generated over real, on a logarithmic scale around 1."""
    names, ratios = list[str](), list[float]()
    for title, name in RATIOS:
        ours, theirs = getattr(fake, name), getattr(real, name)
        if ours and theirs:
            names.append(title)
            ratios.append(ours / theirs)
    places = list(range(len(ratios)))
    axis.barh(places, [ratio - 1 for ratio in ratios], BAR, left=1, color=COLOURS["generated"])
    axis.axvline(1, color=COLOURS["real"])
    axis.set_xscale("log")
    low, high = min([0.5, *ratios]), max([2.0, *ratios])
    axis.set_xlim(low / 1.3, high * 3)
    ticks = [tick for tick in (0.01, 0.1, 0.25, 0.5, 1, 2, 4, 10, 100, 1000) if low / 1.3 <= tick <= high * 3]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_yticks(places, names)
    axis.invert_yaxis()
    for place, ratio in zip(places, ratios, strict=True):
        axis.text(max(ratio, 1) * 1.05, place, f"{ratio:.2f}", va="center", fontsize="small")
    axis.set_title("generated over real: 1 is right")


def _distances(axis: Any, report: Mapping[str, Any]) -> None:
    """Bars of the distances with their intervals, each as a share of the end of its own, and their numbers."""
    found = [(title, report[name]) for title, name in DISTANCES if report.get(name)]
    places = list(range(len(found)))
    for place, (_, of) in zip(places, found, strict=True):
        interval = of["interval"] or {"low": of["distance"], "high": of["distance"]}
        whole = max(interval["high"], of["distance"]) or 1
        axis.barh(place, of["distance"] / whole, BAR, color=COLOURS["generated"])
        axis.plot([interval["low"] / whole, interval["high"] / whole], [place, place], color="black", linewidth=2)
        axis.text(1.03, place, f"{of['distance']:.4g}", va="center", fontsize="small")
    axis.set_xlim(0, 1.25)
    axis.set_xticks([])
    axis.set_yticks(places, [title for title, _ in found])
    axis.set_ylim(len(DISTANCES) - 0.5, -0.5)
    axis.set_title("distances, each on its own scale" if found else "no distance")
    axis.set_xlabel("line: interval over videos")
