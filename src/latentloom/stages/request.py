"""What a generation is asked for, checked before anything is allocated; the one place for such checks.

Command line, pipeline and page all build a ``ClipRequest``; a number out of range never reaches a network.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

MAX_PROMPT_CHARACTERS = 10_000
MAX_FRAMES = 1024
MAX_SIDE = 4096
MAX_STEPS = 1000
MAX_GUIDANCE = 100.0
MAX_FPS = 240.0
MAX_CONTEXT_NOISE = 999
# 113 frames of 1280x2048 pixels, the paper's largest clip, are 0.3e9; above this the finished frames alone are 1.6 GB
MAX_CLIP_PIXELS = 2**29


@dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """One clip: text, shape, and how to sample it.

    Attributes:
        prompt: what to show; empty is allowed and means unconditional.
        negative_prompt: what guidance leads away from.
        num_frames: 1 to 1024.
        height, width: pixels, 1 to 4096, multiples of the model's factor.
        num_inference_steps: denoising steps, 1 to 1000.
        guidance_scale: 0 to 100; 1 is the conditional model, 0 the unconditional one.
        temporal_strength: 0 (independent images) to 1 (the alphas as learnt).
        fps: frames per second to show, above 0 to 240; None where the layers do not know it.
        context_guidance_scale: 0 to 100, of the given frames; 1 is the conditional model. With 0, and 0 for
            ``guidance_scale``, the other frames know nothing of them.
        context_noise: diffusion step of the noise on the given frames, 0 (clean) to 999.
        strength: the last share of the denoising walk, above 0 to 1, where a stage has something to begin from.
        attention_distance: frames further apart do not attend to each other, 1 to 1024; None lets all (paper: layers
            that are convolutional in time make more frames than they saw, spec, section 10).

    Raises:
        ValueError: a value of the wrong kind or out of range, with the range; ``frames x height x width`` over 2**29.
    """

    prompt: str
    negative_prompt: str = ""
    num_frames: int
    height: int
    width: int
    num_inference_steps: int = 25
    guidance_scale: float = 2.0
    temporal_strength: float = 1.0
    fps: float | None = None
    context_guidance_scale: float = 1.0
    context_noise: int = 0
    strength: float = 1.0
    attention_distance: int | None = None

    def __post_init__(self) -> None:
        check_prompt("prompt", self.prompt)
        check_prompt("negative_prompt", self.negative_prompt)
        for name, most in (
            ("num_frames", MAX_FRAMES),
            ("height", MAX_SIDE),
            ("width", MAX_SIDE),
            ("num_inference_steps", MAX_STEPS),
        ):
            check_count(name, getattr(self, name), most)
        check_number("guidance_scale", self.guidance_scale, 0.0, MAX_GUIDANCE)
        check_number("context_guidance_scale", self.context_guidance_scale, 0.0, MAX_GUIDANCE)
        check_count("context_noise", self.context_noise, MAX_CONTEXT_NOISE, least=0)
        check_number("temporal_strength", self.temporal_strength, 0.0, 1.0)
        check_number("strength", self.strength, 1e-3, 1.0)
        if self.attention_distance is not None:
            check_count("attention_distance", self.attention_distance, MAX_FRAMES)
        if self.fps is not None:
            check_number("fps", self.fps, 1e-3, MAX_FPS)
        pixels = self.num_frames * self.height * self.width
        if pixels > MAX_CLIP_PIXELS:
            raise ValueError(
                f"{self.num_frames} frames of {self.height}x{self.width} are {pixels} pixels, the limit is"
                f" {MAX_CLIP_PIXELS}; ask for fewer or smaller frames"
            )

    def of_length(self, num_frames: int) -> "ClipRequest":
        """The same for another number of frames."""
        return replace(self, num_frames=num_frames)

    def check_size(self, factor: int) -> None:
        """Refuse a size the model cannot make.

        Raises:
            ValueError: height or width is not a multiple of ``factor`` pixels, with the nearest sizes that are.
        """
        if self.height % factor or self.width % factor:
            height, width = (max(factor, factor * round(side / factor)) for side in (self.height, self.width))
            raise ValueError(
                f"size {self.height}x{self.width} is not a multiple of {factor} pixels, which this model needs;"
                f" nearest: {height}x{width}"
            )


@dataclass(frozen=True, kw_only=True)
class UpsamplingRequest:
    """How frames are made larger.

    Attributes:
        num_inference_steps: denoising steps, 1 to 1000; None, here and below, is the upsampler's own.
        noise_level: diffusion step of the noise put on the small frames, 0 to 999: more hides faults and invents more.
        guidance_scale: of the text, where the upsampler reads it.
        prompt, negative_prompt: that text.
        portion: frames per call; ``overlap`` of them were made by the call before.
        tile: height and width of a tile in small pixels; None takes the frame whole.
        decoder_reach: how far the middle of a latent upsampler's decoder looks (``models.nearby_attention``), in
            latent positions; None is over the whole frame, as it is built.

    Raises:
        ValueError: a value out of range, or an overlap that leaves nothing to make.
    """

    num_inference_steps: int | None = None
    noise_level: int | None = None
    guidance_scale: float | None = None
    prompt: str = ""
    negative_prompt: str = ""
    portion: int = 8
    overlap: int = 2
    tile: tuple[int, int] | None = None
    decoder_reach: int | None = None

    def __post_init__(self) -> None:
        if self.num_inference_steps is not None:
            check_count("num_inference_steps", self.num_inference_steps, MAX_STEPS)
        if self.noise_level is not None:
            check_count("noise_level", self.noise_level, 999, least=0)
        if self.guidance_scale is not None:
            check_number("guidance_scale", self.guidance_scale, 0.0, MAX_GUIDANCE)
        check_count("portion", self.portion, 1024)
        check_count("overlap", self.overlap, self.portion - 1, least=0)
        for side in self.tile or ():
            check_count("tile", side, 1 << 16)
        if self.decoder_reach is not None:
            check_count("decoder_reach", self.decoder_reach, 1 << 16)


def check_prompt(name: str, prompt: Any) -> None:
    """Raise ``ValueError`` unless ``prompt`` is a string of at most 10,000 characters."""
    if not isinstance(prompt, str):
        raise ValueError(f"{name} is a {type(prompt).__name__}, expected a string")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise ValueError(f"{name} has {len(prompt)} characters, at most {MAX_PROMPT_CHARACTERS} are read; shorten it")


def check_count(name: str, value: Any, most: int, *, least: int = 1) -> None:
    """Raise ``ValueError`` unless ``value`` is an integer in ``least``..``most``."""
    try:
        valid = not isinstance(value, bool) and least <= operator.index(value) <= most
    except TypeError:
        valid = False
    if not valid:
        raise ValueError(f"{name} is {_shown(value)}, expected a whole number from {least} to {most}")


def check_number(name: str, value: Any, least: float, most: float) -> None:
    """Raise ``ValueError`` unless ``value`` is a finite number in ``least``..``most``."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not least <= value <= most:
        raise ValueError(f"{name} is {_shown(value)}, expected a number from {least:g} to {most:g}")


def seeded_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device`` started at ``seed`` (0 to 2**63 - 1).

    Raises:
        ValueError: the seed is no such integer.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed is {_shown(seed)}, expected a whole number from 0 to 2**63 - 1")
    return torch.Generator(device).manual_seed(seed)


def per_clip(name: str, value: Any, num_clips: int) -> Sequence[Any]:
    """``value`` for each of ``num_clips`` clips: a list is taken as it is, anything else is repeated.

    Raises:
        ValueError: a list of another length.
    """
    if not isinstance(value, list | tuple):
        return [value] * num_clips
    if len(value) != num_clips:
        raise ValueError(f"{name} lists {len(value)} values for {num_clips} clips; give one, or one per clip")
    return value


def _shown(value: Any) -> str:
    return repr(value)[:40]
