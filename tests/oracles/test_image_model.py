"""Against diffusers: at alpha = 1 each step of a denoising loop equals the stock UNet's, in fp32 and bf16."""

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from tests.small_networks import TEXT_WIDTH, awake, awake_video, clip_inputs, small_unet

from latentloom.align import TemporalLayers, attach
from latentloom.layers.layer_set import LayerSet


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scheduler_class", [DDIMScheduler, EulerDiscreteScheduler])
def test_denoising_at_alpha_one_equals_the_stock_network(scheduler_class, dtype):
    video, stock = awake_video().to(dtype), small_unet().to(dtype)
    scheduler, other = scheduler_class(), scheduler_class()
    sample, _, text = (x.to(dtype) if x.is_floating_point() else x for x in clip_inputs())
    images, rows = sample.flatten(0, 1), text.repeat_interleave(3, 0)
    scheduler.set_timesteps(3)
    other.set_timesteps(3)
    with torch.no_grad():
        for step in scheduler.timesteps:
            scaled, scaled_images = scheduler.scale_model_input(sample, step), other.scale_model_input(images, step)
            sample = scheduler.step(video(scaled, step, text, alpha=1.0).sample, step, sample).prev_sample
            images = other.step(stock(scaled_images, step, rows).sample, step, images).prev_sample
    assert torch.equal(sample.flatten(0, 1), images)


def test_class_labels_and_added_conditions_reach_the_network_once_per_frame():
    torch.manual_seed(0)
    config = {
        "block_out_channels": (16, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "cross_attention_dim": TEXT_WIDTH,
        "attention_head_dim": 4,
        "num_class_embeds": 10,  # as the x4 upscaler
        "addition_embed_type": "text_time",  # as SDXL
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 6 * 4 + 16,
    }
    unet = UNet2DConditionModel(**config).eval()
    video = attach(unet, awake(TemporalLayers.for_network(unet, LayerSet.text())))
    sample, timesteps, text = clip_inputs()
    labels = torch.tensor([3, 8])
    added = {"text_embeds": torch.randn(2, 16), "time_ids": torch.randn(2, 6)}
    out = video(sample, timesteps, text, class_labels=labels, added_cond_kwargs=added, alpha=1.0).sample
    rows = {name: x.repeat_interleave(3, 0) for name, x in added.items()}
    frames = [x.repeat_interleave(3, 0) for x in (timesteps, text, labels)]
    video.detach()
    stock = unet(sample.flatten(0, 1), frames[0], frames[1], class_labels=frames[2], added_cond_kwargs=rows).sample
    assert torch.equal(out.flatten(0, 1), stock)
