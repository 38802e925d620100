import pytest
import torch

from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.shapes import to_pixels
from latentloom.stages.decoding import decode_frames


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


def test_decoding_leaves_the_callers_gradient_mode_alone(stack, latents):
    frames = decode_frames(VideoAutoencoder(stack.vae), latents, 2)
    next(frames)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("chunk_size", [0, -1, 10**9])
def test_a_chunk_out_of_range_is_refused_at_the_call(stack, latents, chunk_size):
    with pytest.raises(ValueError, match="decode_chunk_size"):
        decode_frames(VideoAutoencoder(stack.vae), latents, chunk_size)
