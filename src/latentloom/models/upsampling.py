"""What an upsampler is to the stage that uses it and to its training: pixels or latents, the grid is the small frame's.

Two are known: ``PixelUpsampler``, of the driving stack, and ``LatentUpsampler``, Stable Diffusion's (paper, Sec. 3.4).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float, Num, Shaped, UInt8
from torch import Tensor

from latentloom.align import Aligned
from latentloom.diffusion.sampler import Predict
from latentloom.diffusion.schedule import NoiseSchedule
from latentloom.layers.layer_set import LayerSet

Upsampling = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Noisy state ``b t c h w``, a time step, small frames ``b t 3 h w``, their noise levels ``b``: a prediction."""


@dataclass(frozen=True, kw_only=True)
class UpsamplingDefaults:
    """How an upsampler is used where nobody says otherwise; names as in ``UpsamplingRequest``."""

    num_inference_steps: int
    noise_level: int
    guidance_scale: float


class Upsampler(Protocol):
    """A denoiser of large frames, given small ones.

    Its state of a clip, ``b t c h w``, lies on the grid of the small frames ``b t 3 h w``: ``factor x factor`` pixels
    of each colour, or latents.

    Attributes:
        unet: where temporal layers attach; ``layer_set`` says which.
        scheduler: of the state; ``schedule`` is that of the noise on the small frames.
    """

    @property
    def factor(self) -> int: ...
    @property
    def defaults(self) -> UpsamplingDefaults: ...
    @property
    def layer_set(self) -> LayerSet: ...
    @property
    def scheduler(self) -> Any: ...
    @property
    def schedule(self) -> NoiseSchedule: ...
    @property
    def unet(self) -> UNet2DConditionModel: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def channels(self) -> int:
        """Of the state."""
        ...

    @property
    def size_multiple(self) -> int:
        """Small frames must have sides of a multiple of this many pixels."""
        ...

    @property
    def receptive_radius(self) -> int | None:
        """Small pixels on each side that one depends on in one evaluation; None where it looks at the whole frame."""
        ...

    def predict(
        self,
        state: Float[Tensor, "b t c h w"],
        timestep: Num[Tensor, "*times"],
        small: Float[Tensor, "b t 3 h w"],
        levels: Num[Tensor, " b"],
        video: Aligned | None = None,
        prompts: Sequence[str] | None = None,
        /,
    ) -> Float[Tensor, "b t c h w"]:
        """One answer of the network; ``prompts`` one per clip, where it reads text."""
        ...

    def guided(self, video: Aligned | None, prompt: str, negative_prompt: str, guidance_scale: float) -> Upsampling:
        """``predict`` as sampling calls it, under guidance by text where the upsampler reads any."""
        ...

    def error(
        self,
        made: Float[Tensor, "b t c h w"],
        state: Float[Tensor, "b t c h w"],
        noise: Float[Tensor, "b t c h w"],
        timesteps: Num[Tensor, " b"],
        levels: Num[Tensor, " b"],
    ) -> Float[Tensor, "b t c h w"]:
        """How far an answer is from what it should be, as large at every step."""
        ...

    def sample(
        self, predict: Predict, noise: Float[Tensor, "b t c h w"], num_inference_steps: int
    ) -> Float[Tensor, "b t c h w"]:
        """From unit noise to a clean state."""
        ...

    def state_of(self, large: Float[Tensor, "b t 3 H W"]) -> Float[Tensor, "b t c h w"]:
        """Pixels in [-1, 1] to a clean state."""
        ...

    def pixels_of(self, state: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t 3 H W"]:
        """A clean state to pixels in about [-1, 1]."""
        ...

    @property
    def kept_bytes(self) -> int:
        """Of what is remembered, for each pixel of the small frame."""
        ...

    def kept(self, state: Float[Tensor, "1 t c h w"]) -> Shaped[Tensor, "t ..."]:
        """What is remembered of finished frames, as few bytes as give the same frames again, on the CPU."""
        ...

    def known(self, kept: Shaped[Tensor, "t ..."]) -> Float[Tensor, "1 t c h w"]:
        """The state behind what is remembered."""
        ...

    def shown(self, kept: Shaped[Tensor, "t ..."]) -> Iterator[UInt8[Tensor, "H W 3"]]:
        """The frames behind what is remembered, on the CPU."""
        ...
