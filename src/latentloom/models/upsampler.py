"""The pixel upsampler: diffusion of the large frame, given the small one (paper, Sec. 3.4; cascaded diffusion).

A stock ``UNet2DConditionModel`` class works on the grid of the small frame: the noisy large frame comes as cells of
``factor x factor`` pixels in the channels, beside the small frame, whose noise level is the class label. Its norms run
over channels only, so that a pixel depends on a neighbourhood: tiles then equal the whole. Temporal layers attach to
``unet`` as anywhere.

What the network answers is scaled around the enlarged small frame (preconditioning of Karras et al. 2022, on the
difference to it): a network narrower than its 48 noisy channels cannot carry their noise through to a prediction of v,
and one that answers nothing already enlarges. Not here: noise augmentation (``diffusion.augmentation``), portions and
tiles (``stages.upsampling``).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float, Int, Num, UInt8
from torch import Tensor, nn

from latentloom.align import Aligned
from latentloom.diffusion.sampler import Predict, last_prediction
from latentloom.diffusion.schedule import NoiseSchedule, noise_scheduler
from latentloom.layers.layer_set import LayerSet
from latentloom.layers.norms import PositionGroupNorm
from latentloom.models.upsampling import Upsampling, UpsamplingDefaults
from latentloom.shapes import fold_frames, from_pixels, to_pixels, unfold_frames

FACTORS = (2, 4)
DIFFERENCE = 0.1  # standard deviation of large frames around enlarged small ones, of pixels in [-1, 1]


class PixelUpsampler(ModelMixin, ConfigMixin):
    """The image upsampler (``upsampling.Upsampler``); saved alone, with its factor. It reads no text."""

    _supports_gradient_checkpointing = True
    _group_offload_block_modules = ("unet",)  # there is no ``forward`` that could bring the whole to a device

    defaults = UpsamplingDefaults(num_inference_steps=4, noise_level=0, guidance_scale=1.0)
    layer_set = LayerSet.upsampler()

    @register_to_config
    def __init__(self, factor: int = 4, widths: Sequence[int] = (48, 96), layers_per_block: int = 1, groups: int = 8):
        """``widths`` from the grid of the small frame downward; ``factor`` 2 or 4.

        Raises:
            ValueError: another factor.
        """
        super().__init__()
        if factor not in FACTORS:
            raise ValueError(f"the factor is {factor}, expected one of {FACTORS}")
        self.factor = factor
        self.scheduler = noise_scheduler("sample")
        self.schedule = NoiseSchedule.from_scheduler(self.scheduler)
        types: dict[str, Any] = {
            "down_block_types": ("DownBlock2D",) * len(widths),
            "up_block_types": ("UpBlock2D",) * len(widths),
            "block_out_channels": tuple(widths),
        }
        self.unet = UNet2DConditionModel(
            **types,
            in_channels=3 * factor**2 + 3,
            out_channels=3 * factor**2,
            layers_per_block=layers_per_block,
            mid_block_type="UNetMidBlock2D",  # no attention: positions are local, sizes are free
            norm_num_groups=groups,
            class_embed_type="timestep",
        )
        _use_local_norms(self.unet)

    @property
    def channels(self) -> int:
        """Of its cells."""
        return 3 * self.factor**2

    @property
    def size_multiple(self) -> int:
        """Small frames must have sides of a multiple of this many pixels."""
        return 2 ** (len(self.config["widths"]) - 1)

    @property
    def receptive_radius(self) -> int:
        """Small pixels on each side that one depends on in one evaluation, rounded up to ``size_multiple``."""
        levels, layers = len(self.config["widths"]), self.config["layers_per_block"]
        convolutions = 2 * layers + 2 * (layers + 1)  # of the resnets on the way down and up
        radius = 3 + (convolutions + 2) * sum(2**level for level in range(levels)) + 2 * 2 ** (levels - 1)
        return -(-radius // self.size_multiple) * self.size_multiple

    def predict(
        self,
        cells: Float[Tensor, "b t c h w"],
        timestep: Num[Tensor, "*times"],
        small: Float[Tensor, "b t 3 h w"],
        levels: Num[Tensor, " b"],
        video: Aligned | None = None,
        prompts: Sequence[str] | None = None,
    ) -> Float[Tensor, "b t c h w"]:
        """Clean cells (``prediction_type`` sample); without ``video``, the aligned ``unet``, each frame for itself.

        Args:
            cells: noisy, at the step ``timestep`` of ``schedule``, one for all or one per clip.
            small: noisy at the step ``levels`` of each clip.
            prompts: not read.
        """
        times = torch.as_tensor(timestep, device=cells.device).reshape(-1).expand(len(cells))
        scale = self.scales(times.round().long(), levels)
        enlarged = to_cells(enlarge(small, self.factor), self.factor)
        noisy = cells - (scale.signal * enlarged).to(cells.dtype)
        answer = self._answer(torch.cat([(scale.input * noisy).to(cells.dtype), small], 2), times, levels, video)
        return (enlarged + scale.skip * noisy + scale.output * answer).to(cells.dtype)

    def guided(self, video: Aligned | None, prompt: str, negative_prompt: str, guidance_scale: float) -> Upsampling:
        """``predict``; there is no text to be guided by."""
        return partial(self.predict, video=video)

    def error(
        self,
        made: Float[Tensor, "b t c h w"],
        state: Float[Tensor, "b t c h w"],
        noise: Float[Tensor, "b t c h w"],
        timesteps: Int[Tensor, " b"],
        levels: Num[Tensor, " b"],
    ) -> Float[Tensor, "b t c h w"]:
        """Of predicted cells, in the scale of what the bare network says."""
        return (made.float() - state) / self.scales(timesteps, levels).output

    def sample(
        self, predict: Predict, noise: Float[Tensor, "b t c h w"], num_inference_steps: int
    ) -> Float[Tensor, "b t c h w"]:
        """From unit noise to clean cells: the last answer, because grain of a last step would be seen."""
        return last_prediction(predict, noise, self.scheduler, num_inference_steps)

    def state_of(self, large: Float[Tensor, "b t 3 H W"]) -> Float[Tensor, "b t c h w"]:
        """Large frames as cells."""
        return to_cells(large, self.factor)

    def pixels_of(self, state: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t 3 H W"]:
        """Cells as large frames."""
        return from_cells(state, self.factor)

    @property
    def kept_bytes(self) -> int:
        """Of the pixels, for each small one."""
        return 3 * self.factor**2

    def kept(self, state: Float[Tensor, "1 t c h w"]) -> UInt8[Tensor, "t H W 3"]:
        """Pixels, on the CPU."""
        return to_pixels(self.pixels_of(state)[0]).cpu()

    def known(self, kept: UInt8[Tensor, "t H W 3"]) -> Float[Tensor, "1 t c h w"]:
        """The cells of pixels."""
        return self.state_of(from_pixels(kept)[None].to(self.device, self.dtype))

    def shown(self, kept: UInt8[Tensor, "t H W 3"]) -> Iterator[UInt8[Tensor, "H W 3"]]:
        """The pixels themselves."""
        yield from kept

    def scales(self, timesteps: Int[Tensor, " b"], levels: Num[Tensor, " b"]) -> "Scales":
        """The preconditioning of each clip, ``b 1 1 1 1``."""
        signal, noise = self.schedule.amplitudes(timesteps, timesteps.float())
        _, blur = self.schedule.amplitudes(levels.round().long(), levels.float())  # of the small frames
        variance = DIFFERENCE**2 + (blur * (levels > 0)) ** 2
        total = signal**2 * variance + noise**2
        values = (signal, total.rsqrt(), signal * variance / total, noise * (variance / total).sqrt())
        return Scales(*(x.view(-1, 1, 1, 1, 1) for x in values))

    def _answer(self, given: Tensor, times: Tensor, levels: Tensor, video: Aligned | None) -> Tensor:
        """What the bare network says."""
        if video is not None:
            return video(given, times, None, class_labels=levels).sample
        frames = given.shape[1]
        times, labels = (x.repeat_interleave(frames) for x in (times, levels))
        return unfold_frames(self.unet(fold_frames(given), times, None, class_labels=labels).sample, frames)


class Scales(NamedTuple):
    """``z - signal * enlarged`` goes in times ``input``; it times ``skip`` and the answer times ``output`` come out."""

    signal: Tensor
    input: Tensor
    skip: Tensor
    output: Tensor


def to_cells(frames: Float[Tensor, "b t 3 H W"], factor: int) -> Float[Tensor, "b t c h w"]:
    """Large frames on the grid of the small ones: ``factor^2`` pixels of each colour in the channels."""
    return unfold_frames(F.pixel_unshuffle(fold_frames(frames), factor), frames.shape[1])


def from_cells(cells: Float[Tensor, "b t c h w"], factor: int) -> Float[Tensor, "b t 3 H W"]:
    """The inverse of ``to_cells``."""
    return unfold_frames(F.pixel_shuffle(fold_frames(cells), factor), cells.shape[1])


def enlarge(frames: Float[Tensor, "b t 3 h w"], factor: int) -> Float[Tensor, "b t 3 H W"]:
    """Small frames with pixels between them mixed linearly."""
    large = F.interpolate(fold_frames(frames).float(), scale_factor=factor, mode="bilinear").to(frames.dtype)
    return unfold_frames(large, frames.shape[1])


def downsampled(frames: Float[Tensor, "b t 3 H W"], factor: int) -> Float[Tensor, "b t 3 h w"]:
    """Small frames by averaging areas: what the upsampler is trained to undo."""
    return unfold_frames(F.avg_pool2d(fold_frames(frames), factor), frames.shape[1])


def _use_local_norms(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.GroupNorm:
                setattr(parent, name, PositionGroupNorm(child.num_groups, child.num_channels, child.eps))
