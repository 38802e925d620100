"""Clips through the decoder in chunks: the same frames, none decoded twice (spec, section 6)."""

import pytest
import torch
from tests.small_networks import awake, small_vae
from torch import Tensor

from latentloom.align import Aligned, TemporalLayers, attach
from latentloom.layers.conv3d import TemporalResBlockSpec
from latentloom.layers.layer_set import LayerSet


def decoded_in(video: Aligned, latents: Tensor, sizes: list[int]) -> Tensor:
    return torch.cat(list(video.decode_stream(latents.split(sizes, 1))), 1)


@pytest.mark.parametrize("sizes", [[20], [1] * 20, [3, 1, 16], [19, 1], [7, 7, 6]])
def test_a_clip_decoded_in_chunks_is_the_whole(sizes):
    vae, latents = small_vae(), torch.randn(2, 20, 4, 4, 6)
    video = attach(vae, awake(TemporalLayers.for_network(vae, LayerSet.decoder())))
    whole = video.decode(latents).sample
    assert not torch.allclose(whole, video.decode(latents, alpha=1.0).sample, atol=1e-2)
    torch.testing.assert_close(decoded_in(video, latents, sizes), whole, atol=1e-4, rtol=1e-4)
    alone = video.decode(latents, alpha=1.0).sample
    torch.testing.assert_close(torch.cat(list(video.decode_stream(latents.split(sizes, 1), alpha=1.0)), 1), alone)


def test_no_frame_is_decoded_twice():
    vae, latents = small_vae(), torch.randn(1, 30, 4, 4, 6)
    video = attach(vae, awake(TemporalLayers.for_network(vae, LayerSet.decoder())))
    seen = []
    vae.decoder.conv_in.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    vae.decoder.conv_out.register_forward_hook(lambda module, args, output: seen.append(-len(output)), prepend=True)
    frames = decoded_in(video, latents, [5] * 6)
    came, went = [n for n in seen if n > 0], [-n for n in seen if n < 0]
    blank = came[6:]  # calls behind the last chunk, until everything is out; some layers have nothing to give in them
    assert came[:6] == [5] * 6 and set(blank) == {1}
    assert frames.shape[1] == 30 <= sum(went) <= 30 + len(blank)


def test_no_call_gives_out_more_frames_than_the_largest_chunk_held():
    vae, latents = small_vae(), torch.randn(1, 30, 4, 4, 6)
    video = attach(vae, awake(TemporalLayers.for_network(vae, LayerSet.decoder())))
    pieces = list(video.decode_stream(latents.split([3, 4, 3, 4, 4, 4, 4, 4], 1)))
    assert sum(piece.shape[1] for piece in pieces) == 30
    assert max(piece.shape[1] for piece in pieces) == 4


def test_a_clip_shorter_than_the_layers_reach_comes_out_at_its_end():
    vae, latents = small_vae(), torch.randn(1, 2, 4, 4, 6)
    video = attach(vae, awake(TemporalLayers.for_network(vae, LayerSet.decoder())))
    torch.testing.assert_close(decoded_in(video, latents, [1, 1]), video.decode(latents).sample, atol=1e-4, rtol=1e-4)
    assert list(video.decode_stream([])) == []


def test_layers_that_look_at_whole_clips_do_not_pass_in_chunks():
    vae = small_vae()
    video = attach(vae, TemporalLayers.for_network(vae, LayerSet(res_block=TemporalResBlockSpec())))
    with pytest.raises(ValueError, match="looks at whole clips"):
        decoded_in(video, torch.randn(1, 4, 4, 4, 6), [2, 2])
