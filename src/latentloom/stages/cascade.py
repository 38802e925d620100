"""The whole stack in one stream: key frames, prediction, interpolation (paper, Fig. 2 and Sec. 3.4).

Latents only between the stages, a window at a time: memory does not grow with the length of the video, and whatever is
finished is remembered. Decoding and upsampling take the stream as it comes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from latentloom.diffusion.sampler import StepCallback, num_evaluations
from latentloom.seeds import Stream, seed_of
from latentloom.stages.interpolation import FACTOR, RATES, interpolate_frames, interpolation_name
from latentloom.stages.journal import Remember, make_anew
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.prediction import roll_out
from latentloom.stages.request import ClipRequest, check_count, seeded_generator
from latentloom.stages.sampling import VideoModel

INTERPOLATION_WINDOW = 13


@dataclass(frozen=True, kw_only=True)
class CascadeStage:
    """Clips that one set of temporal layers makes for a video.

    Attributes:
        name: in the journal.
        layers: the set of temporal layers.
        window: one of the clips; the last one may be shorter.
        num_windows: how many there are.
        joins: frames of the finished video that lie across a seam: between the last frame of what was there and the
            first that a window adds, as far apart as later interpolations put them.
    """

    name: str
    layers: str
    window: ClipRequest
    num_windows: int
    joins: Sequence[int]

    @property
    def given(self) -> bool:
        """Whether its windows are given frames, to go on from or to fill between."""
        return self.name != "keyframes"

    @property
    def guidance_scales(self) -> tuple[float, ...]:
        """Of the chain of guidance, the given frames' before the text's."""
        context = (self.window.context_guidance_scale,) if self.given else ()
        return (*context, self.window.guidance_scale)

    def num_evaluations(self, scheduler: Any) -> int:
        """How often a window calls the network; key frames have nothing to begin from but noise."""
        return num_evaluations(scheduler, self.window.num_inference_steps, self.window.strength if self.given else 1.0)


@dataclass(frozen=True, kw_only=True)
class CascadeRequest:
    """A video longer or smoother than one clip.

    Attributes:
        clip: the key frames made from the text: size, sampling, ``fps``; as many frames as in training.
        num_frames: of the finished video. Key frames beyond ``clip.num_frames`` are predicted; what interpolation makes
            beyond ``num_frames`` is dropped (175 frames: 12 key frames, 177, the last 2 dropped).
        prediction: one window of the prediction layers, as many frames as in their training; None is like ``clip``.
        passes: interpolations, 0 to 2: each makes 4 (K - 1) + 1 frames of K.
        interpolation: one window of the interpolation layers, 4 n + 1 frames; None is like ``clip``, of 13. What its
            frames show is decided by those given: without guidance unless asked for. Rates are set pass by pass.
        overlap: frames a predicted window is given of the one before, 1 or 2 in the paper.
        future: which of several continuations of the same first frame; 0 is the first.
        numbers: ego motion, one value per key frame (``steering``, ``speed``).

    Raises:
        ValueError: a count out of range; more passes than rates; numbers that do not fit.
    """

    clip: ClipRequest
    num_frames: int
    passes: int = 0
    prediction: ClipRequest | None = None
    interpolation: ClipRequest | None = None
    overlap: int = 2
    future: int = 0
    numbers: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_count("num_frames", self.num_frames, 10**6)
        if self.passes not in range(len(RATES) + 1):
            raise ValueError(f"{self.passes} interpolations were asked for, expected 0 to {len(RATES)}")

    @property
    def num_keyframes(self) -> int:
        """Key frames of the whole video."""
        return num_keyframes(self.num_frames, self.passes)

    @property
    def predicted(self) -> ClipRequest:
        """One window of the prediction layers."""
        return self.prediction or self.clip

    @property
    def interpolated(self) -> ClipRequest:
        """One window of the interpolation layers."""
        plain = {"guidance_scale": 1.0, "context_guidance_scale": 1.0, "context_noise": 0, "attention_distance": None}
        return self.interpolation or replace(self.clip, num_frames=INTERPOLATION_WINDOW, **plain)

    def stages(self, *, from_frame: bool) -> list[CascadeStage]:
        """What is made, in order; ``from_frame`` says that the first frame is given."""
        later, needed = list[CascadeStage](), self.num_frames
        for level, rate in enumerate(reversed(self.rates)):  # backward: what the last pass does not need is not made
            window = self.interpolating(rate)
            new, spread = window.num_frames - 1, FACTOR**level
            count = -(-(needed - 1) // new)
            needed = min(num_keyframes(self.num_frames, level + 1), count * new // FACTOR + 1)
            joins = _seams(range(new + 1, self.num_frames, new), spread, self.num_frames)
            later.insert(0, _stage(interpolation_name(rate), "interpolation", window, count, joins))
        made, begins = 1 if from_frame else self.first.num_frames, list[int]()
        while made < needed:
            begins.append(made)
            made += self.predicted.num_frames - min(made, self.overlap)
        if begins:
            joins = _seams(begins[1:] if from_frame else begins, FACTOR**self.passes, self.num_frames)
            later.insert(0, _stage("prediction", "prediction", self.predicted, len(begins), joins))
        first = [] if from_frame else [_stage("keyframes", "keyframes", self.first, 1, ())]
        return [*first, *later]

    @property
    def first(self) -> ClipRequest:
        """The key frames that are made from the text."""
        return self.clip.of_length(min(self.clip.num_frames, self.num_keyframes))

    def interpolating(self, rate: int) -> ClipRequest:
        """One window of a pass, whose ``fps`` is that of its result."""
        fps = None if self.fps is None else self.fps / FACTOR ** (RATES[-1] - rate)
        return replace(self.interpolated, fps=fps)

    @property
    def rates(self) -> tuple[int, ...]:
        """The interpolations in order; a single one is the fine one."""
        return RATES[len(RATES) - self.passes :]

    @property
    def fps(self) -> float | None:
        """Its frames per second."""
        return None if self.clip.fps is None else self.clip.fps * FACTOR**self.passes


def _seams(begins: Iterable[int], spread: int, num_frames: int) -> list[int]:
    """Where windows begin, counted in frames of which ``spread`` make one, to frames of the finished video."""
    each = (range((begin - 1) * spread + 1, begin * spread + 1) for begin in begins)
    return [frame for seam in each for frame in seam if frame < num_frames]


def _stage(name: str, layers: str, window: ClipRequest, num_windows: int, joins: Sequence[int]) -> CascadeStage:
    return CascadeStage(name=name, layers=layers, window=window, num_windows=num_windows, joins=joins)


def num_keyframes(num_frames: int, passes: int) -> int:
    """How many frames ``passes`` interpolations begin with to make at least ``num_frames``."""
    return -(-(num_frames - 1) // FACTOR**passes) + 1


def generate_latents(
    model: VideoModel,
    request: CascadeRequest,
    *,
    seed: int = 0,
    start: Float[Tensor, "1 1 c h w"] | None = None,
    remember: Remember = make_anew,
    callback_on_step_end: StepCallback | None = None,
) -> Iterator[Float[Tensor, "1 _ c h w"]]:
    """The video's latents in order, in pieces, as they are made.

    Args:
        start: the first frame, which prediction goes on from; None begins with key frames from the text.
        remember: what is finished is not made again (``Journal.remember``).

    Raises:
        ValueError: a model without the layers that the request needs, or what the stages refuse.
    """
    pieces = _keyframes(model, request, seed, start, remember, callback_on_step_end)
    for rate in request.rates:
        pieces = interpolate_frames(
            model,
            request.interpolating(rate),
            pieces,
            rate=rate,
            seed=seed_of(seed, Stream.FUTURE, request.future),
            remember=remember,
            callback_on_step_end=callback_on_step_end,
        )
    return _first(pieces, request.num_frames)


def _first(pieces: Iterator[Tensor], num_frames: int) -> Iterator[Tensor]:
    """The first ``num_frames`` frames of a stream; nothing is made beyond the piece that holds the last of them."""
    left = num_frames
    while left:
        piece = next(pieces)[:, :left]
        left -= piece.shape[1]
        yield piece


def _keyframes(
    model: VideoModel,
    request: CascadeRequest,
    seed: int,
    start: Tensor | None,
    remember: Remember,
    callback: StepCallback | None,
) -> Iterator[Tensor]:
    if start is None:
        generator = seeded_generator(seed)
        make = partial(generate_keyframes, model, request.first, generator=generator, callback_on_step_end=callback)
        start = remember("keyframes", 0, make)
    if start.shape[1] >= request.num_keyframes:
        yield start[:, : request.num_keyframes].cpu()
        return
    yield from roll_out(
        model,
        request.predicted,
        start,
        request.num_keyframes,
        overlap=request.overlap,
        seed=seed_of(seed, Stream.FUTURE, request.future),
        numbers=request.numbers,
        remember=remember,
        callback_on_step_end=callback,
    )
