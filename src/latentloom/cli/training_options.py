"""The options that all trainings share: stated once here, given to each command by ``takes``."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from latentloom.cli.options import Dtype, Seed, Threads


class Recipe(StrEnum):
    """Where the settings come from that no option changes."""

    DRIVING = "driving"
    TEXT = "text"
    TINY = "tiny"


class ReportTo(StrEnum):
    """Where figures go beside log.jsonl."""

    TENSORBOARD = "tensorboard"


class Optimizer(StrEnum):
    """AdamW, or Muon for everything that is a matrix."""

    ADAMW = "adamw"
    MUON = "muon"


def _option(*names: str, text: str, **settings: Any) -> Any:
    return typer.Option(*names, help=text, **settings)


def _of_recipe(text: str) -> Any:
    return typer.Option(help=text, show_default="the recipe's")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What a user most often changes of a training; None is the recipe's value."""

    recipe: Annotated[
        Recipe | None,
        typer.Option(help="Settings that no option changes.", show_default="text for Stable Diffusion, else driving"),
    ] = None
    steps: Annotated[int | None, _of_recipe("Optimiser steps.")] = None
    batch_size: Annotated[int | None, _of_recipe("Items a step and process.")] = None
    accumulation: Annotated[int, _option(text="Batches whose gradients make one step.")] = 1
    seed: Seed = 0
    dtype: Dtype = "auto"
    optimizer: Annotated[Optimizer | None, _of_recipe("How weights are updated.")] = None
    learning_rate: Annotated[float | None, _of_recipe("Of AdamW.")] = None
    muon_learning_rate: Annotated[float | None, _of_recipe("Of Muon.")] = None
    weight: Annotated[
        list[str] | None,
        _option("--weight", text="Share of draws from clips whose id begins so; repeatable.", metavar="NAME=FRACTION"),
    ] = None
    workers: Annotated[int, _option(text="Processes that load data.")] = 0
    checkpoint_minutes: Annotated[float, _option(text="Time between checkpoints.")] = 3.0
    preview_steps: Annotated[int | None, _of_recipe("Steps between sample sheets, 0 for none.")] = None
    report_to: Annotated[ReportTo | None, _option(text="Log there too.")] = None
    threads: Threads = None
    dry_run: Annotated[bool, _option("--dry-run", text="Print the settings and stop.")] = False
