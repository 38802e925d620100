"""alpha < 1: frames mix, every layer learns from the first step, the image network stays (paper, section 3.1)."""

import pytest
import torch
from tests.small_networks import awake_video, clip_inputs, small_unet

from latentloom.align import TemporalLayers, attach
from latentloom.layers.layer_set import LayerSet

LAYER_SETS = [LayerSet.text(), LayerSet.driving()]


@pytest.mark.parametrize("layer_set", LAYER_SETS)
def test_changing_one_frame_changes_all_frames_of_its_clip_and_no_other(layer_set):
    video, (sample, timesteps, text) = awake_video(layer_set), clip_inputs(num_frames=5)
    changed = sample.clone()
    changed[0, 3] += 1.0
    difference = video(changed, timesteps, text).sample - video(sample, timesteps, text).sample
    per_frame = difference.abs().amax(dim=(2, 3, 4))
    assert (per_frame[0] > 1e-4).all()
    assert (per_frame[1] < 1e-5).all()


def test_strength_goes_from_the_image_model_to_the_learned_one():
    video, inputs = awake_video(), clip_inputs()
    image, learned = video(*inputs, alpha=1.0).sample, video(*inputs).sample
    distances = [
        (video(*inputs, temporal_strength=strength).sample - image).norm().item() for strength in (0.01, 0.1, 1.0)
    ]
    assert distances[0] < distances[1] < distances[2]
    assert torch.equal(video(*inputs, temporal_strength=1.0).sample, learned)


def test_a_forced_alpha_takes_the_place_of_the_learned_ones():
    video, inputs = awake_video(), clip_inputs()
    with torch.no_grad():
        for logit in video.layers.mixing_parameters():
            logit.fill_(0.4)
    alpha = torch.tensor(0.4).sigmoid().item()
    torch.testing.assert_close(video(*inputs, alpha=alpha).sample, video(*inputs).sample, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layer_set", LAYER_SETS)
def test_every_layer_has_a_gradient_at_step_0_and_every_tensor_moves_within_three(layer_set):
    unet = small_unet()
    video = attach(unet, TemporalLayers.for_network(unet, layer_set))
    before = [parameter.clone() for parameter in video.layers.parameters()]
    spatial = [parameter.clone() for parameter in unet.parameters()]
    optimizer = torch.optim.AdamW(video.layers.parameters(), lr=1e-2, weight_decay=0.0)
    fps = 6.0 if layer_set.numbers else None
    for step in range(3):
        optimizer.zero_grad()
        (video(*clip_inputs(seed=step), fps=fps).sample - 1.0).square().mean().backward()
        if step == 0:
            assert all(has_gradient(layer) for layer in video.layers.layers.values())
        optimizer.step()
    still = [
        name
        for (name, after), start in zip(video.layers.named_parameters(), before, strict=True)
        if torch.equal(after, start)
    ]
    assert still == []
    assert all(torch.equal(a, b) for a, b in zip(unet.parameters(), spatial, strict=True))
    assert all(parameter.grad is None for parameter in unet.parameters())


def has_gradient(layer: torch.nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in layer.parameters())


@pytest.mark.parametrize("layer_set", LAYER_SETS)
@pytest.mark.parametrize("gradients", [False, True])
def test_bf16_autocast_over_fp32_weights_gives_nearly_the_same_video(layer_set, gradients):
    video, inputs = awake_video(layer_set), clip_inputs()
    exact = video(*inputs).sample
    with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(gradients):
        rounded = video(*inputs).sample.float()
    assert (rounded - exact).norm() < 0.05 * exact.norm()
    if gradients:
        rounded.square().mean().backward()
        assert all(has_gradient(layer) for layer in video.layers.layers.values())
