"""``VideoLDMPipeline``: a stack behind diffusers' calling conventions, with the names AnimateDiff and SVD use.

Thin: checking, sampling and decoding are the stages'; here are only lists of prompts, output types and folders.
"""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.outputs import BaseOutput
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from latentloom.align import TemporalLayers
from latentloom.diffusion.sampler import num_evaluations
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.text import warn_about_losses
from latentloom.stack import Stack
from latentloom.stack_folder import IMAGE_MEMBERS, StackInfo, default_info
from latentloom.stages.decoding import decode_frames
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import MAX_FRAMES, ClipRequest, check_count, per_clip
from latentloom.stages.sampling import size_factor

TEMPORAL_MEMBERS = ("temporal", "decoder_temporal", "temporal_text_encoder")
OUTPUT_TYPES = ("pil", "np", "pt", "latent")

PipelineCallback = Callable[["VideoLDMPipeline", int, Tensor, dict[str, Tensor]], dict[str, Tensor] | None]
"""diffusers' ``callback_on_step_end(pipe, step, timestep, {"latents": ...})``; may return ``{"latents": ...}``."""


@dataclass
class VideoLDMPipelineOutput(BaseOutput):
    """``frames``, one entry per clip: lists of PIL images, or ``b t H W 3`` numpy, ``b t 3 H W`` torch, in [0, 1]."""

    frames: Any


