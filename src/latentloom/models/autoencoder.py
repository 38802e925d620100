"""The autoencoder between pixels and latents: encoder per frame, decoder per frame or with time (paper, Sec. 3.1.1).

A stock diffusers ``AutoencoderKL``; this module adds the video shapes, chunks over time, temporal layers in the
decoder, and the folding of latent statistics into its weights.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from jaxtyping import Float
from torch import Tensor, nn

from latentloom.align import TemporalLayers, attach, check_transfer
from latentloom.models.digest import digest_of_tensors
from latentloom.shapes import fold_frames, unfold_frames


@dataclass(frozen=True, kw_only=True)
class AutoencoderSpec:
    """The shape of a KL autoencoder with ``len(widths) - 1`` halvings (4 widths: f = 8)."""

    widths: tuple[int, ...]
    latent_channels: int = 8
    layers_per_block: int = 1
    norm_groups: int = 8

    def build(self, size: tuple[int, int]) -> AutoencoderKL:
        """A freshly initialised autoencoder; ``size`` (height, width in pixels) is only recorded."""
        levels = len(self.widths)
        types: dict[str, Any] = {  # diffusers annotates these as tuples of one
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
            "block_out_channels": self.widths,
        }
        return AutoencoderKL(
            **types,
            layers_per_block=self.layers_per_block,
            latent_channels=self.latent_channels,
            norm_num_groups=self.norm_groups,
            sample_size=max(size),
            scaling_factor=1.0,
        )


def posterior(vae: AutoencoderKL, images: Float[Tensor, "n 3 H W"]) -> DiagonalGaussianDistribution:
    """The distribution of latents ``n c h w`` of each image."""
    return cast(AutoencoderKLOutput, vae.encode(images)).latent_dist


def decode_images(vae: AutoencoderKL, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 H W"]:
    """Latents, as the network takes them (unscaled), to images in about [-1, 1]."""
    return cast(DecoderOutput, vae.decode(cast(torch.FloatTensor, latents))).sample


class VideoAutoencoder(nn.Module):
    """An image autoencoder that reads and writes video: frame by frame, or with temporal layers in its decoder.

    Latents are the posterior mean times ``vae.config.scaling_factor``, as diffusers' pipelines expect them.
    """

    def __init__(self, vae: AutoencoderKL, decoder_layers: TemporalLayers | None = None):
        """Without ``decoder_layers`` each frame is decoded alone (paper, Sec. 3.1.1). They act during ``decode`` only.

        Raises:
            ValueError: layers made for another autoencoder.
        """
        super().__init__()
        self.vae = vae
        self.decoder_layers = decoder_layers
        if decoder_layers is not None:
            check_transfer(decoder_layers, vae)

    @property
    def factor(self) -> int:
        """Pixels per latent position along each side, f in the paper."""
        return 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    @property
    def latent_channels(self) -> int:
        """Channels per latent position."""
        return self.vae.config["latent_channels"]

    @property
    def reach(self) -> int:
        """The most frames on each side that one temporal layer of the decoder looks at."""
        layers = () if self.decoder_layers is None else self.decoder_layers.layers.values()
        return max((getattr(layer, "halo", None) or 0 for layer in layers), default=0)

    @torch.no_grad()
    def encode(self, frames: Float[Tensor, "b t 3 H W"], chunk_size: int = 16) -> Float[Tensor, "b t c h w"]:
        """Pixels in [-1, 1] to latents.

        Raises:
            ValueError: height or width is not a multiple of `factor`.
        """
        height, width = frames.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(f"frames of {height}x{width} pixels: both sides must be multiples of {self.factor}")
        images = fold_frames(frames).to(self.vae.dtype)
        latents = [posterior(self.vae, chunk).mode() for chunk in images.split(chunk_size)]
        return unfold_frames(torch.cat(latents) * self.vae.config["scaling_factor"], frames.shape[1])

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b t c h w"], chunk_size: int | None = None) -> Float[Tensor, "b t 3 H W"]:
        """Latents to pixels in about [-1, 1] (not clamped); ``chunk_size`` frames at once, None = all.

        Chunks change nothing but rounding and memory, with decoder layers as without.

        Raises:
            ValueError: ``chunk_size`` is below 1.
        """
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size {chunk_size}: expected at least 1 frame")
        return torch.cat(list(self.decode_stream(latents.split(chunk_size or latents.shape[1], 1))), 1)

    @torch.no_grad()
    def decode_stream(
        self, chunks: Iterable[Float[Tensor, "b _ c h w"]], before: Callable[[], None] = lambda: None
    ) -> Iterator[Float[Tensor, "b _ 3 H W"]]:
        """One batch of clips that comes in chunks, to pixels as they can be made; memory does not grow with length.

        ``before`` is called each time the decoder is about to work.
        """
        unscaled = (chunk.to(self.vae.dtype) / self.vae.config["scaling_factor"] for chunk in chunks)
        if self.decoder_layers is None:
            for chunk in unscaled:
                before()
                yield unfold_frames(decode_images(self.vae, fold_frames(chunk)), chunk.shape[1])
            return
        video = attach(self.vae, self.decoder_layers)
        try:
            yield from video.decode_stream(unscaled, before=before)
        finally:
            video.detach()


def encoder_digest(vae: AutoencoderKL) -> str:
    """SHA-256 of all that latents depend on: the encoder's tensors and the scaling factor."""
    tensors = {n: t for n, t in vae.state_dict().items() if n.startswith(("encoder.", "quant_conv."))}
    return digest_of_tensors({**tensors, "scaling_factor": torch.tensor(vae.config["scaling_factor"])})


@torch.no_grad()
def fold_statistics(vae: AutoencoderKL, mean: Float[Tensor, "c"], std: Float[Tensor, "c"]) -> None:
    """Make latents of zero mean and unit variance per channel by rewriting the two 1x1 convolutions beside them.

    z' = (z - mean) / std is linear, so it folds into ``quant_conv`` (last of the encoder) and its inverse into
    ``post_quant_conv`` (first of the decoder); ``scaling_factor`` becomes 1. Stock diffusers needs to know nothing of
    channel statistics.
    """
    assert vae.quant_conv is not None and vae.post_quant_conv is not None
    encode, decode = vae.quant_conv, vae.post_quant_conv
    assert encode.bias is not None and decode.bias is not None
    channels = len(mean)
    encode.bias[:channels] -= mean
    encode.bias[:channels] /= std
    encode.weight[:channels] /= std[:, None, None, None]
    encode.bias[channels:] -= 2 * std.log()  # log-variance of z' = log-variance of z - 2 log std
    decode.bias += decode.weight[:, :, 0, 0] @ mean
    decode.weight *= std[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0)
