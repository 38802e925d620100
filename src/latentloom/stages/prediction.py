"""Prediction: the next frames of a clip from its last ones, again and again (paper, Sec. 3.2).

The first call is given one frame (S = 1), every further one the last two (S = 2) of what was made, so that motion goes
on; each adds what it was not given. Several futures are several seeds. Latents only; decoding is another stage.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.diffusion.known_frames import KnownFrames
from latentloom.diffusion.sampler import StepCallback
from latentloom.seeds import Stream, generator_of
from latentloom.stages.journal import Remember, make_anew
from latentloom.stages.request import ClipRequest, check_count
from latentloom.stages.sampling import VideoModel, sample_aligned

Numbers = Mapping[str, Sequence[float]]
"""Name to one value per frame: ``steering`` (-1 full left to 1 full right), ``speed`` (metres a second)."""


def predict_frames(
    model: VideoModel,
    request: ClipRequest,
    given: Float[Tensor, "1 s c h w"],
    *,
    at: Sequence[int] | None = None,
    numbers: Numbers | None = None,
    generator: torch.Generator | None = None,
    callback_on_step_end: StepCallback | None = None,
) -> Float[Tensor, "1 t c h w"]:
    """Latents of the request's clip, of which some frames are ``given`` and come back bit for bit.

    Args:
        request: the whole clip; ``num_frames`` counts the given ones. Below a ``strength`` of 1 the new frames begin as
            the first guess of the layers under noise (``layers.guess``), instead of as noise.
        given: latents of S frames, 1 <= S < ``num_frames`` (paper: 1 or 2).
        at: which frames of the clip they are, counted from 0: ``(0, num_frames - 1)`` pins both ends. None: the first
            ones, which is what prediction layers are trained on.
        numbers: ego motion, one value per frame of the clip; a future can be steered by it.

    Raises:
        ValueError: nothing or everything is given, places that do not fit, numbers that do not, or a model without
            prediction layers.
    """
    count = given.shape[1]
    places = range(count) if at is None else list(at)
    if len(set(places)) != count:
        raise ValueError(f"{count} frames are given for the places {list(places)}: expected one place for each")
    if not 1 <= count < request.num_frames:
        raise ValueError(
            f"{count} frames are given for a clip of {request.num_frames}: expected at least 1, and fewer than the clip"
        )
    known = KnownFrames.at(places, given, request.num_frames)  # refuses places outside the clip
    told = _checked(numbers or {}, request.num_frames)
    return sample_aligned(
        model,
        "prediction",
        request,
        known=known,
        numbers={name: torch.tensor([list(values)], dtype=torch.float32) for name, values in told.items()},
        generator=generator,
        callback=callback_on_step_end,
    )


def roll_out(
    model: VideoModel,
    request: ClipRequest,
    start: Float[Tensor, "1 s c h w"],
    num_frames: int,
    *,
    overlap: int = 2,
    seed: int = 0,
    numbers: Numbers | None = None,
    remember: Remember = make_anew,
    callback_on_step_end: StepCallback | None = None,
) -> Iterator[Float[Tensor, "1 _ c h w"]]:
    """``num_frames`` latents, as they come: ``start`` first, then what each window adds.

    Only the last ``overlap`` frames are kept, so memory does not grow with the length. Window i draws from a generator
    of its own, of (seed, i).

    Args:
        request: one window, of as many frames as in training; each but the first adds ``request.num_frames - overlap``.
        start: latents of the first frames; of more than ``overlap`` the last ones are given to the first window.
        num_frames: of the whole, ``start`` included.
        overlap: S of all windows but the first, 1 or 2 in the paper.
        numbers: ego motion, one value per frame of the whole.
        remember: called with ("prediction", i, make) for window i (``journal``).

    Raises:
        ValueError: an overlap that leaves nothing to make, or what ``predict_frames`` raises.
    """
    check_count("overlap", overlap, request.num_frames - 1)
    steering = _checked(numbers or {}, num_frames)

    def window(index: int, given: Tensor, first: int) -> Tensor:
        return predict_frames(
            model,
            request,
            given,
            numbers={name: _part(values, first, request.num_frames) for name, values in steering.items()},
            generator=generator_of(seed, Stream.PREDICTION, index),
            callback_on_step_end=callback_on_step_end,
        )

    start = start.cpu()
    yield start[:, :num_frames]
    made, last, index = start.shape[1], start[:, -overlap:], 0
    while made < num_frames:
        clip = remember("prediction", index, partial(window, index, last, made - last.shape[1]))
        new = clip[:, last.shape[1] :][:, : num_frames - made]
        yield new
        made, last, index = made + new.shape[1], clip[:, -overlap:], index + 1


def _checked(numbers: Numbers, num_frames: int) -> Numbers:
    for name, values in numbers.items():
        if len(values) != num_frames:
            raise ValueError(f"{name} lists {len(values)} values for {num_frames} frames; give one per frame")
    return numbers


def _part(values: Sequence[float], first: int, count: int) -> Sequence[float]:
    """``count`` values from ``first`` on; the last one goes on where the sequence ends within the window."""
    part = list(values[first : first + count])
    return part + [part[-1]] * (count - len(part))
