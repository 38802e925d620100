"""The latent upsampler: Stable Diffusion's x4 upscaler (paper, Sec. 3.4 and 4.2; Rombach et al. 2022).

Stock parts as ``StableDiffusionUpscalePipeline`` has them: the UNet denoises latents of the large frame, which lie on
the grid of the small one, beside the small frame itself; the noise level of that is the class label; text guides. Its
autoencoder halves pixels twice (f = 4). Temporal layers attach to ``unet`` as anywhere. Not here: noise on the small
frames (``diffusion.augmentation``), portions and tiles (``stages.upsampling``).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float, Int, Num, UInt8
from torch import Tensor, nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from latentloom.align import Aligned
from latentloom.conditions import Conditions
from latentloom.diffusion.guidance import guided
from latentloom.diffusion.objective import target
from latentloom.diffusion.sampler import Predict, denoise
from latentloom.diffusion.schedule import NoiseSchedule, check_prediction_type
from latentloom.layers.layer_set import LayerSet
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.nearby_attention import attending_nearby
from latentloom.models.text import encode_text
from latentloom.models.upsampling import Upsampling, UpsamplingDefaults
from latentloom.shapes import fold_frames, to_pixels, unfold_frames

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "low_res_scheduler")
"""The folders of the upscaler as diffusers writes it."""


class LatentUpsampler(nn.Module):
    """Stable Diffusion's x4 upscaler (``upsampling.Upsampler``)."""

    defaults = UpsamplingDefaults(num_inference_steps=75, noise_level=20, guidance_scale=9.0)  # the stock pipeline's
    layer_set = LayerSet.text()

    def __init__(
        self,
        *,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: PreTrainedTokenizerBase,
        scheduler: Any,
        low_res_scheduler: Any,
    ) -> None:
        """The parts under diffusers' names.

        Raises:
            ValueError: a UNet that does not take the latents of ``vae`` beside a small frame.
        """
        super().__init__()
        self.unet, self.vae, self.text_encoder = unet, vae, text_encoder
        self.tokenizer, self.scheduler, self.low_res_scheduler = tokenizer, scheduler, low_res_scheduler
        self.autoencoder = VideoAutoencoder(vae)
        self.decoder_reach: int | None = None  # of ``attending_nearby``
        self.schedule = NoiseSchedule.from_scheduler(low_res_scheduler)
        if unet.config["in_channels"] != self.channels + 3 or unet.config["num_class_embeds"] is None:
            raise ValueError(
                f"the UNet takes {unet.config['in_channels']} channels and {unet.config['num_class_embeds']} noise"
                f" levels; an upscaler takes {self.channels} of latents beside 3 of a small frame, whose level it knows"
            )

    @property
    def parts(self) -> dict[str, Any]:
        """The networks, tokenizer and schedulers under the names of ``PARTS``."""
        return {name: getattr(self, name) for name in PARTS}

    @property
    def factor(self) -> int:
        """Large pixels per small one along each side: that of its autoencoder."""
        return self.autoencoder.factor

    @property
    def channels(self) -> int:
        """Of its latents."""
        return self.vae.config["latent_channels"]

    @property
    def device(self) -> torch.device:
        """Of the UNet."""
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the UNet."""
        return self.unet.dtype

    @property
    def size_multiple(self) -> int:
        """Small frames must have sides of a multiple of this many pixels."""
        return 2 ** (len(self.unet.config["block_out_channels"]) - 1)

    @property
    def receptive_radius(self) -> None:
        """Its norms and its attention look at the whole frame."""
        return None

    def encoded(self, prompts: Sequence[str]) -> Float[Tensor, "b n d"]:
        """Text for both cross-attentions."""
        return encode_text(self.tokenizer, self.text_encoder, prompts, self.device).to(self.dtype)

    def predict(
        self,
        state: Float[Tensor, "b t c h w"],
        timestep: Num[Tensor, "*times"],
        small: Float[Tensor, "b t 3 h w"],
        levels: Num[Tensor, " b"],
        video: Aligned | None = None,
        prompts: Sequence[str] | None = None,
    ) -> Float[Tensor, "b t c h w"]:
        """What the scheduler's ``prediction_type`` asks for; without ``video``, the aligned ``unet``, frame by frame.

        Args:
            state: noisy latents at the step ``timestep``, one for all or one per clip.
            small: noisy at the step ``levels`` of each clip, in [-1, 1].
            prompts: one per clip; None is the empty one.
        """
        with torch.no_grad():
            text = self.encoded([""] * len(state) if prompts is None else prompts)
        return self._answer(state, timestep, small, levels, text, video)

    def guided(self, video: Aligned | None, prompt: str, negative_prompt: str, guidance_scale: float) -> Upsampling:
        """``predict`` under classifier-free guidance, whose text is encoded once."""
        untold, told = (Conditions(text=self.encoded([text])) for text in (negative_prompt, prompt))

        def predict(state: Tensor, timestep: Tensor, small: Tensor, levels: Tensor) -> Tensor:
            def network(latents: Tensor, step: Tensor, conditions: Conditions) -> Tensor:
                copies = len(conditions) // len(small)
                frames, labels = torch.cat([small] * copies), torch.cat([levels] * copies)
                return self._answer(latents, step, frames, labels, conditions.text, video)

            return guided(network, untold, (guidance_scale, told))(state, timestep)

        return predict

    def error(
        self,
        made: Float[Tensor, "b t c h w"],
        state: Float[Tensor, "b t c h w"],
        noise: Float[Tensor, "b t c h w"],
        timesteps: Int[Tensor, " b"],
        levels: Num[Tensor, " b"],
    ) -> Float[Tensor, "b t c h w"]:
        """Of the prediction, in the terms of the scheduler's ``prediction_type``."""
        kind = check_prediction_type(self.scheduler.config["prediction_type"])
        schedule = NoiseSchedule.from_scheduler(self.scheduler)
        return made.float() - target(state, noise, timesteps, schedule, kind)

    def sample(
        self, predict: Predict, noise: Float[Tensor, "b t c h w"], num_inference_steps: int
    ) -> Float[Tensor, "b t c h w"]:
        """From unit noise to clean latents: where the scheduler's walk ends."""
        return denoise(predict, noise, self.scheduler, num_inference_steps)

    def state_of(self, large: Float[Tensor, "b t 3 H W"]) -> Float[Tensor, "b t c h w"]:
        """Large frames as latents, in the autoencoder's own dtype: they are what training aims at."""
        with torch.autocast(self.device.type, enabled=False):
            return self.autoencoder.encode(large, chunk_size=1)

    def pixels_of(self, state: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t 3 H W"]:
        """Latents as large frames, decoded one by one: memory is that of a frame.

        In float32 where float16 would overflow, as the stock pipeline does.
        """
        overflows = self.vae.dtype == torch.float16 and self.vae.config["force_upcast"]
        if overflows:
            nn.Module.to(self.vae, torch.float32)
        with attending_nearby(self.vae, self.decoder_reach):
            pixels = self.autoencoder.decode(state, 1)
        if overflows:
            nn.Module.to(self.vae, torch.float16)
        return pixels

    @property
    def kept_bytes(self) -> int:
        """Of the latents, for each small pixel."""
        return self.channels * self.dtype.itemsize

    def kept(self, state: Float[Tensor, "1 t c h w"]) -> Float[Tensor, "t c h w"]:
        """Latents: a sixth of the bytes of their pixels, and the next portion goes on from them without loss."""
        return state[0].cpu()

    def known(self, kept: Float[Tensor, "t c h w"]) -> Float[Tensor, "1 t c h w"]:
        """The latents themselves."""
        return kept[None].to(self.device, self.dtype)

    def shown(self, kept: Float[Tensor, "t c h w"]) -> Iterator[UInt8[Tensor, "H W 3"]]:
        """The frames, each decoded when it is asked for."""
        for latents in self.known(kept).split(1, 1):
            yield to_pixels(self.pixels_of(latents)[0, 0]).cpu()

    def _answer(
        self, state: Tensor, timestep: Tensor, small: Tensor, levels: Tensor, text: Tensor, video: Aligned | None
    ) -> Tensor:
        given, labels = torch.cat([state, small.to(state)], 2), levels.round().long()
        times = torch.as_tensor(timestep, device=state.device).reshape(-1).expand(len(state))
        if video is not None:
            return video(given, times, text, class_labels=labels).sample
        frames = given.shape[1]
        times, labels, text = (x.repeat_interleave(frames, 0) for x in (times, labels, text))
        return unfold_frames(self.unet(fold_frames(given), times, text, class_labels=labels).sample, frames)
