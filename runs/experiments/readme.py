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


def _ablation(question: str, second: str, paper: str = "not told") -> Line:
    """The paper's design less another, in the loss on held-out clips."""
    first, unit = "convolution + attention", "held-out loss x 1000"
    return Line(
        question=question,
        paper=paper,
        page="ablations",
        first=first,
        second=second,
        figure="loss",
        unit=unit,
        scale=1000.0,
    )


def _learned(question: str, page: str, first: str, second: str, paper: str) -> Line:
    """Clips that should equal real ones."""
    unit = "learned distance"
    return Line(
        question=question, paper=paper, page=page, first=first, second=second, figure="learned", unit=unit, digits=3
    )


def _transferred(question: str, receiver: str, paper: str) -> Line:
    """The gain of layers on another image model less that on their own."""
    first, second, unit = f"distance: {receiver}", "distance: itself", "% of the gain"
    return Line(
        question=question, paper=paper, page="transfer", first=first, second=second, figure="kept", unit=unit, digits=0
    )


def _long(question: str, setting: str, paper: str) -> Line:
    """A setting less its baseline."""
    second, figure, unit = "text guidance 1", "sharpness last/first", "of the first 100 frames' sharpness"
    return Line(
        question=question, paper=paper, page="long_video", first=setting, second=second, figure=figure, unit=unit
    )


FRAMES, CLIPS = "temporal, discriminator of frames", "temporal, discriminator of clips"
SHOWN = "transfer shown, not measured"
LINES = (
    _ablation("convolution and attention, less attention alone", "attention", "FVD 534 against 704"),
    _ablation("the same, less attention with as many parameters", "transformer"),
    _ablation("the same, less convolution alone", "convolution"),
    _ablation("the same, less convolutions with as many parameters", "wide convolution"),
    _ablation(
        "temporal layers, less the image model alone",
        "image model alone (alpha = 1)",
        "FID 48.26 against 47.00 (frames alone)",
    ),
    _ablation("alpha learned, less fixed", "alpha fixed at 0.5"),
    _ablation("one alpha, less one for each frame", "alpha for each frame"),
    _ablation("on a trained image model, less end to end from nothing", "end to end", "FVD 534 against 1155"),
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
    _learned("temporal decoder, less the image decoder", "decoder", CLIPS, "image decoder", "FVD 32.94 against 390.88"),
    _learned("its discriminator of frames, less one of clips", "decoder", FRAMES, CLIPS, "FVD 51.01 against 32.94"),
    _learned(
        "temporal upsampler, less the image upsampler",
        "upsampler",
        "temporal upsampler",
        "image upsampler",
        "FVD 45.39 against 165.98",
    ),
    _transferred(
        "layers on their image model trained further on the same footage, less on itself",
        "same footage, 100 steps further",
        SHOWN,
    ),
    _transferred("the same on other footage, where there is more to gain", "other footage, 100 steps further", SHOWN),
    _transferred("layers on an unrelated image model, less on their own", "another seed", "not told"),
    Line(
        question="layers that read the tuned text encoder, less that of before",
        paper="that of before is used",
        page="transfer",
        first="encoders: the tuned one",
        second="encoders: that of before",
        figure="all",
        unit="gain x 1000",
    ),
    _long("1,000 frames, S = 1, less S = 2", "S = 1", "both used, not compared"),
    _long("the same, 150 of context noise, less none", "context noise 150", "not told"),
    _long("the same, all frames at once, less prediction", "convolutional in time", "both shown, not compared"),
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
