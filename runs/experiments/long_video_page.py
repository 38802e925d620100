"""Tables, plot and contact sheets of ``long_video``: from figures and frames that were kept, no network at work."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from runs.experiments.long_video_figures import PROPERTIES, Footage
from runs.experiments.results import PAGES, Found, differences, drawn, markdown, put_table, table

from latentloom.data.sheets import contact_sheet
from latentloom.evaluation.drift import properties

NAME = "long_video"
SHOWN = ("brightness", "sharpness")
PANELS = 4  # a row of the plot
SHEET = 11  # frames a row
DRIFT = {f"{name} per 100": (f"{name} per 100 frames", 2) for name in PROPERTIES}
TABLES = {
    "drift": DRIFT
    | {
        "sharpness, first frame": ("sharpness, first frame", 1),
        "sharpness first": ("its first 100", 1),
        "sharpness last": ("its last 100", 1),
        "sharpness last/first": ("sharpness, last/first 100", 2),
        "saturation last/first": ("saturation, last/first 100", 2),
        "frames held": ("frames held", 0),
    },
    "halves": {
        f"{name} per 100, {half} half": (f"{name}, {half} half", 2) for name in PROPERTIES for half in ("first", "last")
    },
    "motion": {
        "frame difference, first": ("frame difference, first", 1),
        "frame difference, last/first": ("last/first", 2),
        "joins over elsewhere": ("joins over elsewhere", 2),
    },
}


RATIOS = ("sharpness last", "sharpness last/first", "saturation last/first")
DIFFERENCES = DRIFT | {name: TABLES["drift"][name] for name in RATIOS}
DECIDES = "sharpness last/first"
"""The figure named beforehand: of many intervals one in twenty leaves out zero by chance."""
DIFFERENCES |= {"frame difference, last/first": ("frame difference, last/first", 2)}


def feature_columns(name: str) -> dict[str, tuple[str, int]]:
    """Columns of a table of one kind of features."""
    places = {f"{name}, {when}": (f"to real windows, {when}", 2) for when in ("start", "middle", "end")}
    return places | {f"{name}, end from first window": ("end, from its first window", 2)}


def write_tables(found: Found, features: Sequence[str], baselines: Mapping[str, str]) -> None:
    """Fill the page's tables, one of features each.

    ``baselines``: a variant to the one from which it differs in one thing.
    """
    page = PAGES / f"{NAME}.md"
    for name, columns in (TABLES | {name: feature_columns(name) for name in features}).items():
        put_table(page, name, table(found, columns))
    compared = {**DIFFERENCES, **{f"{name}, end": (f"{name}, end", 2) for name in features}}
    put_table(
        page,
        "differences",
        markdown(
            ["", "less", *(title for title, _ in compared.values())],
            [
                [
                    variant,
                    baseline,
                    *(told(found, variant, baseline, name, digits) for name, (_, digits) in compared.items()),
                ]
                for variant, baseline in baselines.items()
            ],
        ),
    )


def told(found: Found, variant: str, baseline: str, name: str, digits: int) -> str:
    """A difference taken start by start; of ``DECIDES`` bold where its interval leaves out zero."""
    estimate = differences({one: found[one] for one in (variant, baseline)}, baseline, name)[variant]
    bold = name == DECIDES and estimate.differs_from_zero
    return f"**{estimate.told(digits)}**" if bold else estimate.told(digits)


def plot(path: Path, footage: Mapping[str, Sequence[Footage]]) -> None:
    """A panel a variant: brightness and sharpness over their first hundred frames', mean and band over starts."""
    rows = -(-len(footage) // PANELS)
    with drawn(path, (3.0 * PANELS, 2.1 * rows)) as axes:
        figure = axes.figure
        axes.remove()
        panels = figure.subplots(rows, PANELS, sharex=True, sharey=True, squeeze=False).flat
        for (variant, videos), panel in zip(footage.items(), panels, strict=False):
            for name, colour in zip(SHOWN, ("tab:blue", "tab:orange"), strict=True):
                places, curves = relative_curves(videos, PROPERTIES.index(name))
                panel.plot(places, curves.mean(0), color=colour, label=name)
                panel.fill_between(places, curves.amin(0), curves.amax(0), color=colour, alpha=0.2, linewidth=0)
            panel.axhline(1.0, color="black", linewidth=0.5)
            panel.set_title(variant, fontsize=9)
        for panel in list(panels):  # what the variants left over
            panel.axis("off")
        figure.axes[0].legend(fontsize=7)
        figure.supxlabel("frame", fontsize=9)
        figure.supylabel("over the first hundred frames'", fontsize=9)


def relative_curves(videos: Sequence[Footage], index: int) -> tuple[list[int], torch.Tensor]:
    """Frames, and one smoothed curve a video, as long as the shortest."""
    look = videos[0].look
    span = max(1, look.span // look.every)
    count = min(len(video.sampled) for video in videos) - span + 1
    smooth = [properties(video.sampled)[index].unfold(0, span, 1).mean(-1)[:count] for video in videos]
    return [look.every * place + look.span // 2 for place in range(count)], torch.stack([s / s[0] for s in smooth])


def sheet(path: Path, videos: Sequence[Footage]) -> None:
    """A row a video, frames spread from its first to its last."""
    rows = []
    for video in videos:
        count = len(video.sampled)
        rows.append(video.sampled[[place * (count - 1) // (SHEET - 1) for place in range(SHEET)]])
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(torch.cat(rows), path, columns=SHEET)
