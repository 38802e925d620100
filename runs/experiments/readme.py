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
        """A row of the table, None where the experiment has not run.

        Raises:
            SystemExit: it has run, but not with both variants.
        """
        path = results.PAGES / f"{self.kept or self.page}.json"
        if not path.is_file():
            return None
        seeds = json.loads(path.read_text(encoding="utf-8"))["seeds"]
        if missing := {self.first, self.second} - seeds.keys():
            raise SystemExit(f"{path} has no {' and no '.join(sorted(missing))}: run the experiment with all variants")
        found = {name: {int(seed): row for seed, row in seeds[name].items()} for name in (self.first, self.second)}
        less = results.differences(found, self.second, self.figure)[self.first].times(self.scale)
        sign = "" if less.differs_from_zero else ", not told from 0"
        return [
            f"[{self.question}](docs/results/{self.page}.md)",
            self.paper,
            f"{less.told(self.digits)} {self.unit}{sign} ({less.count} seeds)",
        ]


LOSS = {"page": "ablations", "figure": "loss", "unit": "held-out loss x 1000", "scale": 1000.0}
LEARNED = {"figure": "learned", "unit": "learned distance", "digits": 3}
KEPT = {"page": "transfer", "second": "distance: itself", "figure": "kept", "unit": "% of the gain", "digits": 0}
LONG = {
    "page": "long_video",
    "second": "text guidance 1",
    "figure": "sharpness last/first",
    "unit": "of the first 100 frames' sharpness",
}
BOTH = "convolution + attention"
LINES = (
    Line(
        question="convolution and attention, less attention alone",
        paper="FVD 534 against 704",
        first=BOTH,
        second="attention",
        **LOSS,
    ),
    Line(
        question="the same, less attention with as many parameters",
        paper="not told",
        first=BOTH,
        second="transformer",
        **LOSS,
    ),
    Line(question="the same, less convolution alone", paper="not told", first=BOTH, second="convolution", **LOSS),
    Line(
        question="the same, less convolutions with as many parameters",
        paper="not told",
        first=BOTH,
        second="wide convolution",
        **LOSS,
    ),
    Line(
        question="temporal layers, less the image model alone",
        paper="FID 48.26 against 47.00 (frames alone)",
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
    Line(
        question="context guidance of 2, less none",
        paper="FVD 509 against 534, FID 54 against 48",
        page="ablations",
        kept="context_guidance",
        first="2",
        second="no context guidance (1)",
        figure="MMD, clips",
        unit="squared MMD of clips",
    ),
    Line(
        question="temporal decoder, less the image decoder",
        paper="FVD 32.94 against 390.88",
        page="decoder",
        first="temporal, discriminator of clips",
        second="image decoder",
        **LEARNED,
    ),
    Line(
        question="its discriminator of frames, less one of clips",
        paper="FVD 51.01 against 32.94",
        page="decoder",
        first="temporal, discriminator of frames",
        second="temporal, discriminator of clips",
        **LEARNED,
    ),
    Line(
        question="temporal upsampler, less the image upsampler",
        paper="FVD 45.39 against 165.98",
        page="upsampler",
        first="temporal upsampler",
        second="image upsampler",
        **LEARNED,
    ),
    Line(
        question="layers on their image model trained further on the same footage, less on itself",
        paper="transfer shown, not measured",
        first="distance: same footage, 100 steps further",
        **KEPT,
    ),
    Line(
        question="the same on other footage, where there is more to gain",
        paper="transfer shown, not measured",
        first="distance: other footage, 100 steps further",
        **KEPT,
    ),
    Line(
        question="layers on an unrelated image model, less on their own",
        paper="not told",
        first="distance: another seed",
        **KEPT,
    ),
    Line(
        question="layers that read the tuned text encoder, less that of before",
        paper="that of before is used",
        page="transfer",
        first="encoders: the tuned one",
        second="encoders: that of before",
        figure="all",
        unit="gain x 1000",
    ),
    Line(question="1,000 frames, S = 1, less S = 2", paper="both used, not compared", first="S = 1", **LONG),
    Line(question="the same, 150 of context noise, less none", paper="not told", first="context noise 150", **LONG),
    Line(
        question="the same, all frames at once, less prediction",
        paper="both shown, not compared",
        first="convolutional in time",
        **LONG,
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
