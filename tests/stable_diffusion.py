"""Stable Diffusion's layouts at tiny size with random weights, as its pipeline of diffusers writes them."""

from pathlib import Path
from typing import Literal

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionUpscalePipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

Version = Literal["1.5", "2.1"]
LETTERS = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
"""The 256 bytes as CLIP's tokenizer writes them."""


def stable_diffusion(version: Version, seed: int = 0) -> StableDiffusionPipeline:
    """Four levels, f = 8, four latent channels; 2.1 has linear projections, heads of one size and v-prediction."""
    torch.manual_seed(seed)
    second = version == "2.1"
    tokenizer, width = _tokenizer(), 48 if second else 32
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        hidden_act="gelu" if second else "quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=width,
        attention_head_dim=[2, 4, 4, 4] if second else 8,
        use_linear_projection=second,
        upcast_attention=second,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
    )
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    kind = DDIMScheduler if second else PNDMScheduler
    own = {"prediction_type": "v_prediction", "clip_sample": False} if second else {"skip_prk_steps": True}
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text).eval(),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=kind(**noise, set_alpha_to_one=False, **own),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _tokenizer() -> CLIPTokenizer:
    special = ["<|startoftext|>", "<|endoftext|>"]
    merges = [("r", "o"), ("ro", "a"), ("roa", "d</w>")]
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *("".join(pair) for pair in merges), *special]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=merges, model_max_length=77)


def saved(version: Version, folder: Path, **options: object) -> StableDiffusionPipeline:
    """The pipeline, written to ``folder`` by diffusers."""
    pipeline = stable_diffusion(version)
    pipeline.save_pretrained(folder, **options)
    return pipeline


def upscaler(seed: int = 0) -> StableDiffusionUpscalePipeline:
    """Stable Diffusion's x4 upscaler: seven channels in, noise levels as classes, f = 4; three levels, not four."""
    base = stable_diffusion("2.1", seed)
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=7,
        out_channels=4,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        only_cross_attention=(True, True, False),
        cross_attention_dim=48,
        attention_head_dim=8,
        use_linear_projection=True,
        num_class_embeds=1000,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.08333,
        sample_size=64,
    )
    noise = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "scaled_linear", "clip_sample": False}
    pipeline = StableDiffusionUpscalePipeline(
        vae=vae.eval(),
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=unet.eval(),
        low_res_scheduler=DDPMScheduler(**noise),
        scheduler=DDIMScheduler(**noise, prediction_type="v_prediction", set_alpha_to_one=False),
        max_noise_level=350,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
