"""Videos judged one by one, in this process or in several: the same code, on one thread, so that the bits are the same.

Sums in floating point depend on how many threads share them; here one does, however many cores and processes there are.
Processes begin anew (no fork: threads and GPUs do not survive one), read the videos and load the networks themselves.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from latentloom.cli.evaluation_inputs import VideoFile, VideoSet
from latentloom.cli.evaluation_networks import Networks, named_networks
from latentloom.cli.evaluation_options import EvaluationOptions
from latentloom.cli.progress import progress
from latentloom.files import printable

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.evaluation.comparison import SetFigures
    from latentloom.evaluation.video_figures import VideoFigures, Windows

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What a process must know to judge videos; ``options`` name the networks, with their hashes."""

    options: EvaluationOptions
    windows: "Windows"
    warp: bool
    small: bool

    def figures(self, videos: VideoSet, networks: Networks) -> "SetFigures":
        """The figures of a set, with progress. Raises ``ValueError``."""
        from latentloom.evaluation.comparison import SetFigures

        if self.options.processes == 1:
            judge = partial(_judged, self, networks)
            return SetFigures.of(_with_progress(videos, map(judge, videos.videos)), self.windows)
        packed = in_processes(partial(_packed, self), videos.videos, self.options.processes)
        return SetFigures.of(map(_unpacked, _with_progress(videos, packed)), self.windows)

    def small_frames(self, videos: VideoSet) -> "Iterator[tuple[str, Tensor]]":
        """Name and small frames of each video, one at a time, with progress. Raises ``ValueError``."""
        import torch

        done = in_processes(_small, videos.videos, self.options.processes)
        names = (video.name for video in videos.videos)
        yield from zip(names, map(torch.from_numpy, _with_progress(videos, done)), strict=True)


def in_processes(function: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    """``function`` of each item, in their order, in so many new processes; 1 is this one.

    Raises:
        ValueError: a process died.
    """
    if processes == 1 or len(items) < 2:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(items)), mp_context=context, initializer=_begin)
    try:
        yield from pool.map(function, items)
    except BrokenProcessPool:
        raise ValueError(
            f"one of {processes} processes died, perhaps for want of memory; use fewer --processes or a smaller"
            " --batch-size"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Ctrl-C ends a process at once; the command tells of it, not each of its processes."""
    from latentloom.cli.failures import quiet_libraries

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    quiet_libraries()


def _with_progress(videos: VideoSet, results: Iterator[Result]) -> Iterator[Result]:
    total = len(videos.videos)
    with progress(f"{videos.side} videos") as advance:
        advance(0, total)
        for done, (video, result) in enumerate(zip(videos.videos, results, strict=True), 1):
            advance(done, total, video.name)
            yield result


@cache
def _networks_of(options: EvaluationOptions) -> Networks:
    """Loaded once by each process."""
    return named_networks(options, tell=False)


def _judged(judging: Judging, networks: Networks, video: VideoFile) -> "VideoFigures":
    from latentloom.evaluation.video_figures import video_figures

    try:
        with one_thread():
            return video_figures(
                video.load(),
                windows=judging.windows,
                warp=judging.warp,
                networks=networks.extractors,
                small=judging.small,
                similarity=networks.similarity(video),
            )
    except ValueError as error:
        raise _of_video(video, error) from error


def _small(video: VideoFile) -> Any:
    from latentloom.evaluation.memorisation import small_frames

    try:
        with one_thread():
            return small_frames(video.load()).numpy()
    except ValueError as error:
        raise _of_video(video, error) from error


def _of_video(video: VideoFile, error: ValueError) -> ValueError:
    """A plain error, which travels between processes, with the name of the file."""
    told, name = str(error), printable(video.file)
    return ValueError(told if told.startswith(name) else f"{name}: {told}")


def _packed(judging: Judging, video: VideoFile) -> dict[str, Any]:
    """Arrays in place of tensors, which would travel as an open file each."""
    figures = _judged(judging, _networks_of(judging.options), video)
    arrays = {name: rows.numpy() for name, rows in figures.features.items()}
    small = None if figures.small is None else figures.small.numpy()
    return {**vars(figures), "curves": figures.curves.numpy(), "features": arrays, "small": small}


def _unpacked(values: dict[str, Any]) -> "VideoFigures":
    import torch

    from latentloom.evaluation.video_figures import VideoFigures

    tensors = {name: torch.from_numpy(rows) for name, rows in values["features"].items()}
    small = None if values["small"] is None else torch.from_numpy(values["small"])
    curves = torch.from_numpy(values["curves"])
    return VideoFigures(**{**values, "curves": curves, "features": tensors, "small": small})


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one CPU thread within the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
