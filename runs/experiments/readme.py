"""The table of experiments in the README, from what the pages of docs/results keep.

    python -m runs.experiments.readme          # fills the README; `--check` says whether it is what the pages say

Each line is a difference of two variants, seed by seed, with its 95 % interval; experiments that have not run have no
line. A second, no training.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from runs.experiments import results

README = results.ROOT / "README.md"
PLACE = "experiments"


@dataclass(frozen=True, kw_only=True)
class Line:
    """``first`` less ``second`` in one figure of an experiment, beside what the paper found.

    Attributes:
        page: the experiment, ``docs/results/PAGE.md``; figures are those of ``PAGE.json`` or of ``kept``.
    """

    question: str
    paper: str
    page: str
    first: str
    second: str
    figure: str
    unit: str
    scale: float = 1.0
    digits: int = 2
    kept: str | None = None

    def told(self) -> list[str] | None:
        """A row of the table, None where the experiment or one of the two has not run."""
        path = results.PAGES / f"{self.kept or self.page}.json"
        seeds = json.loads(path.read_text(encoding="utf-8"))["seeds"] if path.is_file() else {}
        if not {self.first, self.second} <= seeds.keys():
            return None
        found = {name: {int(seed): row for seed, row in seeds[name].items()} for name in (self.first, self.second)}
        less = results.differences(found, self.second, self.figure)[self.first].times(self.scale)
        sign = "" if less.differs_from_zero else ", not told from 0"
        return [
            f"[{self.question}](docs/results/{self.page}.md)",
            self.paper,
            f"{less.told(self.digits)} {self.unit}{sign} ({less.count} seeds)",
        ]


LOSS = {"page": "ablations", "figure": "loss", "unit": "held-out loss x 1000", "scale": 1000.0}
BOTH = "convolution + attention"
LINES = (
    Line(
        question="convolution and attention, less attention alone",
        paper="FVD 534 against 704",
        first=BOTH,
        second="attention",
        **LOSS,
    ),
    Line(question="the same, less convolution alone", paper="not told", first=BOTH, second="convolution", **LOSS),
    Line(
        question="the same, less as many convolutions", paper="not told", first=BOTH, second="wide convolution", **LOSS
    ),
    Line(
        question="temporal layers, less the image model alone",
        paper="alpha = 1: FID 47.00 against 48.26",
        first=BOTH,
        second="image model alone (alpha = 1)",
        **LOSS,
    ),
    Line(question="alpha learned, less fixed", paper="not told", first=BOTH, second="alpha fixed at 0.5", **LOSS),
    Line(
        question="one alpha, less one for each frame",
        paper="not told",
        first=BOTH,
        second="alpha for each frame",
        **LOSS,
    ),
    Line(
        question="on a trained image model, less end to end from nothing",
        paper="FVD 534 against 1155",
        first=BOTH,
        second="end to end",
        **LOSS,
    ),
)


def table(lines: Sequence[Line] = LINES) -> str:
    """Markdown."""
    rows = [row for row in (line.told() for line in lines) if row is not None]
    return results.markdown(["first less second", "paper", "here"], rows)


def main(arguments: Sequence[str] = ()) -> None:
    before = README.read_text(encoding="utf-8")
    if "--check" in arguments:
        if table() not in before:
            raise SystemExit("README.md's table of experiments is not what docs/results says: run readme.py")
        return
    results.put_table(README, PLACE, table())


if __name__ == "__main__":
    main(sys.argv[1:])
