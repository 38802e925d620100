"""Keys and values of the text are made once per clip, and the result is that of making them for every frame."""

import pytest
import torch
from peft import LoraConfig
from tests.small_networks import awake, awake_video, clip_inputs, small_unet

from latentloom.align import TemporalLayers, attach
from latentloom.backbones.unet import text_projections
from latentloom.layers.layer_set import LayerSet


def rows_of(video, **options) -> list[int]:
    """Rows of text that each projection saw in one call."""
    seen = []
    handles = [
        projection.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
        for projection in text_projections(video.network)
    ]
    sample, times, text = clip_inputs(batch=2, num_frames=3)
    with torch.no_grad():
        video(sample, times, text, **options)
    for handle in handles:
        handle.remove()
    return seen


def test_a_projection_sees_one_text_per_clip():
    video = awake_video()
    seen = rows_of(video)
    assert seen and set(seen) == {2}


@pytest.mark.parametrize("option", [{"alpha": 1.0}, {"temporal_strength": 0.0}])
def test_where_the_image_model_must_stay_bit_for_bit_it_sees_one_per_frame(option):
    assert set(rows_of(awake_video(), **option)) == {6}


def test_the_video_is_that_of_a_text_for_every_frame(monkeypatch):
    video = awake_video()
    sample, times, text = clip_inputs(batch=2, num_frames=3)
    with torch.no_grad():
        once = video(sample, times, text).sample
        for projection in text_projections(video.network):
            projection._forward_pre_hooks.clear()
            projection._forward_hooks.clear()
        every = video(sample, times, text).sample
    torch.testing.assert_close(once, every, atol=1e-6, rtol=1e-5)
    assert not torch.equal(once[0], once[1])


def test_detached_the_projections_are_stock_and_a_lora_loaded_later_works():
    unet = small_unet()
    layers = awake(TemporalLayers.for_network(unet, LayerSet.text()))
    video = attach(unet, layers)
    sample, times, text = clip_inputs(batch=2, num_frames=3)
    before = video(sample, times, text).sample
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_k", "to_v"]))
    torch.testing.assert_close(video(sample, times, text).sample, before, atol=1e-6, rtol=1e-5)
    video.detach()
    assert not any(x._forward_hooks or x._forward_pre_hooks for x in unet.modules())
