"""How work in progress is shown: the caller's way, a bar, a line or nothing. Light: commands import it at once."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.stages.journal import Remember


class Advance(Protocol):
    """Called with how much is done, of how much, and a note worth reading."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


Show = Callable[[str], AbstractContextManager[Advance]]
"""Takes a title, gives what is told within the block."""


def show_nothing(title: str) -> AbstractContextManager[Advance]:
    """For callers without a screen."""
    return nullcontext(_unheard)


def _unheard(done: int, total: int, note: str = "") -> None:
    pass


class Windows:
    """Windows and the denoising steps within them as one progress.

    Args:
        stages: name in the journal to windows and steps of each.
    """

    def __init__(self, advance: Advance, stages: Mapping[str, tuple[int, int]]) -> None:
        self.advance, self.steps = advance, {name: steps for name, (_, steps) in stages.items()}
        self.windows = sum(windows for windows, _ in stages.values())
        self.total = sum(windows * steps for windows, steps in stages.values())
        self.finished = self.done = 0
        self._show(0)

    def counting(self, remember: "Remember") -> "Remember":
        """``remember`` that counts the windows that are finished."""

        def counted(stage: str, index: int, make: "Callable[[], Tensor]", /) -> "Tensor":
            result = remember(stage, index, make)
            self.finished += 1
            self.done += self.steps[stage]
            self._show(0)
            return result

        return counted

    def step(self, step: int, timestep: "Tensor", latents: "Tensor") -> None:
        """A denoising loop's callback."""
        self._show(step + 1)

    def _show(self, step: int) -> None:
        note = f"window {min(self.finished + 1, self.windows)} of {self.windows}" if self.windows > 1 else ""
        self.advance(min(self.done + step, self.total), self.total, note)
