"""Temporal convolutions: against Conv3d, at start, and over any number of frames."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latentloom.layers.base import Clip
from latentloom.layers.conv3d import TemporalResBlock, TemporalResBlockSpec, TimeConv, TimeConvSpec
from latentloom.layers.mixing import Mixing


def awake_block(channels: int = 16, time_width: int | None = 12, expansion: int = 1) -> TemporalResBlock:
    torch.manual_seed(0)
    block = TemporalResBlockSpec(expansion=expansion).build(channels, 4, time_width).eval()
    with torch.no_grad():
        block.conv2.weight.normal_(0, 0.1)
        block.conv2.bias.normal_()
        block.mixing.logit.fill_(0.7)
    return block


def plain_res_block(block: TemporalResBlock, video: Tensor, embedding: Tensor) -> Tensor:
    """The textbook form: ``b c t h w``, Conv3d, broadcast time bias, then the mix of Eq. 3."""

    def conv(x: Tensor, module: torch.nn.Conv2d) -> Tensor:
        return F.conv3d(x, module.weight.unsqueeze(-1), module.bias, padding=(1, 0, 0))

    x = conv(F.silu(block.norm1(video)), block.conv1)
    x = x + block.time(F.silu(embedding)).transpose(1, 2)[..., None, None]
    temporal = video + conv(F.silu(block.norm2(x)), block.conv2)
    alpha = block.mixing.alpha
    return alpha * video + (1 - alpha) * temporal


@pytest.mark.parametrize("expansion", [1, 2])
@pytest.mark.parametrize("gradients", [False, True])
def test_the_res_block_equals_the_textbook_form_with_conv3d(gradients, expansion):
    block = awake_block(expansion=expansion)
    assert block.conv1.out_channels == 16 * expansion
    video, embedding = torch.randn(2, 16, 5, 3, 4), torch.randn(2, 5, 12)  # b c t h w and b t d
    frames = video.transpose(1, 2).flatten(0, 1)
    with torch.set_grad_enabled(gradients):
        out = block(frames, Clip(num_frames=5), embedding.flatten(0, 1))
    expected = plain_res_block(block, video, embedding).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=1e-5)


class EachFrame(Mixing):
    """A share for each of four frames."""

    def temporal_share(self, clip: Clip) -> Tensor:
        return torch.tensor([[0.0], [0.25], [0.5], [1.0]])


@pytest.mark.parametrize("layer", ["res block", "time conv"])
def test_shares_of_single_frames_act_on_their_frames(layer):
    block = awake_block() if layer == "res block" else TimeConvSpec().build(16)
    end = block.conv2 if layer == "res block" else block.conv
    torch.nn.init.normal_(end.weight)
    frames, embedding, clip = torch.randn(8, 16, 2, 2), torch.randn(8, 12), Clip(num_frames=4, alpha=0.0)
    change = block(frames, clip, embedding) - frames
    block.mixing = EachFrame()
    shared = block(frames, Clip(num_frames=4), embedding) - frames
    share = torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat(2).view(8, 1, 1, 1)
    torch.testing.assert_close(shared, share * change, atol=1e-5, rtol=1e-4)


def test_embedded_numbers_act_as_if_they_were_in_the_time_embedding():
    block = awake_block()
    frames, embedding, numbers = torch.randn(6, 16, 2, 2), torch.randn(6, 12), torch.randn(2, 1, 12)
    told = block(frames, Clip(num_frames=3, numbers=numbers), embedding)
    by_hand = block(frames, Clip(num_frames=3), embedding + numbers[:, 0].repeat_interleave(3, 0))
    torch.testing.assert_close(told, by_hand)
    assert not torch.allclose(told, block(frames, Clip(num_frames=3), embedding))


def test_a_site_without_time_embedding_gets_a_block_without_one():
    block = awake_block(time_width=None)
    assert block.time is None
    assert block(torch.randn(4, 16, 2, 2), Clip(num_frames=4)).shape == (4, 16, 2, 2)


@pytest.mark.parametrize("layer", [TemporalResBlockSpec().build(16, 4, 12), TimeConvSpec().build(16)])
def test_a_fresh_layer_changes_nothing_and_has_gradients(layer):
    frames = torch.randn(4, 16, 2, 3)
    out = layer(frames, Clip(num_frames=2), torch.randn(4, 12))
    assert torch.equal(out, frames)
    out.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


@pytest.mark.parametrize("num_frames", [1, 2, 7])
def test_one_block_serves_every_number_of_frames(num_frames):
    out = awake_block()(torch.randn(num_frames, 16, 2, 2), Clip(num_frames=num_frames), torch.randn(num_frames, 12))
    assert out.shape == (num_frames, 16, 2, 2)
    assert out.isfinite().all()


def test_clips_of_a_batch_do_not_meet():
    block = awake_block()
    frames, embedding = torch.randn(6, 16, 2, 2), torch.randn(6, 12)
    both = block(frames, Clip(num_frames=3), embedding)
    alone = block(frames[:3], Clip(num_frames=3), embedding[:3])
    torch.testing.assert_close(both[:3], alone)


def test_the_time_conv_mixes_neighbouring_frames_only():
    layer: TimeConv = TimeConvSpec().build(3)
    torch.nn.init.ones_(layer.conv.weight)
    frames = torch.zeros(5, 3, 1, 1)
    frames[2] = 1.0
    out = layer(frames, Clip(num_frames=5)).flatten(1)[:, 0]
    assert (out != 0).tolist() == [False, True, True, True, False]
