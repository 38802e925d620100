"""When each frame is shown, and which frame is shown at a wanted time. Exact rational arithmetic, no pixels.

Frame rates of real footage vary, and timestamps are late or missing. Frames are therefore picked by presentation time,
never by counting.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

T = TypeVar("T")

MAX_GAP = 60  # seconds one frame may stay; a longer pause would be filled with copies of it
MAX_UNTIMED = 64  # frames in a row without a usable timestamp; they wait in memory for the next good one


def exact_rate(fps: float | int) -> Fraction:
    """A rate as a fraction: 23.976 stays 2997/125, 30000/1001 as a float becomes 30000/1001 again.

    Raises:
        ValueError: not a rate between 0 (excluded) and 1000 frames per second.
    """
    if not 0 < fps <= 1000:
        raise ValueError(f"fps is {fps}, expected a number of frames per second above 0 and at most 1000")
    for denominator in (1001, 1_000_000):
        rate = Fraction(fps).limit_denominator(denominator)
        if abs(rate - Fraction(fps)) <= Fraction(fps) / 10**9:
            return rate
    return Fraction(fps).limit_denominator(10**9)


def presentation_times(stamped: Iterable[tuple[Fraction | None, T]], step: Fraction) -> Iterator[tuple[Fraction, T]]:
    """Give every frame a time, the first one 0; times strictly increase.

    A timestamp counts when it is later than all before it. Frames whose timestamp is missing or late are spread evenly
    between the good ones around them, and ``step`` seconds apart at the two ends.

    Raises:
        ValueError: more than ``MAX_UNTIMED`` frames in a row have no usable timestamp.
    """
    origin: Fraction | None = None
    last: Fraction | None = None
    waiting: list[T] = []
    for stamp, frame in stamped:
        if stamp is None or (last is not None and stamp <= last):
            waiting.append(frame)
            if len(waiting) > MAX_UNTIMED:
                raise ValueError(f"more than {MAX_UNTIMED} frames in a row have no usable timestamp")
            continue
        before = stamp - step * (len(waiting) + 1) if last is None else last
        spacing = (stamp - before) / (len(waiting) + 1)
        for index, late in enumerate((*waiting, frame), start=1):
            moment = before + spacing * index
            origin = moment if origin is None else origin
            yield moment - origin, late
        last, waiting = stamp, []
    after = Fraction(0) if last is None or origin is None else last - origin + step
    for index, late in enumerate(waiting):
        yield after + step * index, late


def resampled(timed: Iterable[tuple[Fraction, T]], rate: Fraction, step: Fraction) -> Iterator[tuple[Fraction, T]]:
    """At each time k / rate the nearest frame (of two equally near the earlier), until nearer to the clip's end.

    The end is one mean frame spacing after the last frame (``step`` for a single frame), so that a clip keeps its
    length and ``rate`` equal to its own changes nothing. A rate above the clip's own repeats frames.

    Raises:
        ValueError: two frames are more than ``MAX_GAP`` seconds apart.
    """
    index, count = 0, 0
    previous: tuple[Fraction, T] | None = None
    for moment, frame in timed:
        if previous is not None and moment - previous[0] > MAX_GAP:
            raise ValueError(f"{float(moment - previous[0]):.0f} s without a frame after {float(previous[0]):.2f} s")
        while previous is not None and 2 * Fraction(index) / rate <= previous[0] + moment:
            yield index / rate, previous[1]
            index += 1
        previous, count = (moment, frame), count + 1
    if previous is None:
        return
    end = previous[0] + (previous[0] / (count - 1) if count > 1 else step)
    while 2 * Fraction(index) / rate <= previous[0] + end and (index / rate < end):
        yield index / rate, previous[1]
        index += 1
