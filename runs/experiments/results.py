"""What trials say together: means over seeds with their uncertainty, tables in pages, plots beside them.

A page of ``docs/results`` holds words written by hand and tables between ``<!-- table NAME -->`` and ``<!-- end -->``,
which the experiment's command fills from what it measured; ``NAME.json`` beside it keeps the figures themselves. Seeds
are few, so intervals are Student's: the mean plus or minus t times the standard error. Differences from a baseline are
taken seed by seed, which leaves out what all variants of a seed share.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.machine import describe_machine

from latentloom.files import whole_file, write_text

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "docs" / "results"
PAGES = PUBLISHED
MIN_SEEDS = 3
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228}
"""The 97.5 % quantile of Student's t by degrees of freedom."""

Figures = Mapping[str, float]
Found = Mapping[str, Mapping[int, Figures]]
"""Figures by variant and seed."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over ``count`` seeds; ``half`` is half of its 95 % interval, None for one seed."""

    mean: float
    half: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        half = None
        if len(values) > 1:
            quantile = STUDENT.get(len(values) - 1, 1.96 + 2.5 / (len(values) - 1))
            half = quantile * stdev(values) / len(values) ** 0.5
        return cls(mean=mean(values), half=half, count=len(values))

    @property
    def differs_from_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.half is not None and abs(self.mean) > self.half

    def times(self, factor: float) -> "Estimate":
        """In another unit."""
        return Estimate(
            mean=factor * self.mean, half=None if self.half is None else abs(factor) * self.half, count=self.count
        )

    def told(self, digits: int) -> str:
        """``0.123 ± 0.045``."""
        return f"{self.mean:.{digits}f}" + ("" if self.half is None else f" ± {self.half:.{digits}f}")


def estimates(found: Found) -> dict[str, dict[str, Estimate]]:
    """Each figure of each variant over its seeds."""
    return {
        variant: {
            name: Estimate.of([figures[name] for figures in seeds.values()]) for name in next(iter(seeds.values()))
        }
        for variant, seeds in found.items()
    }


def differences(found: Found, baseline: str, name: str) -> dict[str, Estimate]:
    """Variant less baseline, seed by seed, of one figure."""
    base = found[baseline]
    return {
        variant: Estimate.of([figures[name] - base[seed][name] for seed, figures in seeds.items()])
        for variant, seeds in found.items()
        if variant != baseline
    }


def table(found: Found, columns: Mapping[str, tuple[str, int]]) -> str:
    """A Markdown table: a variant a row; ``columns``: figure to its title and digits."""
    rows = [
        [variant, *(row[name].told(digits) if name in row else "" for name, (_, digits) in columns.items())]
        for variant, row in estimates(found).items()
    ]
    return markdown(["", *(title for title, _ in columns.values())], rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> dict[str, Any]:
    """What figures were measured on; without the command, which names paths of that machine."""
    return {fact: value for fact, value in describe_machine().items() if fact != "command"}


def keep(name: str, found: Found, settings: Mapping[str, Any], **more: Any) -> None:
    """Write the figures of an experiment to ``docs/results/NAME.json``, with settings and machine."""
    content = {
        "machine": machine(),
        "settings": dict(settings),
        "estimates": {
            variant: {figure: asdict(estimate) for figure, estimate in row.items()}
            for variant, row in estimates(found).items()
        },
        "seeds": {variant: {str(seed): dict(row) for seed, row in seeds.items()} for variant, seeds in found.items()},
        **more,
    }
    write_text(PAGES / f"{name}.json", json.dumps(content, indent=1) + "\n")


def check_page(name: str, tables: Sequence[str], *, whole: bool) -> None:
    """Before any work: whether a page may be written and has a place for each of its tables.

    Args:
        whole: the experiment is of its usual size, all variants and ``MIN_SEEDS`` seeds or more.

    Raises:
        SystemExit: it would put a trial run's figures in the place of an experiment's, or has no such place.
    """
    if not whole and PAGES == PUBLISHED:
        raise SystemExit(
            f"--page writes {PUBLISHED}: not with tiny sizes, some variants alone or fewer than {MIN_SEEDS} seeds"
        )
    page = PAGES / f"{name}.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if missing := [table for table in tables if not _place(table).search(text)]:
        raise SystemExit(f"{page} has no place for {missing[0]!r}: <!-- table {missing[0]} --> and <!-- end -->")


def _place(table: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- table {re.escape(table)} -->\n).*?(<!-- end -->)", re.DOTALL)


def put_table(page: Path, name: str, content: str) -> None:
    """Put a table into a page, in the place of the one of that name.

    Raises:
        SystemExit: the page has no such place.
    """
    text = page.read_text(encoding="utf-8")
    place = _place(name)
    if not place.search(text):
        raise SystemExit(f"{page} has no place for the table {name!r}: <!-- table {name} --> and <!-- end -->")
    write_text(page, place.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text))


def plot_bars(
    path: Path, title: str, rows: Mapping[str, Estimate], *, axis: str, lines: Mapping[str, float] | None = None
) -> None:
    """A horizontal bar a variant with its interval; ``lines``: named values to compare with."""
    with drawn(path, (7.0, 0.35 * len(rows) + 1.4)) as axes:
        names = list(rows)[::-1]
        axes.barh(names, [rows[name].mean for name in names], xerr=[rows[name].half or 0 for name in names], capsize=3)
        for label, value in (lines or {}).items():
            axes.axvline(value, color="black", linestyle="--", linewidth=1)
            axes.annotate(label, (value, 1.0), xycoords=("data", "axes fraction"), fontsize=8, ha="center", va="bottom")
        axes.set_xlabel(axis)
        axes.figure.suptitle(title, fontsize=10)  # the axes may be narrower than it


@contextmanager
def drawn(path: Path, size: tuple[float, float]) -> Iterator[Any]:
    """Axes of a new picture of ``size`` inches, saved as PNG when the block ends."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=size, layout="constrained")
    try:
        yield axes
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            figure.savefig(partial, dpi=110, format="png")
    finally:
        pyplot.close(figure)