class VideoLDMPipeline(DiffusionPipeline, StableDiffusionMixin, StableDiffusionLoraLoaderMixin):
    """Text to video with an image LDM and its temporal layers.

    ``from_pretrained`` takes a stack folder or the name of an embedded stack. The scheduler may be exchanged by
    ``from_config``; LoRA weights load into the image model; offloading and the autoencoder's slicing and tiling work as
    in diffusers.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"
    # hooks call the temporal layers one by one, so that offloading cannot see when they are needed
    _exclude_from_cpu_offload = ["temporal"]  # noqa: RUF012 (diffusers reads a class attribute)
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: PreTrainedTokenizerBase
    unet: UNet2DConditionModel
    scheduler: SchedulerMixin
    temporal: TemporalLayers
    decoder_temporal: TemporalLayers | None
    temporal_text_encoder: CLIPTextModel | None
    _optional_components = ("decoder_temporal", "temporal_text_encoder")

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: PreTrainedTokenizerBase,
        unet: UNet2DConditionModel,
        scheduler: SchedulerMixin,
        temporal: TemporalLayers,
        decoder_temporal: TemporalLayers | None = None,
        temporal_text_encoder: CLIPTextModel | None = None,
        info: StackInfo | None = None,
    ) -> None:
        """Members under diffusers' names.

        Args:
            decoder_temporal: temporal layers of the decoder; without them each frame is decoded alone.
            temporal_text_encoder: what the temporal cross-attention reads; None is the same ``text_encoder``.
            info: the defaults of a call, Stable Diffusion's where None.
        """
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            temporal=temporal,
            decoder_temporal=decoder_temporal,
            temporal_text_encoder=temporal_text_encoder,
        )
        self.info = info or default_info("VideoLDMPipeline", unet.config, vae.config)
        self._source = Stack(self.info)  # what else its folder held is saved with it

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        *,
        dtype: torch.dtype | None = None,
        torch_dtype: torch.dtype | None = None,
        **members: Any,
    ) -> Self:
        """Load a stack, as ``Stack.load`` does; nothing is downloaded and no code in the folder is run.

        Args:
            pretrained_model_name_or_path: the folder, or ``"drive-small"``.
            dtype: of the networks, float32 by default; ``torch_dtype`` is its older name.
            members: ``unet=``, ``scheduler=``, ``temporal=``, ... to be used instead of the folder's.

        Raises:
            ValueError: whatever ``Stack.load`` refuses, an unknown option, or a stack without key-frame layers.
        """
        if unknown := sorted(members.keys() - {*IMAGE_MEMBERS, *TEMPORAL_MEMBERS}):
            known = ", ".join(("dtype", *TEMPORAL_MEMBERS, *IMAGE_MEMBERS))
            raise ValueError(f"from_pretrained does not take {unknown[0]!r}; expected {known}")
        source = pretrained_model_name_or_path
        stack = Stack.load(
            source if isinstance(source, str) else Path(source), dtype=dtype or torch_dtype or torch.float32
        )
        layers = members.get("temporal") or stack.keyframe_layers
        if layers is None:
            raise ValueError(f"{source} is an image model without temporal layers; give temporal=")
        loaded = {name: members.get(name) or getattr(stack, name) for name in IMAGE_MEMBERS}
        decoder = members.get("decoder_temporal") or stack.autoencoder.decoder_layers
        loaded |= {"temporal_text_encoder": members.get("temporal_text_encoder") or stack.temporal_text_encoder}
        pipeline = cls(**loaded, temporal=layers, decoder_temporal=decoder, info=stack.info)
        pipeline._source = stack
        return pipeline

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write a stack folder that ``from_pretrained``, ``Stack.load`` and ``StableDiffusionPipeline`` load.

        Raises:
            ValueError: the folder exists and is not empty, or weights are not finite.
        """
        members = {name: x for name, x in self.components.items() if name != "temporal" and x is not None}
        own = self.temporal is self._source.keyframe_layers
        layers = {self._source.keyframe_set if own else "keyframes": self.temporal}
        self._source.replace(self.info, **members, temporal=layers).save(Path(save_directory))

    def temporal_layers(self, name: str) -> TemporalLayers:
        """The layers of the key frames, as stages ask for them. Raises ``ValueError`` for another name."""
        if name != "keyframes":
            raise ValueError(f"a VideoLDMPipeline has no {name} layers, only those of key frames; use Stack.load")
        return self.temporal

    @property
    def execution_device(self) -> torch.device:
        """Where the networks compute, also when they are offloaded."""
        return self._execution_device

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | list[str] | None = None,
        num_videos_per_prompt: int = 1,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Float[Tensor, "b t c h w"] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: PipelineCallback | None = None,
        decode_chunk_size: int | None = None,
        fps: float | None = None,
        temporal_strength: float = 1.0,
    ) -> VideoLDMPipelineOutput | tuple[Any]:
        """Make one clip per prompt, one after the other: each has the bits it would have alone.

        Args:
            prompt: one, or a list; ``num_videos_per_prompt`` clips of each.
            num_frames, height, width, num_inference_steps, guidance_scale, fps: the stack's own where None; ranges as
                in ``ClipRequest``. Guidance 1 is the conditional model, 0 the unconditional one.
            generator: one, drawn from clip after clip, or one per clip.
            latents: unit Gaussian noise to start from, frames before channels.
            output_type: ``pil``, ``np``, ``pt`` or ``latent`` (``b t c h w``).
            decode_chunk_size: frames decoded at once, 8 where None.
            temporal_strength: 0 (independent images) to 1 (as learnt).

        Raises:
            ValueError: a setting out of range; says which and what is expected. Nothing is allocated before.
        """
        changes = {
            "num_frames": num_frames,
            "height": height,
            "width": width,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "fps": fps,
        }
        changes = {name: value for name, value in changes.items() if value is not None}
        requests = self._requests(prompt, negative_prompt, num_videos_per_prompt, temporal_strength, changes)
        generators = per_clip("generator", generator, len(requests))
        noises = per_clip("latents", None if latents is None else list(latents.split(1)), len(requests))
        decode = self._decoder(output_type, decode_chunk_size)

        clips = [
            decode(self._sample(request, source, noise, eta, callback_on_step_end))
            for request, source, noise in zip(requests, generators, noises, strict=True)
        ]
        self.maybe_free_model_hooks()
        frames = _stacked(clips)
        return VideoLDMPipelineOutput(frames=frames) if return_dict else (frames,)

    def _requests(
        self,
        prompt: str | list[str],
        negative_prompt: str | list[str] | None,
        num_videos_per_prompt: int,
        temporal_strength: float,
        changes: dict[str, Any],
    ) -> list[ClipRequest]:
        """One checked request per clip."""
        check_count("num_videos_per_prompt", num_videos_per_prompt, MAX_FRAMES)
        prompts = list(prompt) if isinstance(prompt, list | tuple) else [prompt]
        if not prompts:
            raise ValueError("prompt is an empty list, expected a string or a list of at least one")
        negatives = per_clip("negative_prompt", negative_prompt or "", len(prompts))
        requests = [
            self.info.request(text, negative_prompt=negative, temporal_strength=temporal_strength, **changes)
            for text, negative in zip(prompts, negatives, strict=True)
        ]
        warn_about_losses(self.tokenizer, [*prompts, *negatives])
        for request in requests:
            request.check_size(size_factor(self))
        return [request for request in requests for _ in range(num_videos_per_prompt)]

    def _sample(
        self,
        request: ClipRequest,
        generator: torch.Generator | None,
        noise: Tensor | None,
        eta: float,
        user_callback: PipelineCallback | None,
    ) -> Tensor:
        """One clip, with diffusers' progress bar and callback."""
        num_steps = num_evaluations(self.scheduler, request.num_inference_steps)
        with self.progress_bar(total=num_steps) as bar:  # pyright: ignore[reportCallIssue] (a decorator hides it)

            def callback(index: int, timestep: Tensor, latents: Tensor) -> Tensor | None:
                bar.update()
                told = user_callback(self, index, timestep, {"latents": latents}) if user_callback is not None else None
                return (told or {}).get("latents")

            return generate_keyframes(
                self, request, generator=generator, latents=noise, eta=eta, callback_on_step_end=callback
            )

    def _decoder(self, output_type: str, chunk_size: int | None) -> Callable[[Tensor], Any]:
        """Latents of one clip to what ``output_type`` asks for."""
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type is {output_type!r}, expected one of {', '.join(OUTPUT_TYPES)}")
        chunk = 8 if chunk_size is None else chunk_size
        check_count("decode_chunk_size", chunk, MAX_FRAMES)
        if output_type == "latent":
            return lambda latents: latents
        autoencoder = VideoAutoencoder(self.vae, self.decoder_temporal)
        if output_type == "pil":
            return lambda latents: [Image.fromarray(f.numpy()) for f in decode_frames(autoencoder, latents, chunk)]

        def unit_range(latents: Tensor) -> Tensor:
            return autoencoder.decode(latents, chunk).float().div(2).add(0.5).clamp(0, 1)

        if output_type == "pt":
            return unit_range
        return lambda latents: unit_range(latents).movedim(2, -1).cpu().numpy()


def _stacked(clips: list[Any]) -> Any:
    if isinstance(clips[0], Tensor):
        return torch.cat(clips)
    return np.concatenate(clips) if isinstance(clips[0], np.ndarray) else clips
