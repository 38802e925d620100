"""The autoencoder over video: shapes, chunks, and statistics folded into its weights."""

import pytest
import torch
from diffusers import AutoencoderKL

from latentloom.models.autoencoder import AutoencoderSpec, VideoAutoencoder, encoder_digest, fold_statistics

SPEC = AutoencoderSpec(widths=(8, 8, 16, 16), latent_channels=4, norm_groups=4)


@pytest.fixture
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return SPEC.build((32, 64)).eval()


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.rand(2, 3, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_latents_are_the_posterior_mean_of_each_frame(vae: AutoencoderKL, frames: torch.Tensor) -> None:
    latents = VideoAutoencoder(vae).encode(frames)
    assert latents.shape == (2, 3, 4, 4, 8)
    with torch.no_grad():
        assert torch.allclose(latents[1, 2], vae.encode(frames[1, 2:]).latent_dist.mode()[0], atol=1e-5)


def test_decoding_in_chunks_equals_decoding_at_once(vae: AutoencoderKL) -> None:
    latents = torch.randn(1, 5, 4, 4, 8)
    whole = VideoAutoencoder(vae).decode(latents)
    assert whole.shape == (1, 5, 3, 32, 64)
    assert torch.allclose(VideoAutoencoder(vae).decode(latents, chunk_size=2), whole, atol=1e-5)


def test_folded_statistics_normalise_latents_and_leave_pictures_alone(vae: AutoencoderKL, frames: torch.Tensor) -> None:
    video = VideoAutoencoder(vae)
    latents, pictures = video.encode(frames), video.decode(video.encode(frames))
    spread = vae.encode(frames[0]).latent_dist.std
    mean, std = latents.mean((0, 1, 3, 4)), latents.std((0, 1, 3, 4))
    fold_statistics(vae, mean, std)
    folded = video.encode(frames)
    assert folded.mean((0, 1, 3, 4)).abs().max() < 1e-4
    assert torch.allclose(folded.std((0, 1, 3, 4)), torch.ones(4), atol=1e-3)
    assert torch.allclose(video.decode(folded), pictures, atol=1e-4)
    assert torch.allclose(vae.encode(frames[0]).latent_dist.std, spread / std[:, None, None], rtol=1e-3)


def test_the_digest_of_latents_knows_the_encoder_and_not_the_decoder(vae: AutoencoderKL) -> None:
    before = encoder_digest(vae)
    with torch.no_grad():
        vae.decoder.conv_out.weight += 1
    assert encoder_digest(vae) == before
    with torch.no_grad():
        vae.quant_conv.bias[0] += 1e-3
    assert encoder_digest(vae) != before


def test_sides_that_do_not_divide_are_refused(vae: AutoencoderKL) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        VideoAutoencoder(vae).encode(torch.zeros(1, 1, 3, 30, 64))


def test_a_chunk_of_no_frames_is_refused(vae: AutoencoderKL) -> None:
    with pytest.raises(ValueError, match="at least 1 frame"):
        VideoAutoencoder(vae).decode(torch.zeros(1, 1, 4, 4, 8), chunk_size=0)
