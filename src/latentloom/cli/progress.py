"""Progress on stdout: a live bar on a terminal, now and then a plain line anywhere else."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from latentloom.generation.progress import Advance

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """Show how ``title`` advances within the block."""
    if not sys.stdout.isatty():
        yield _PlainLines(title)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(title, total=None, note="")
        yield lambda done, total, note="": bar.update(task, completed=done, total=total, note=note)


class _PlainLines:
    """A line at the start, every ten seconds, and at the end."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began: tuple[float, int] | None = None  # when, and how much was done by then
        self.told = -SECONDS_BETWEEN_LINES

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        self.began = self.began or (now, done)
        if done < total and now - self.told < SECONDS_BETWEEN_LINES:
            return
        self.told = now
        elapsed, since = now - self.began[0], done - self.began[1]
        rest = f", about {clock(elapsed / since * (total - done))} left" if since and done < total else ""
        print(f"{self.title}: {done}/{total} after {clock(elapsed)}{rest}{f'  {note}' if note else ''}", flush=True)


def clock(seconds: float) -> str:
    """``h:mm:ss``, or ``m:ss`` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
