"""The networks that the benchmarks compare: an image UNet, ours on it, and diffusers' three video UNets.

Equal widths, heads of 64 channels, two layers a block, 77 text tokens of 1024, random weights. Each network is one
``Subject``: how to call it on a clip, and which of its parameters are temporal.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import (
    UNet2DConditionModel,
    UNet3DConditionModel,
    UNetMotionModel,
    UNetSpatioTemporalConditionModel,
)
from torch import Tensor, nn

from latentloom.align import TemporalLayers, attach
from latentloom.backbones.unet import use_matmul_attention
from latentloom.layers.layer_set import LayerSet

TEXT_WIDTH, TEXT_TOKENS, HEAD_WIDTH = 1024, 77, 64


@dataclass(frozen=True, kw_only=True)
class Size:
    """``widths`` of the levels, latent ``height`` x ``width``, ``num_frames`` of the one clip."""

    widths: tuple[int, int, int, int]
    height: int
    width: int
    num_frames: int


SIZES = {
    "S": Size(widths=(64, 128, 256, 256), height=16, width=32, num_frames=16),
    "M": Size(widths=(128, 256, 512, 512), height=32, width=64, num_frames=16),
    "L": Size(widths=(320, 640, 1280, 1280), height=16, width=32, num_frames=8),
}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Inputs: ``latents`` 1 t 4 h w, ``text`` 1 77 1024."""

    latents: Tensor
    text: Tensor

    @classmethod
    def random(cls, size: Size, dtype: torch.dtype) -> "Clip":
        """The same for every subject."""
        generator = torch.Generator().manual_seed(0)
        latents = torch.randn(1, size.num_frames, 4, size.height, size.width, generator=generator)
        text = torch.randn(1, TEXT_TOKENS, TEXT_WIDTH, generator=generator)
        return cls(latents=latents.to(dtype), text=text.to(dtype))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network under test: how to call it on a clip, and the parameters that a temporal training trains."""

    module: nn.Module
    call: Callable[[Clip], Tensor]
    parameters: list[nn.Parameter]


TIME = torch.tensor([500])


def _heads(size: Size) -> tuple[int, ...]:
    return tuple(width // HEAD_WIDTH for width in size.widths)


def _subject(module: nn.Module, call: Callable[[Clip], Tensor], marks: tuple[str, ...]) -> Subject:
    """Freeze all but the parameters whose name holds one of ``marks``."""
    module.eval().requires_grad_(False)
    parameters = [p for name, p in module.named_parameters() if any(mark in name for mark in marks)]
    for parameter in parameters:
        parameter.requires_grad_(True)
    return Subject(module=module, call=call, parameters=parameters)


def image_unet(size: Size, dtype: torch.dtype) -> UNet2DConditionModel:
    """The stock image network."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=size.widths,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=_heads(size),
        use_linear_projection=True,
    )
    return unet.to(dtype)


def image(size: Size, dtype: torch.dtype) -> Subject:
    """The image network on the frames as a batch; trained, its input takes the gradient."""
    unet = image_unet(size, dtype)

    def call(clip: Clip) -> Tensor:
        latents = clip.latents[0].detach().requires_grad_(torch.is_grad_enabled())
        return unet(latents, TIME, clip.text.expand(size.num_frames, -1, -1)).sample

    return _subject(unet, call, ())


def ours(size: Size, dtype: torch.dtype) -> Subject:
    """The image network with the text layer set (the paper's recipe, more parameters than the peers have)."""
    unet = image_unet(size, dtype)
    video = attach(unet, TemporalLayers.for_network(unet, LayerSet.text()).to(dtype))
    return _subject(video, lambda clip: video(clip.latents, TIME, clip.text).sample, ("layers.",))


def ours_with_matmul_attention(size: Size, dtype: torch.dtype) -> Subject:
    """Ours, with the spatial attention of ``use_matmul_attention``."""
    subject = ours(size, dtype)
    use_matmul_attention(subject.module.network)
    return subject


def ours_recomputing_layers(size: Size, dtype: torch.dtype) -> Subject:
    """Ours, temporal layers checkpointed."""
    subject = ours(size, dtype)
    subject.module.enable_gradient_checkpointing(spatial=False)
    return subject


def ours_recomputing_all(size: Size, dtype: torch.dtype) -> Subject:
    """Ours, temporal layers and spatial blocks checkpointed."""
    subject = ours(size, dtype)
    subject.module.enable_gradient_checkpointing()
    return subject


def svd(size: Size, dtype: torch.dtype) -> Subject:
    """Stable Video Diffusion's network."""
    torch.manual_seed(0)
    unet = UNetSpatioTemporalConditionModel(
        in_channels=4,
        block_out_channels=size.widths,
        cross_attention_dim=TEXT_WIDTH,
        num_attention_heads=_heads(size),
        num_frames=size.num_frames,
    ).to(dtype)
    ids = torch.tensor([[6.0, 127.0, 0.02]], dtype=dtype)
    return _subject(unet, lambda clip: unet(clip.latents, TIME, clip.text, ids).sample, ("temporal", "time_"))


def motion(size: Size, dtype: torch.dtype) -> Subject:
    """AnimateDiff's network."""
    torch.manual_seed(0)
    unet = UNetMotionModel(
        block_out_channels=size.widths,
        cross_attention_dim=TEXT_WIDTH,
        num_attention_heads=_heads(size),
        motion_num_attention_heads=_heads(size),
        use_linear_projection=True,
    ).to(dtype)

    def call(clip: Clip) -> Tensor:
        # AnimateDiff takes the text once per frame, the other two once per clip.
        text = clip.text.repeat_interleave(size.num_frames, dim=0)
        return unet(clip.latents.transpose(1, 2), TIME, text).sample

    return _subject(unet, call, ("motion_modules",))


def unet3d(size: Size, dtype: torch.dtype) -> Subject:
    """ModelScope's network."""
    torch.manual_seed(0)
    unet = UNet3DConditionModel(
        block_out_channels=size.widths, cross_attention_dim=TEXT_WIDTH, attention_head_dim=HEAD_WIDTH
    ).to(dtype)
    marks = ("temp_convs", "temp_attentions", "transformer_in")
    return _subject(unet, lambda clip: unet(clip.latents.transpose(1, 2), TIME, clip.text).sample, marks)


Builder = Callable[[Size, torch.dtype], Subject]
FORWARD: dict[str, Builder] = {"image": image, "ours": ours, "SVD": svd, "Motion": motion, "UNet3D": unet3d}
TRAINING: dict[str, Builder] = {
    **FORWARD,
    "ours, matmul attention": ours_with_matmul_attention,
    "ours, layers recomputed": ours_recomputing_layers,
    "ours, all recomputed": ours_recomputing_all,
}
