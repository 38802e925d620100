"""The trials of an experiment: variants times seeds, each made once and kept; what all experiments here share.

A trial is a folder ``WORK/VARIANT/seed-N`` with a ``figures.json`` that is written last, so that a killed experiment,
started again, goes on with the trial it was at (a training within it by its own checkpoints). The settings of an
experiment are kept beside its trials: figures of other settings are refused, not mixed.
"""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.files import one_line, write_text
from latentloom.stack import Stack

Figures = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One variant with one seed, and the folder for whatever it makes."""

    variant: str
    seed: int
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Trials:
    """An experiment's work folder.

    Attributes:
        settings: everything beside variant and seed that figures depend on, as plain values.
    """

    work: Path
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        agreed, settings = self.work / "settings.json", json.loads(json.dumps(dict(self.settings)))
        if agreed.is_file() and (kept := json.loads(agreed.read_text(encoding="utf-8"))) != settings:
            names = sorted(name for name in {*kept, *settings} if kept.get(name) != settings.get(name))
            raise SystemExit(f"{self.work} was begun with another {', '.join(names)}; take another folder")
        self.work.mkdir(parents=True, exist_ok=True)
        write_text(agreed, json.dumps(settings, indent=2) + "\n")

    def trial(self, variant: str, seed: int) -> Trial:
        return Trial(variant=variant, seed=seed, folder=self.work / named(variant) / f"seed-{seed}")

    def run(
        self, variants: Sequence[str], seeds: Sequence[int], make: Callable[[Trial], Figures]
    ) -> dict[str, dict[int, Figures]]:
        """Figures by variant and seed; all variants of a seed before the next seed, so that few say something early."""
        found: dict[str, dict[int, Figures]] = {variant: {} for variant in variants}
        for seed in seeds:
            for variant in variants:
                found[variant][seed] = self.once(self.trial(variant, seed), make)
        return found

    def once(self, trial: Trial, make: Callable[[Trial], Figures]) -> Figures:
        """The figures of a trial, made now where they are not there."""
        path = trial.folder / "figures.json"
        if not path.is_file():
            trial.folder.mkdir(parents=True, exist_ok=True)
            figures = make(trial)
            write_text(path, json.dumps({"figures": figures}, indent=2) + "\n")
            print(trial.variant, trial.seed, {name: round(value, 4) for name, value in figures.items()}, flush=True)
        return json.loads(path.read_text(encoding="utf-8"))["figures"]


def command(main: Callable[[], None]) -> None:
    """Run an experiment's ``main``; what is wrong with its arguments or folders is told in one line, exit 2."""
    try:
        main()
    except ValueError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None


def weights_of(stack: Stack) -> str:
    """One digest of all members of a stack, for settings."""
    return hashlib.sha256(json.dumps(stack.digests, sort_keys=True).encode()).hexdigest()[:16]


def named(variant: str) -> str:
    """A folder's name for a variant's: lower case, words joined by underscores."""
    return re.sub(r"[^a-z0-9.]+", "_", variant.lower()).strip("_")
