"""The recipe of the embedded stack `drive-small`: 128x256 pixels, f = 8, eight latent channels, clips of 16 frames.

Sizes and rates come from the experiments of docs/log.md; `--steps` stretches a stage. Each function takes what a user
most often changes and leaves the rest to its dataclass.
"""

from collections.abc import Mapping

from latentloom.models.autoencoder import AutoencoderSpec
from latentloom.models.image_ldm import DenoiserSpec
from latentloom.training.autoencoder import AutoencoderTraining
from latentloom.training.image import ImageTraining
from latentloom.training.loop import LoopConfig
from latentloom.training.temporal import TemporalTraining

SIZE = (128, 256)


def autoencoder(
    *, steps: int = 2000, batch_size: int = 8, seed: int = 0, dtype: str = "auto", weights: Mapping[str, float] = {}
) -> AutoencoderTraining:
    """From scratch, reconstruction only: PSNR first, texture later (`decoder_texture`)."""
    return AutoencoderTraining(
        loop=LoopConfig(steps=steps, batch_size=batch_size, seed=seed, dtype=dtype, ema_decay=0.998, preview_steps=250),
        spec=AutoencoderSpec(widths=(32, 64, 128, 128)),
        source_weights=weights,
    )


def decoder_texture(
    *, steps: int = 1000, batch_size: int = 8, seed: int = 0, dtype: str = "auto", weights: Mapping[str, float] = {}
) -> AutoencoderTraining:
    """The decoder alone, against a patch discriminator: latents stay valid for models trained on them."""
    return AutoencoderTraining(
        loop=LoopConfig(steps=steps, batch_size=batch_size, seed=seed, dtype=dtype, ema_decay=0.998, preview_steps=250),
        spec=AutoencoderSpec(widths=(32, 64, 128, 128)),
        muon_learning_rate=0.005,
        learning_rate=3e-4,
        adversarial_start=0,
        train_encoder=False,
        source_weights=weights,
    )


def image(
    *, steps: int = 4500, batch_size: int = 12, seed: int = 0, dtype: str = "auto", weights: Mapping[str, float] = {}
) -> ImageTraining:
    """A UNet with attention down to single latents and its text encoder, v-prediction, zero terminal SNR."""
    return ImageTraining(
        loop=LoopConfig(
            steps=steps,
            batch_size=batch_size,
            seed=seed,
            dtype=dtype,
            ema_decay=0.9995,
            decay_fraction=0.5,
            preview_steps=500,
        ),
        spec=DenoiserSpec(widths=(64, 128, 192), attention=(True, True, False)),
        learning_rate=1e-3,
        muon_learning_rate=0.004,  # at 0.02 textures came and roads did not (docs/log.md)
        high_noise_bias=0.5,  # layout is decided where there is nearly nothing but noise
        source_weights=weights,
    )


def temporal(
    *, steps: int = 1000, batch_size: int = 2, seed: int = 0, dtype: str = "auto", weights: Mapping[str, float] = {}
) -> TemporalTraining:
    """Clips of 16 frames at 5 to 8 frames per second."""
    return TemporalTraining(
        loop=LoopConfig(
            steps=steps,
            batch_size=batch_size,
            seed=seed,
            dtype=dtype,
            ema_decay=0.998,
            decay_fraction=0.5,
            preview_steps=500,
        ),
        muon_learning_rate=0.004,
        source_weights=weights,
    )
