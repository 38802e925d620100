"""What the stages share: the networks they need, and one sampling run with guidance by text and by known frames.

Text is encoded once per clip, in the way ``StableDiffusionPipeline`` does, so that equal noise gives equal images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from latentloom.align import TemporalLayers, attach
from latentloom.conditions import Conditions
from latentloom.diffusion.augmentation import noised_context
from latentloom.diffusion.guidance import Link, Network, guided, is_told
from latentloom.diffusion.known_frames import KnownFrames
from latentloom.diffusion.sampler import StepCallback, clip_noise, denoise
from latentloom.diffusion.schedule import NoiseSchedule
from latentloom.models.text import encode_text
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
    def temporal_text_encoder(self) -> CLIPTextModel | None: ...  # of the temporal cross-attention, where it is another
    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...
    @property
    def scheduler(self) -> Any: ...
    @property
    def execution_device(self) -> torch.device: ...  # where the networks compute; offloaded ones lie elsewhere
    def temporal_layers(self, name: str) -> TemporalLayers: ...
    def bring(self, *networks: nn.Module) -> None: ...  # said before these compute, for models that offload


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneTokens:
    """The scene asked for, and one of which nothing is told, from which guidance of ``scale`` leads to it."""

    asked: Float[Tensor, "1 n d"]
    untold: Float[Tensor, "1 n d"]
    scale: float


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
    known: KnownFrames | None = None,
    start: Float[Tensor, "1 t c h w"] | None = None,
    scene: SceneTokens | None = None,
    numbers: Mapping[str, Float[Tensor, "1 *t"]] | None = None,
    noise: Float[Tensor, "1 t c h w"] | None = None,
    generator: torch.Generator | None = None,
    eta: float = 0.0,
    callback: StepCallback | None = None,
    works: nn.Module | None = None,
) -> Float[Tensor, "1 t c h w"]:
    """Denoise one clip with ``network`` under the request's text, around the frames that are known.

    Args:
        known: frames that the result holds as they are; the network is told of them, with context guidance (paper,
            Sec. 3.2), which comes before text guidance. Under scales of 0 for both nothing else knows of them.
        start: what the walk begins from, under noise, where ``request.strength`` is below 1 and known frames are told.
        scene: tokens for the layers that attend to them, with guidance of their own; not together with ``known``.
        numbers: further conditions by name; fps is one of them.
        works: what ``network`` computes with; None is the model's UNet.

    Raises:
        ValueError: ``noise`` or known frames of another shape than the request, or latents not finite in the end.
    """
    shape, device = latent_shape(model, request), model.execution_device
    given = {"latents are": noise, "known frames are": None if known is None else known.latents}
    for name, latents in given.items():
        if latents is not None and latents.shape != shape:
            raise ValueError(f"the {name} {tuple(latents.shape)}, this request needs {shape} (1 t c h w)")
    if noise is None:
        noise = clip_noise(shape, generator, device, model.unet.dtype)
    noise = noise.to(device, model.unet.dtype)
    base, *links = _chain(model, request, known, scene, dict(numbers or {}), generator)
    model.bring(works or model.unet)
    predict = guided(network, base, *links)
    if known is not None and is_told(base, *links):
        predict = known.keeping(predict, noise, model.scheduler)
    else:
        start = None  # a guess by frames that nothing is to be known of
    latents = denoise(
        predict,
        noise,
        model.scheduler,
        request.num_inference_steps,
        start=start,
        strength=1.0 if start is None else request.strength,
        eta=eta,
        generator=generator,
        callback=callback,
    )
    if not bool(torch.isfinite(latents).all()):
        raise ValueError(
            f"latents are not finite after sampling in {model.unet.dtype}: damaged weights, or try float32"
        )
    return latents if known is None else known.kept(latents)


def sample_aligned(
    model: VideoModel,
    name: str,
    request: ClipRequest,
    *,
    known: KnownFrames | None = None,
    numbers: Mapping[str, Float[Tensor, "1 *t"]] | None = None,
    noise: Float[Tensor, "1 t c h w"] | None = None,
    generator: torch.Generator | None = None,
    eta: float = 0.0,
    callback: StepCallback | None = None,
) -> Float[Tensor, "1 t c h w"]:
    """One clip of the image network with the temporal layers ``name`` on it, which are taken off again.

    Raises:
        ValueError: a model without these layers, numbers they do not know, or what ``sample_clip`` raises.
    """
    layers, numbers = model.temporal_layers(name), dict(numbers or {})
    if "fps" in layers.number_names and request.fps is None:
        raise ValueError("these temporal layers were trained with the frame rate of each clip; give fps")
    if unknown := sorted(set(numbers) - set(layers.number_names)):
        names = ", ".join(layers.number_names) or "none"
        raise ValueError(f"the {name} layers take no {unknown[0]}; the numbers they know are {names}")
    device, dtype = model.execution_device, model.unet.dtype
    if known is not None:
        known = KnownFrames(latents=known.latents.to(device, dtype), mask=known.mask.to(device, dtype))
    told, start = {name: values.to(device) for name, values in numbers.items()}, None
    if request.fps is not None:
        told["fps"] = torch.tensor([request.fps], device=device)
    if known is not None and request.strength < 1 and request.temporal_strength > 0:
        model.bring(layers)
        start = layers.first_guess(known.context, told)
    video = attach(model.unet, layers)
    network = partial(
        video.predict, temporal_strength=request.temporal_strength, attention_distance=request.attention_distance
    )
    options: dict[str, Any] = {"noise": noise, "generator": generator, "eta": eta, "callback": callback, "works": video}
    try:
        return sample_clip(model, network, request, known=known, start=start, numbers=told, **options)
    finally:
        video.detach()


def _chain(
    model: VideoModel,
    request: ClipRequest,
    known: KnownFrames | None,
    scene: SceneTokens | None,
    numbers: dict[str, Tensor],
    generator: torch.Generator | None,
) -> tuple[Conditions, *tuple[Link, ...]]:
    """The unconditional end of the guidance, and its links: known frames or a scene, where given, and the text."""
    negative, positive = (_encoded(model, text) for text in (request.negative_prompt, request.prompt))
    base = Conditions(text=negative[0], temporal_text=negative[1], numbers=numbers)
    if scene is not None:
        given = replace(base, temporal_text=scene.asked)
        told = replace(given, text=positive[0])
        return replace(base, temporal_text=scene.untold), (scene.scale, given), (request.guidance_scale, told)
    if known is None:
        return base, (request.guidance_scale, base.with_text(*positive))
    levels = torch.tensor([request.context_noise], device=model.execution_device)
    schedule = NoiseSchedule.from_scheduler(model.scheduler)
    context = noised_context(known.latents, known.mask, levels, schedule, generator)
    given = replace(base, context=context, numbers={**numbers, "context_noise": levels.float()})
    return base, (request.context_guidance_scale, given), (request.guidance_scale, given.with_text(*positive))


def _encoded(model: VideoModel, prompt: str) -> tuple[Float[Tensor, "1 n d"], Float[Tensor, "1 n e"] | None]:
    """For the spatial and, where it reads otherwise, for the temporal cross-attention."""

    def encoded(encoder: CLIPTextModel) -> Tensor:
        model.bring(encoder)
        return encode_text(model.tokenizer, encoder, [prompt], model.execution_device).to(model.unet.dtype)

    temporal = model.temporal_text_encoder
    return encoded(model.text_encoder), None if temporal is None else encoded(temporal)
