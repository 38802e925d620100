"""The recipe of the embedded stack `drive-small`: 128x256 pixels, f = 8, eight latent channels, clips of 16 frames.

Sizes and rates come from the experiments of docs/log.md, steps are those of the shipped weights.
"""

from latentloom.diffusion.objective import ObjectiveConfig
from latentloom.models.autoencoder import AutoencoderSpec
from latentloom.models.image_ldm import DenoiserSpec
from latentloom.training.autoencoder import AutoencoderTraining
from latentloom.training.decoder import DecoderTraining
from latentloom.training.image import ImageTraining
from latentloom.training.loop import LoopConfig
from latentloom.training.optimizer import OptimizerConfig
from latentloom.training.scenes import SceneTraining
from latentloom.training.temporal import GivenFrames, TemporalTraining
from latentloom.training.upsampler import UpsamplerTraining

AUTOENCODER = AutoencoderSpec(widths=(32, 64, 128, 128))


def autoencoder() -> AutoencoderTraining:
    """From scratch, reconstruction only: PSNR first, texture later (`decoder_texture`)."""
    return AutoencoderTraining(
        loop=LoopConfig(steps=4000, batch_size=8, ema_decay=0.998, preview_steps=250), spec=AUTOENCODER
    )


def decoder_texture() -> AutoencoderTraining:
    """The decoder alone, against a patch discriminator: latents stay valid for models trained on them."""
    return AutoencoderTraining(
        loop=LoopConfig(steps=1000, batch_size=8, ema_decay=0.998, preview_steps=250),
        spec=AUTOENCODER,
        optimizer=OptimizerConfig(learning_rate=3e-4, muon_learning_rate=0.005),
        adversarial_start=0,
        train_encoder=False,
    )


def image() -> ImageTraining:
    """A UNet with attention down to single latents and its text encoder, v-prediction, zero terminal SNR."""
    return ImageTraining(
        loop=LoopConfig(steps=3600, batch_size=12, ema_decay=0.9995, decay_fraction=0.5, preview_steps=500),
        spec=DenoiserSpec(widths=(64, 128, 192), attention=(True, True, False)),
        optimizer=OptimizerConfig(muon_learning_rate=0.004),  # at 0.02 textures came, roads did not (docs/log.md)
        objective=ObjectiveConfig(high_noise_bias=0.5),  # layout is decided where there is little but noise
    )


def dreambooth() -> ImageTraining:
    """One subject: UNet and text encoder together, a photo for each picture of its class; the paper's 800 steps."""
    known = image()
    return ImageTraining(
        loop=LoopConfig(steps=800, batch_size=4, ema_decay=0.99, preview_steps=200),
        spec=known.spec,
        optimizer=OptimizerConfig(kind="adamw", learning_rate=2e-4),  # at 5e-5 colours came, no shapes (docs/log.md)
        caption_dropout=0.0,
    )


def temporal() -> TemporalTraining:
    """Key frames: clips of 16 frames at 5 to 8 frames per second, from noise alone."""
    return TemporalTraining(loop=_clips(steps=3900), optimizer=OptimizerConfig(muon_learning_rate=0.004))


def prediction() -> TemporalTraining:
    """The next frames after the first none, one or two, at the rate of the key frames; steered where labels are."""
    return TemporalTraining(
        loop=_clips(steps=2000),
        given=GivenFrames(first=(0, 1, 2)),
        optimizer=OptimizerConfig(muon_learning_rate=0.004),
    )


def interpolation() -> TemporalTraining:
    """Three frames between each two: from key frames to about 6.5 a second, and from those to about 24."""
    return TemporalTraining(
        loop=_clips(steps=1500),
        num_frames=13,
        fine_fps=24.0,
        given=GivenFrames(every=4),
        optimizer=OptimizerConfig(muon_learning_rate=0.004),
    )


def decoder() -> DecoderTraining:
    """Temporal layers of the decoder on crops of clips; the discriminator joins when reconstruction has settled."""
    return DecoderTraining(
        loop=LoopConfig(steps=700, batch_size=2, ema_decay=0.998, decay_fraction=0.5, preview_steps=250),
        optimizer=OptimizerConfig(muon_learning_rate=0.01),
        adversarial_start=500,
    )


def upsampler(*, temporal: bool = False) -> UpsamplerTraining:
    """128x256 to 512x1024 pixels, on patches of 128x128: of frames, then of clips for the temporal layers."""
    return UpsamplerTraining(
        loop=LoopConfig(
            steps=400 if temporal else 3000, batch_size=8, ema_decay=0.998, decay_fraction=0.5, preview_steps=250
        ),
        optimizer=OptimizerConfig(muon_learning_rate=0.01),
    )


def scenes() -> SceneTraining:
    """Boxes, light and traffic of the start frame, on frames whose boxes are exact."""
    return SceneTraining(
        loop=LoopConfig(steps=4400, batch_size=12, ema_decay=0.998, decay_fraction=0.5, preview_steps=250),
        optimizer=OptimizerConfig(muon_learning_rate=0.004),
    )


def _clips(steps: int) -> LoopConfig:
    return LoopConfig(steps=steps, batch_size=2, ema_decay=0.998, decay_fraction=0.5, preview_steps=500)
