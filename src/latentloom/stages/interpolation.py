"""Interpolation: three new frames between each two, at two rates with one model (paper, Sec. 3.3).

K frames become 4 (K - 1) + 1, and again: 8 -> 29 -> 113. The frames that are given stay as they are, bit for bit, so
that windows over a long sequence meet exactly in the frame they share. Latents only.
"""

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.diffusion.known_frames import KnownFrames
from latentloom.diffusion.sampler import StepCallback
from latentloom.seeds import Stream, generator_of
from latentloom.stages.journal import Remember, make_anew
from latentloom.stages.request import ClipRequest
from latentloom.stages.sampling import VideoModel, sample_aligned

FACTOR = 4
RATES = (0, 1)
"""The passes: 0 from key frames (paper: 1.875 to 7.5 fps), 1 from what those became (7.5 to 30 fps)."""


def interpolated_count(num_frames: int, passes: int = 1) -> int:
    """Frames after ``passes`` interpolations of ``num_frames``: ``4 (K - 1) + 1`` each."""
    return FACTOR**passes * (num_frames - 1) + 1


def interpolate_frames(
    model: VideoModel,
    request: ClipRequest,
    latents: Iterable[Float[Tensor, "1 _ c h w"]],
    *,
    rate: int,
    seed: int = 0,
    remember: Remember = make_anew,
    callback_on_step_end: StepCallback | None = None,
) -> Iterator[Float[Tensor, "1 _ c h w"]]:
    """``4 (k - 1) + 1`` latents through the ``k`` given ones, as they come; one frame stays one frame.

    Memory does not grow with the length. Window i draws from a generator of its own, of (seed, rate, i).

    Args:
        request: one window, of as many frames as in training, 4 n + 1; windows share the frame in which they meet.
            ``fps`` is the rate of the result. Below a ``strength`` of 1 the new frames begin as linear mixtures of
            their neighbours under noise, instead of as noise.
        latents: the given frames in order, in pieces of any length (``roll_out``, another pass, or ``[tensor]``).
        rate: the pass, 0 or 1 (``RATES``).
        remember: called with ("interpolation-RATE", i, make) for window i (``journal``).

    Raises:
        ValueError: another rate, a window of another form, or a model without interpolation layers.
    """
    if rate not in RATES:
        raise ValueError(f"rate is {rate}, expected 0 (from key frames) or 1 (from the frames of the first pass)")
    if request.num_frames % FACTOR != 1 or request.num_frames == 1:
        raise ValueError(
            f"a window of {request.num_frames} frames cannot be interpolated: expected 4 n + 1, such as 17"
        )
    for index, keys in enumerate(_windows(latents, (request.num_frames - 1) // FACTOR)):
        if index == 0:
            yield keys[:, :1]
        if keys.shape[1] > 1:
            generator = generator_of(seed, Stream.INTERPOLATION, rate, index)
            window = partial(_between, model, request, keys, rate, generator, callback_on_step_end)
            yield remember(interpolation_name(rate), index, window)[:, 1:]


def interpolation_name(rate: int) -> str:
    """What a pass is called in the journal."""
    return f"interpolation-{rate}"


def _windows(pieces: Iterable[Tensor], steps: int) -> Iterator[Tensor]:
    """Runs of ``steps + 1`` frames of which neighbours share one; the last may be shorter."""
    held: Tensor | None = None
    started = False
    for piece in (piece.cpu() for piece in pieces):
        held = piece if held is None else torch.cat([held, piece], 1)
        while held.shape[1] > steps:
            yield held[:, : steps + 1]
            held, started = held[:, steps:], True
    if held is not None and (held.shape[1] > 1 or not started):
        yield held


def _between(
    model: VideoModel,
    request: ClipRequest,
    keys: Float[Tensor, "1 k c h w"],
    rate: int,
    generator: torch.Generator,
    callback: StepCallback | None,
) -> Float[Tensor, "1 t c h w"]:
    num_frames = interpolated_count(keys.shape[1])
    known = KnownFrames.at(range(0, num_frames, FACTOR), keys, num_frames)
    return sample_aligned(
        model,
        "interpolation",
        request.of_length(num_frames),
        known=known,
        numbers={"rate": torch.tensor([float(rate)])},
        generator=generator,
        callback=callback,
    )
