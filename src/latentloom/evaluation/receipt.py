"""The receipt of an evaluation compared with another's: why two people got two numbers.

A receipt holds all that the numbers depend on; here two are taken apart and what differs is sorted by how much it is
known to matter. How a receipt comes about is the command's (``cli.evaluation_inputs``, ``cli.evaluate``).
"""

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import Any

ABSENT, GIVEN = "-", "given"
COUNTS = {"sizes", "rates", "codecs", "pixel_formats", "containers"}
"""Fields that say how many videos are of each kind."""


class Weight(IntEnum):
    """How much a difference usually matters."""

    USUALLY = 0
    SOMETIMES = 1
    RARELY = 2


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is known of the fields that match ``pattern`` (of fnmatch)."""

    pattern: str
    weight: Weight
    why: str


RULES = (
    Rule(pattern="inputs.training*", weight=Weight.SOMETIMES, why="footage of the training: memorisation alone"),
    Rule(pattern="inputs.*.made.stack.members.*", weight=Weight.SOMETIMES, why="these weights are others"),
    Rule(pattern="settings.size", weight=Weight.USUALLY, why="size at which frames are judged: resizing blurs"),
    Rule(pattern="settings.resize", weight=Weight.USUALLY, why="how frames are resized"),
    Rule(pattern="networks.*.preprocessing", weight=Weight.USUALLY, why="what a network is given"),
    Rule(pattern="inputs.*.sizes", weight=Weight.USUALLY, why="size of the files: what they were resized from"),
    Rule(pattern="settings.fps", weight=Weight.USUALLY, why="frame rate: how far things move between two frames"),
    Rule(pattern="inputs.*.rates", weight=Weight.USUALLY, why="frame rate of the files"),
    Rule(pattern="settings.stride", weight=Weight.USUALLY, why="as the frame rate: frames left out between two"),
    Rule(pattern="inputs.*.videos", weight=Weight.USUALLY, why="number of videos: few make distances too large"),
    Rule(pattern="inputs.*.windows", weight=Weight.USUALLY, why="number of windows: few make distances too large"),
    Rule(pattern="settings.videos", weight=Weight.USUALLY, why="number of videos asked for"),
    Rule(pattern="settings.windows_per_video", weight=Weight.USUALLY, why="number of windows, and how alike they are"),
    Rule(pattern="settings.window", weight=Weight.USUALLY, why="frames per window"),
    Rule(pattern="settings.sampling", weight=Weight.USUALLY, why="which videos and windows are taken"),
    Rule(pattern="networks.*", weight=Weight.USUALLY, why="another network is another number"),
    Rule(pattern="inputs.*.made.videos.*.seed", weight=Weight.SOMETIMES, why="the noise this video was made from"),
    Rule(pattern="inputs.*.made*", weight=Weight.USUALLY, why="how the videos were made"),
    Rule(pattern="inputs.*.codecs", weight=Weight.SOMETIMES, why="compression changes fine detail"),
    Rule(pattern="inputs.*.pixel_formats", weight=Weight.SOMETIMES, why="colour at half resolution, or not"),
    Rule(pattern="inputs.*.containers", weight=Weight.RARELY, why="only what is inside counts"),
    Rule(pattern="inputs.*.digest", weight=Weight.SOMETIMES, why="other files"),
    Rule(pattern="inputs.*.files.*", weight=Weight.SOMETIMES, why="this file is another one"),
    Rule(pattern="inputs.*.captions", weight=Weight.SOMETIMES, why="other texts: CLIPSIM alone"),
    Rule(pattern="settings.split", weight=Weight.SOMETIMES, why="which clips of a dataset folder"),
    Rule(pattern="inputs.*.path", weight=Weight.RARELY, why="what is in the files counts, not where they lie"),
    Rule(pattern="inputs.*", weight=Weight.SOMETIMES, why="other files"),
    Rule(pattern="settings.processes", weight=Weight.RARELY, why="changes no bit"),
    Rule(pattern="settings.batch_size", weight=Weight.RARELY, why="last digits"),
    Rule(pattern="seed", weight=Weight.SOMETIMES, why="which videos are drawn; intervals; subsets of KID"),
    Rule(pattern="settings.*", weight=Weight.SOMETIMES, why=""),
    Rule(pattern="environment.device", weight=Weight.RARELY, why="last digits"),
    Rule(pattern="environment.*", weight=Weight.RARELY, why="last digits, if at all"),
    Rule(pattern="created", weight=Weight.RARELY, why="when"),
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One field that two receipts tell differently; ``first`` and ``second`` are ``ABSENT`` where one has it not."""

    field: str
    first: Any
    second: Any
    weight: Weight
    why: str


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """The fields that differ, those that usually matter first; none for equal receipts.

    What one receipt has not at all (a network, a stack) is one field, by its name, however much the other tells of it.
    """
    found = list[tuple[int, Difference]]()
    for field, values in _pairs(first, second):
        if _alike(*values):
            continue
        place = next((k for k, rule in enumerate(RULES) if fnmatch.fnmatchcase(field, rule.pattern)), len(RULES))
        rule = RULES[place] if place < len(RULES) else Rule(pattern=field, weight=Weight.SOMETIMES, why="")
        difference = Difference(field=field, first=values[0], second=values[1], weight=rule.weight, why=rule.why)
        found.append((place, difference))
    return [difference for _, difference in sorted(found, key=lambda pair: (pair[1].weight, pair[0], pair[1].field))]


def _alike(first: Any, second: Any) -> bool:
    """Equal, or counts of the same kinds in the same shares: how many videos there are is a field of its own."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return _shares(first) == _shares(second)
    return first == second


def _shares(counts: Mapping[str, Any]) -> dict[str, Any]:
    numbers = [value for value in counts.values() if isinstance(value, int)]
    if len(numbers) < len(counts) or not sum(numbers):
        return dict(counts)
    return {name: Fraction(value, sum(numbers)) for name, value in counts.items()}


def _pairs(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, tuple]]:
    """``a.b`` and what both say of it; counts of sizes, rates and the like stay whole."""
    for name in sorted(set(first) | set(second)):
        field, values = f"{prefix}{name}", (first.get(name, ABSENT), second.get(name, ABSENT))
        if name in COUNTS or not any(isinstance(value, Mapping) for value in values):
            yield field, values
        elif all(isinstance(value, Mapping) for value in values):
            yield from _pairs(values[0], values[1], f"{field}.")
        else:
            yield field, tuple(_named(value) for value in values)


def _named(value: Any) -> Any:
    """A part of a receipt by its name, or that of its stack."""
    if not isinstance(value, Mapping):
        return value
    stack = value.get("stack")
    return value.get("name") or (stack.get("name") if isinstance(stack, Mapping) else None) or GIVEN
