"""The tables and the plot of the graded corruptions (``corruptions``)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import correlation, mean, stdev
from typing import Any

from runs.experiments import results
from runs.experiments.trials import Figures, Trials

TABLES = ("seen", "units", "clean")
SEEN = 3.0
"""A distance counts as seen above the mean of two clean halves by so many of their deviations."""
Found = Mapping[str, Mapping[int, Figures]]


def report(trials: Trials, found: Found, clean: Mapping[int, Figures], windows: int, *, page: bool) -> None:
    """Print the tables; for a ``page`` put them there, with the plot and the figures."""
    metrics = list(next(iter(clean.values())))
    chance = {name: [row[name] for row in clean.values()] for name in metrics}
    units = {
        variant: {name: in_units(seeds, name, chance[name]) for name in metrics} for variant, seeds in found.items()
    }
    levels = {variant: [0.0, *trials.settings["levels"][variant]] for variant in found}
    tables = {
        "seen": seen_table(units, levels, metrics),
        "units": units_table(units, metrics),
        "clean": results.markdown(
            ["", "mean", "deviation"], [[name, f"{mean(row):.4g}", f"{stdev(row):.2g}"] for name, row in chance.items()]
        ),
    }
    for name, table in tables.items():
        print(name, table, sep="\n")
    if page:
        for name, table in tables.items():
            results.put_table(results.PAGES / "corruptions.md", name, table)
        more: dict[str, Any] = {"windows": windows, "clean": {str(deal): dict(row) for deal, row in clean.items()}}
        results.keep("corruptions", found, trials.settings, **more)
        plot(units, levels)


def in_units(seeds: Mapping[int, Figures], metric: str, chance: Sequence[float]) -> list[list[float]]:
    """Per seed the distances of all strengths, 0 first: less the mean of clean halves, in their deviations."""
    middle, spread = mean(chance), stdev(chance)
    rows = [[value for name, value in row.items() if name.startswith(f"{metric} at ")] for row in seeds.values()]
    return [[(value - middle) / spread for value in row] for row in rows]


def rising(row: Sequence[float]) -> bool:
    """Whether every strength is farther than the one before it, none included."""
    return all(later > earlier for earlier, later in pairwise(row))


def rank_correlation(row: Sequence[float]) -> float:
    """Spearman's correlation of distances and strengths; 0 where all distances are equal."""
    ranks = [sum(other < value for other in row) + (row.count(value) - 1) / 2 for value in row]
    return correlation(ranks, range(len(row))) if len(set(ranks)) > 1 else 0.0


def seen_table(units: Mapping, levels: Mapping[str, Sequence[float]], metrics: Sequence[str]) -> str:
    """The weakest strength that every seed sees, and whether the order of strengths is right."""
    rows = list[list[str]]()
    for variant, row in units.items():
        cells = list[str]()
        for name in metrics:
            seeds = row[name]
            weakest = [
                f"{levels[variant][k]:g}"
                for k in range(1, len(levels[variant]))
                if all(seed[j] > SEEN for seed in seeds for j in range(k, len(seed)))
            ]
            order = "" if all(map(rising, seeds)) else f" ({mean(map(rank_correlation, seeds)):.2f})"
            cells.append((weakest[0] if weakest else "-") + order)
        rows.append([variant, *cells])
    return results.markdown(["", *metrics], rows)


def units_table(units: Mapping, metrics: Sequence[str]) -> str:
    """The mean over seeds at each strength, weakest first."""
    rows = [
        [variant, *(", ".join(f"{level:.0f}" for level in over_seeds(row[name])[1:]) for name in metrics)]
        for variant, row in units.items()
    ]
    return results.markdown(["", *metrics], rows)


def over_seeds(seeds: Sequence[Sequence[float]]) -> list[float]:
    return [mean(level) for level in zip(*seeds, strict=True)]


def plot(units: Mapping, levels: Mapping[str, Sequence[float]]) -> None:
    """A panel for each corruption: how far out of the clean range each metric is, by strength."""
    with results.drawn(results.PAGES / "corruptions.png", (11.0, 8.5)) as axes:
        figure = axes.figure
        axes.remove()
        panels = figure.subplots(3, 4, sharey=True).flat
        for panel, (variant, row) in zip(panels, units.items(), strict=False):
            for name, seeds in row.items():
                means = over_seeds(seeds)
                panel.plot(range(len(means)), means, marker="o", markersize=3, linewidth=1.2, label=name)
            panel.axhline(SEEN, color="black", linestyle="--", linewidth=0.8)
            panel.set_xticks(range(len(levels[variant])), [f"{level:g}" for level in levels[variant]], fontsize=8)
            panel.set_yscale("symlog", linthresh=SEEN)
            panel.set_title(variant, fontsize=9)
        last = list(figure.axes)[-1]
        last.axis("off")
        last.legend(*figure.axes[0].get_legend_handles_labels(), loc="center", fontsize=8)
        figure.suptitle("Distance from clean clips, in deviations between clean halves", fontsize=10)
