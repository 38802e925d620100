"""What the text-driven stages share: the networks they need, and one sampling run with text guidance.

Text is encoded once per clip, in the way ``StableDiffusionPipeline`` does, so that equal noise gives equal images.
"""

from typing import Any, Protocol

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from latentloom.align import TemporalLayers
from latentloom.diffusion.guidance import Network, with_text_guidance
from latentloom.diffusion.sampler import StepCallback, clip_noise, denoise
from latentloom.models.text import encode_text, warn_about_losses
from latentloom.stages.request import ClipRequest


class VideoModel(Protocol):
    """The members of a stack that generation uses; ``Stack`` and ``VideoLDMPipeline`` both are one."""

    @property
    def unet(self) -> UNet2DConditionModel: ...
    @property
    def vae(self) -> AutoencoderKL: ...
    @property
    def text_encoder(self) -> CLIPTextModel: ...
    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...
    @property
    def scheduler(self) -> Any: ...
    @property
    def keyframe_layers(self) -> TemporalLayers | None: ...
    @property
    def execution_device(self) -> torch.device: ...  # where the networks compute; offloaded ones lie elsewhere


def size_factor(model: VideoModel) -> int:
    """Both sides of a clip must be multiples of this many pixels: the autoencoder's factor times the UNet's."""
    levels = len(model.vae.config["block_out_channels"]) + len(model.unet.config["block_out_channels"])
    return 2 ** (levels - 2)


def latent_shape(model: VideoModel, request: ClipRequest) -> tuple[int, int, int, int, int]:
    """The latents of the request, ``1 t c h w``.

    Raises:
        ValueError: the size is not a multiple of ``size_factor``.
    """
    request.check_size(size_factor(model))
    factor = 2 ** (len(model.vae.config["block_out_channels"]) - 1)
    channels = model.unet.config["in_channels"]
    return 1, request.num_frames, channels, request.height // factor, request.width // factor


@torch.no_grad()
def sample_clip(
    model: VideoModel,
    network: Network,
    request: ClipRequest,
    *,
    noise: Float[Tensor, "1 t c h w"] | None = None,
    generator: torch.Generator | None = None,
    eta: float = 0.0,
    callback: StepCallback | None = None,
) -> Float[Tensor, "1 t c h w"]:
    """Denoise one clip with ``network`` under the request's text.

    Raises:
        ValueError: ``noise`` of another shape than the request, or latents that are not finite in the end.
    """
    shape = latent_shape(model, request)
    if noise is None:
        noise = clip_noise(shape, generator, model.execution_device, model.unet.dtype)
    elif noise.shape != shape:
        raise ValueError(f"latents are {tuple(noise.shape)}, this request needs {shape} (1 t c h w)")
    warn_about_losses(model.tokenizer, [request.prompt, request.negative_prompt])
    conditional, unconditional = (_encode(model, text) for text in (request.prompt, request.negative_prompt))
    predict = with_text_guidance(network, unconditional, conditional, request.guidance_scale)
    latents = denoise(
        predict,
        noise.to(model.execution_device, model.unet.dtype),
        model.scheduler,
        request.num_inference_steps,
        eta=eta,
        generator=generator,
        callback=callback,
    )
    if not bool(torch.isfinite(latents).all()):
        raise ValueError(
            f"the latents are not finite after sampling in {model.unet.dtype}: the weights are damaged, or the dtype"
            " is too narrow for them; try float32"
        )
    return latents


def _encode(model: VideoModel, prompt: str) -> Float[Tensor, "1 n d"]:
    return encode_text(model.tokenizer, model.text_encoder, [prompt], model.execution_device).to(model.unet.dtype)
