"""More frames than in training: what layers see and where they end (paper, Sec. 3.4; spec, section 10)."""

from dataclasses import replace

import pytest
import torch
from tests.small_networks import small_unet

from latentloom.align import TemporalLayers, attach
from latentloom.layers.layer_set import LayerSet
from latentloom.stack_folder import StackInfo


def awake(layer_set: LayerSet):
    torch.manual_seed(0)
    unet = small_unet().eval()
    layers = TemporalLayers.for_network(unet, layer_set)
    with torch.no_grad():
        for name, parameter in layers.named_parameters():
            if "logit" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return unet, attach(unet, layers)


def made(video, unet, frames, **options):
    text = torch.zeros(1, 3, unet.config["cross_attention_dim"])
    with torch.no_grad():
        return video(frames, torch.tensor(300), text, **options).sample


@pytest.mark.parametrize("local", [True, False])
def test_with_local_statistics_and_relative_frames_a_clip_may_begin_anywhere(local):
    plain = LayerSet.driving()
    assert plain.res_block is not None and plain.transformer is not None
    res_block = replace(plain.res_block, statistics="frame" if local else "clip")
    layer_set = replace(plain, res_block=res_block, transformer=replace(plain.transformer, relative=local), numbers=())
    unet, video = awake(layer_set)
    reach = sum(2 if row.layer == "TemporalResBlock" else 1 for row in video.table())
    count = 2 * reach + 5
    frames = torch.randn(1, count, unet.config["in_channels"], 8, 8)
    whole = made(video, unet, frames, attention_distance=1)
    part = made(video, unet, frames[:, 1:], attention_distance=1)
    inside = slice(reach, count - 1 - reach)  # frames that see no end
    same = torch.allclose(part[:, inside], whole[:, 1:][:, inside], atol=1e-4)
    assert same == local, "the paper's statistics over the clip and its frame indices are not shift-equivariant"


def test_a_longer_clip_attends_as_far_as_in_training():
    info = StackInfo(name="t", size=(32, 64), num_frames=16, fps=8.0, guidance_scale=2.0, num_inference_steps=2)
    assert info.request("").attention_distance is None
    assert info.request("", num_frames=8).attention_distance is None
    assert info.request("", num_frames=44).attention_distance == 15
    assert info.request("", num_frames=44, attention_distance=None).attention_distance is None
