"""``VideoLDMPipeline``: a stack behind diffusers' calling conventions, with the names AnimateDiff and SVD use.

Thin: checking, sampling and decoding are the stages'; here are only lists of prompts, output types and folders.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from torch import Tensor, nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from latentloom.align import TemporalLayers
from latentloom.diffusion.sampler import num_evaluations
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.text import warn_about_losses
from latentloom.pipeline.members import MEMBERS, NETWORKS, member_dtypes, read_member, stacks_by_dtype
from latentloom.pipeline.steps import Interrupted, PipelineCallback, lora_scale, lora_scaled, told_tensors
from latentloom.stack import Stack
from latentloom.stack_folder import StackInfo, default_info
from latentloom.stages.decoding import decode_frames
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import MAX_FRAMES, ClipRequest, check_count, per_clip
from latentloom.stages.sampling import size_factor

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


@dataclass
class VideoLDMPipelineOutput(BaseOutput):
    """``frames``, one entry per clip: lists of PIL images, or ``b t H W 3`` numpy, ``b t 3 H W`` torch, in [0, 1]."""

    frames: Any


class VideoLDMPipeline(DiffusionPipeline, StableDiffusionMixin, StableDiffusionLoraLoaderMixin):
    """Text to video with an image LDM and its temporal layers.

    ``from_pretrained`` takes a stack folder or the name of an embedded stack. The scheduler may be exchanged by
    ``from_config``; LoRA weights load into the image model; offloading and the autoencoder's slicing and tiling work as
    in diffusers. So does ``DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)``.
    """

    model_cpu_offload_seq = "text_encoder->temporal_text_encoder->unet->vae"
    # hooks call the temporal layers one by one, so that offloading cannot see when they are needed
    _exclude_from_cpu_offload = ["temporal", "decoder_temporal"]  # noqa: RUF012 (diffusers reads a class attribute)
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: PreTrainedTokenizerBase
    unet: UNet2DConditionModel
    scheduler: SchedulerMixin
    temporal: TemporalLayers | None
    decoder_temporal: TemporalLayers | None
    temporal_text_encoder: CLIPTextModel | None
    # the temporal layers too: ``model_index.json`` must not name them, or stock pipelines would ask for latentloom
    _optional_components = [*NETWORKS]  # noqa: RUF012 (diffusers adds a list)

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: PreTrainedTokenizerBase,
        unet: UNet2DConditionModel,
        scheduler: SchedulerMixin,
        temporal: TemporalLayers | None,
        decoder_temporal: TemporalLayers | None = None,
        temporal_text_encoder: CLIPTextModel | None = None,
        info: StackInfo | None = None,
    ) -> None:
        """Members under diffusers' names.

        Args:
            temporal: the layers that make key frames; without them only a folder's can follow (``register_to_config``).
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
        self._has_info = info is not None
        self._interrupt = False
        self._num_timesteps = 0

    def register_to_config(self, **values: Any) -> None:
        """As diffusers has it; told the folder, its last step in loading one, it adds what only latentloom knows of.

        Raises:
            ValueError: as ``from_pretrained``.
        """
        super().register_to_config(**values)
        source = values.get("_name_or_path")
        if source is None or self.temporal is not None:
            return
        networks = {name: getattr(self, name) for name in NETWORKS.values()}
        dtypes = (network.dtype for network in networks.values())
        stacks = {dtype: stack.replace(**networks) for dtype, stack in stacks_by_dtype(source, dtypes).items()}
        self._source = stacks[self.unet.dtype]
        self.info = self.info if self._has_info else self._source.info
        for name, of in NETWORKS.items():
            member = getattr(self, name) or read_member(stacks[networks[of].dtype], name, source)
            if member is not None:
                self.register_modules(**{name: member.to(networks[of].device)})

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        *,
        dtype: torch.dtype | Mapping[str, torch.dtype] | None = None,
        torch_dtype: torch.dtype | Mapping[str, torch.dtype] | None = None,
        **members: Any,
    ) -> Self:
        """Load a stack, as ``Stack.load`` does; nothing is downloaded and no code in the folder is run.

        Args:
            pretrained_model_name_or_path: the folder, or ``"drive-small"``.
            dtype: of the networks, float32 by default, or of each by name, ``default`` for those without: temporal
                layers have that of the network they are on. ``torch_dtype`` is its older name.
            members: ``unet=``, ``scheduler=``, ``temporal=``, ... to be used instead of the folder's.

        Raises:
            ValueError: whatever ``Stack.load`` refuses, an unknown option or dtype, a stack without key-frame layers.
        """
        if unknown := sorted(members.keys() - {*MEMBERS}):
            raise ValueError(f"from_pretrained does not take {unknown[0]!r}; expected dtype, {', '.join(MEMBERS)}")
        dtypes, source = member_dtypes(dtype or torch_dtype or torch.float32), pretrained_model_name_or_path
        stacks = stacks_by_dtype(source, dtypes.values())
        loaded = {name: members.get(name) or read_member(stacks[dtypes[name]], name, source) for name in dtypes}
        pipeline = cls(**loaded, info=stacks[dtypes["unet"]].info)
        pipeline._source = stacks[dtypes["unet"]]
        return pipeline

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write a stack folder that ``from_pretrained``, ``Stack.load`` and ``StableDiffusionPipeline`` load.

        Raises:
            ValueError: the folder exists and is not empty, weights are not finite, or LoRA layers are on the networks.
        """
        if any(getattr(network, "peft_config", None) for network in (self.unet, self.text_encoder)):
            raise ValueError("LoRA layers are on the networks: call unload_lora_weights(), or fuse_lora() before it")
        members = {name: x for name, x in self.components.items() if name != "temporal" and x is not None}
        own = self.temporal is self._source.keyframe_layers
        layers = {self._source.keyframe_set if own else "keyframes": self.temporal}
        self._source.replace(self.info, **members, temporal=layers).save(Path(save_directory))

    def temporal_layers(self, name: str) -> TemporalLayers:
        """The layers of the key frames, as stages ask for them. Raises ``ValueError`` for another name."""
        if name != "keyframes":
            raise ValueError(f"a VideoLDMPipeline has no {name} layers, only those of key frames; use Stack.load")
        if self.temporal is None:
            raise ValueError("the pipeline has no temporal layers; make it with temporal=")
        return self.temporal

    def bring(self, *networks: nn.Module) -> None:
        """Nothing: a pipeline's networks are moved by diffusers' own hooks."""

    @property
    def execution_device(self) -> torch.device:
        """Where the networks compute, also when they are offloaded."""
        return self._execution_device

    @property
    def num_timesteps(self) -> int:
        """Denoising steps of the clip in progress, as a callback may want to know."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether a callback has set ``_interrupt``: the clip in progress is then shown as it is, no other begun."""
        return self._interrupt

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
        cross_attention_kwargs: Mapping[str, float] | None = None,
        callback_on_step_end: PipelineCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
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
            cross_attention_kwargs: ``{"scale": 0.5}`` halves what LoRA layers do; nothing else is known.
            callback_on_step_end: called after each step, may return other latents; setting ``pipe._interrupt`` to True
                ends the call with the latents as they are, and without the clips that were not begun.
            callback_on_step_end_tensor_inputs: what it is given, of ``_callback_tensor_inputs``.
            decode_chunk_size: frames decoded at once, 8 where None.
            temporal_strength: 0 (independent images) to 1 (as learnt).

        Raises:
            ValueError: a setting out of range; says which and what is expected. Nothing is allocated before.
        """
        changes = {"num_frames": num_frames, "height": height, "width": width, "fps": fps}
        changes |= {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
        changes = {name: value for name, value in changes.items() if value is not None}
        requests = self._requests(prompt, negative_prompt, num_videos_per_prompt, temporal_strength, changes)
        generators = per_clip("generator", generator, len(requests))
        noises = per_clip("latents", None if latents is None else list(latents.split(1)), len(requests))
        decode = self._decoder(output_type, decode_chunk_size)
        told = told_tensors(callback_on_step_end, callback_on_step_end_tensor_inputs, self._callback_tensor_inputs)
        scale = lora_scale(cross_attention_kwargs)

        sample = partial(self._sample, eta=eta, user_callback=callback_on_step_end, told=told)
        self._interrupt = False
        frames = _stacked(list(self._clips(zip(requests, generators, noises, strict=True), sample, decode, scale)))
        self.maybe_free_model_hooks()
        return VideoLDMPipelineOutput(frames=frames) if return_dict else (frames,)

    def _clips(
        self,
        asked: Iterable[tuple[ClipRequest, Any, Any]],
        sample: Callable[..., Tensor],
        decode: Callable[[Tensor], Any],
        scale: float,
    ) -> Iterator[Any]:
        """Each clip, decoded; none more once a callback has interrupted."""
        for request, generator, noise in asked:
            if self._interrupt:
                return
            with lora_scaled(scale, self.unet, self.text_encoder):
                latents = sample(request, generator, noise)
            yield decode(latents)

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
        told: Sequence[str],
    ) -> Tensor:
        """One clip, with diffusers' progress bar and callback; as far as it is made where that one interrupts."""
        self._num_timesteps = num_evaluations(self.scheduler, request.num_inference_steps)
        with self.progress_bar(total=self._num_timesteps) as bar:  # pyright: ignore[reportCallIssue] (decorators hide it)

            def callback(index: int, timestep: Tensor, latents: Tensor) -> Tensor:
                bar.update()
                tensors = {"latents": latents}
                if user_callback is not None:
                    answer = user_callback(self, index, timestep, {name: tensors[name] for name in told})
                    latents = (answer or {}).get("latents", latents)
                if self._interrupt:
                    raise Interrupted(latents)
                return latents

            try:
                return generate_keyframes(
                    self, request, generator=generator, latents=noise, eta=eta, callback_on_step_end=callback
                )
            except Interrupted as interruption:
                return interruption.latents

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
