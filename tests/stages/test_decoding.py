import pytest
import torch

from latentloom.align import TemporalLayers
from latentloom.layers.layer_set import LayerSet
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.shapes import to_pixels
from latentloom.stages.decoding import decode_frames, stream_frames


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(1, 5, 8, 4, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 8])
def test_frames_come_in_order_whatever_the_chunk(stack, latents, chunk_size):
    autoencoder = VideoAutoencoder(stack.vae)
    frames = list(decode_frames(autoencoder, latents, chunk_size))
    assert [frame.shape for frame in frames] == [(32, 64, 3)] * 5
    assert frames[0].dtype == torch.uint8
    for index, frame in enumerate(frames):
        alone = to_pixels(autoencoder.decode(latents[:, index : index + 1]))[0, 0]
        assert (frame.int() - alone.int()).abs().max() <= 1


def test_only_a_chunk_is_decoded_before_its_frames_are_taken(stack, latents):
    calls = []
    handle = stack.vae.decoder.register_forward_hook(lambda module, args, output: calls.append(len(output)))
    try:
        frames = decode_frames(VideoAutoencoder(stack.vae), latents, 2)
        next(frames)
        assert calls == [2]
        list(frames)
        assert calls == [2, 2, 1]
    finally:
        handle.remove()


@pytest.mark.parametrize("sizes", [[1], [3], [2, 1], [2, 2, 3]])
def test_the_last_call_of_a_temporal_decoder_takes_one_new_frame_whatever_the_length(stack, latents, sizes):
    torch.manual_seed(0)
    layers = TemporalLayers.for_network(stack.vae, LayerSet.decoder())
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    autoencoder, calls = VideoAutoencoder(stack.vae, layers), []
    whole = to_pixels(autoencoder.decode(torch.cat([latents, latents], 1)[:, : sum(sizes)])[0])
    handle = stack.vae.decoder.conv_in.register_forward_hook(lambda module, args, output: calls.append(len(output)))
    try:
        frames = list(stream_frames(autoencoder, torch.cat([latents, latents], 1)[:, : sum(sizes)].split(sizes, 1)))
    finally:
        handle.remove()
    assert calls[-1] == 1 and sum(calls) == sum(sizes) == len(frames)
    assert (torch.stack(frames).int() - whole.int()).abs().max() <= 1


def test_decoding_leaves_the_callers_gradient_mode_alone(stack, latents):
    frames = decode_frames(VideoAutoencoder(stack.vae), latents, 2)
    next(frames)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("chunk_size", [0, -1, 10**9])
def test_a_chunk_out_of_range_is_refused_at_the_call(stack, latents, chunk_size):
    with pytest.raises(ValueError, match="decode_chunk_size"):
        decode_frames(VideoAutoencoder(stack.vae), latents, chunk_size)
