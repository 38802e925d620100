"""The pixel upsampler: diffusion of the large frame, given the small one (paper, Sec. 3.4; cascaded diffusion).

A stock ``UNet2DConditionModel`` class works on the grid of the small frame: the noisy large frame comes as cells of
``factor x factor`` pixels in the channels, beside the small frame, whose noise level is the class label. Its norms run
over channels only, so that a pixel depends on a neighbourhood: tiles then equal the whole. Temporal layers attach to
``unet`` as anywhere. Not here: noise augmentation (``training.upsampler``), portions and tiles (``stages.upsampling``).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float, Num
from torch import Tensor, nn

from latentloom.align import Aligned
from latentloom.layers.norms import PositionGroupNorm
from latentloom.shapes import fold_frames, unfold_frames

FACTORS = (2, 4)
Upsampling = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Noisy cells ``b t c h w``, a time step, small frames ``b t 3 h w``, their noise levels ``b``: predicted cells."""


class PixelUpsampler(ModelMixin, ConfigMixin):
    """The image upsampler; saved alone, with its factor."""

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
    def size_multiple(self) -> int:
        """Small frames must have sides of a multiple of this many pixels."""
        return 2 ** (len(self.config["widths"]) - 1)

    @property
    def receptive_radius(self) -> int:
        """Small pixels on each side that one depends on in one evaluation, rounded up to ``size_multiple``."""
        levels, layers = len(self.config["widths"]), self.config["layers_per_block"]
        convolutions = 2 * layers + 2 * (layers + 1)  # of the resnets on the way down and up
        radius = 2 + (convolutions + 2) * sum(2**level for level in range(levels)) + 2 * 2 ** (levels - 1)
        return -(-radius // self.size_multiple) * self.size_multiple

    def predict(
        self,
        cells: Float[Tensor, "b t c h w"],
        timestep: Num[Tensor, "*times"],
        small: Float[Tensor, "b t 3 h w"],
        levels: Num[Tensor, " b"],
        video: Aligned | None = None,
    ) -> Float[Tensor, "b t c h w"]:
        """One evaluation on clips; without ``video``, the aligned ``unet``, each frame stands for itself."""
        given = torch.cat([cells, small], 2)
        if video is not None:
            return video(given, timestep, None, class_labels=levels).sample
        frames = cells.shape[1]
        times = timestep.reshape(-1).expand(len(cells)).repeat_interleave(frames)
        labels = levels.repeat_interleave(frames)
        images = self.unet(fold_frames(given), times, None, class_labels=labels).sample
        return unfold_frames(images, frames)


def to_cells(frames: Float[Tensor, "b t 3 H W"], factor: int) -> Float[Tensor, "b t c h w"]:
    """Large frames on the grid of the small ones: ``factor^2`` pixels of each colour in the channels."""
    return unfold_frames(F.pixel_unshuffle(fold_frames(frames), factor), frames.shape[1])


def from_cells(cells: Float[Tensor, "b t c h w"], factor: int) -> Float[Tensor, "b t 3 H W"]:
    """The inverse of ``to_cells``."""
    return unfold_frames(F.pixel_shuffle(fold_frames(cells), factor), cells.shape[1])


def downsampled(frames: Float[Tensor, "b t 3 H W"], factor: int) -> Float[Tensor, "b t 3 h w"]:
    """Small frames by averaging areas: what the upsampler is trained to undo."""
    return unfold_frames(F.avg_pool2d(fold_frames(frames), factor), frames.shape[1])


def _use_local_norms(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.GroupNorm:
                setattr(parent, name, PositionGroupNorm(child.num_groups, child.num_channels, child.eps))
