"""alpha = 1 is the image model, bit for bit; at start every alpha is (paper, section 3.1; quality.md section 2)."""

import pytest
import torch
from tests.small_networks import awake_video, clip_inputs, small_unet

from latentloom.align import TemporalLayers, attach
from latentloom.layers.layer_set import LayerSet


def image_model(sample: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """The stock network on the frames as a batch of images."""
    num_frames = sample.shape[1]
    rows = [x.repeat_interleave(num_frames, 0) for x in (timesteps, text)]
    return small_unet()(sample.flatten(0, 1), *rows).sample.view_as(sample)


@pytest.mark.parametrize("layer_set", [LayerSet.text(), LayerSet.driving()])
@pytest.mark.parametrize("num_frames", [1, 5])
def test_alpha_one_is_the_image_model_bit_for_bit(layer_set, num_frames):
    video, inputs = awake_video(layer_set), clip_inputs(num_frames=num_frames)
    assert torch.equal(video(*inputs, alpha=1.0).sample, image_model(*inputs))
    assert torch.equal(video(*inputs, temporal_strength=0.0).sample, image_model(*inputs))


@pytest.mark.parametrize("layer_set", [LayerSet.text(), LayerSet.driving()])
def test_fresh_layers_are_the_image_model_bit_for_bit(layer_set):
    unet, inputs = small_unet(), clip_inputs()
    video = attach(unet, TemporalLayers.for_network(unet, layer_set))
    assert torch.equal(video(*inputs).sample, image_model(*inputs))


def test_frames_permuted_in_are_frames_permuted_out():
    video, (sample, timesteps, text) = awake_video(), clip_inputs(num_frames=4)
    order = torch.tensor([2, 0, 3, 1])
    permuted = video(sample[:, order], timesteps, text, alpha=1.0).sample
    assert torch.equal(permuted, video(sample, timesteps, text, alpha=1.0).sample[:, order])


def test_no_gradient_reaches_the_layers_at_alpha_one():
    video, (sample, timesteps, text) = awake_video(), clip_inputs()
    out = video(sample.requires_grad_(), timesteps, text, alpha=1.0).sample
    out.square().mean().backward()
    assert all(parameter.grad is None for parameter in video.layers.parameters())
