"""The smallest recipe that runs every stage: for tests, examples and dry runs. Nothing it trains is of use."""

from dataclasses import replace

from latentloom.models.autoencoder import AutoencoderSpec
from latentloom.models.image_ldm import DenoiserSpec
from latentloom.training.autoencoder import AutoencoderTraining
from latentloom.training.decoder import DecoderTraining
from latentloom.training.image import ImageTraining
from latentloom.training.loop import LoopConfig
from latentloom.training.scenes import SceneTraining
from latentloom.training.temporal import GivenFrames, TemporalTraining
from latentloom.training.upsampler import UpsamplerTraining


def _loop(steps: int, seed: int) -> LoopConfig:
    return LoopConfig(steps=steps, batch_size=2, seed=seed, warmup_steps=1, dtype="fp32", log_steps=1)


def autoencoder(*, steps: int = 4, seed: int = 0) -> AutoencoderTraining:
    """Factor 8 and four channels, crops of 32x32, the discriminator from the third step on."""
    spec = AutoencoderSpec(widths=(8, 8, 16, 16), latent_channels=4, norm_groups=4)
    return AutoencoderTraining(loop=_loop(steps, seed), spec=spec, crop=(32, 32), adversarial_start=2)


def decoder(*, steps: int = 4, seed: int = 0) -> DecoderTraining:
    """Clips of four 32x32 crops, the discriminator from the third step on."""
    return DecoderTraining(loop=_loop(steps, seed), num_frames=4, fps=8.0, crop=(32, 32), adversarial_start=2)


def scenes(*, steps: int = 4, seed: int = 0) -> SceneTraining:
    """Single frames whose boxes are known."""
    return SceneTraining(loop=_loop(steps, seed))


def upsampler(*, steps: int = 4, seed: int = 0) -> UpsamplerTraining:
    """Factor 2, patches of 16x16 pixels."""
    return UpsamplerTraining(
        loop=_loop(steps, seed), factor=2, widths=(8, 8), groups=2, patch=(16, 16), num_frames=4, fps=8.0
    )


def image(*, steps: int = 4, seed: int = 0) -> ImageTraining:
    """Two levels, attention at the coarse one."""
    spec = DenoiserSpec(widths=(16, 32), attention=(False, True), num_heads=2, norm_groups=4)
    return ImageTraining(loop=_loop(steps, seed), spec=spec, text_width=16, max_length=16)


def dreambooth() -> ImageTraining:
    """As any images."""
    return image()


def temporal(*, steps: int = 4, seed: int = 0, num_frames: int = 4, fps: float = 8.0) -> TemporalTraining:
    """Clips of four frames."""
    return TemporalTraining(loop=_loop(steps, seed), num_frames=num_frames, fps=fps)


def prediction(*, steps: int = 4, seed: int = 0) -> TemporalTraining:
    """Clips of four frames, of which none, one or two are given."""
    return replace(temporal(steps=steps, seed=seed), given=GivenFrames(first=(0, 1, 2)))


def interpolation(*, steps: int = 4, seed: int = 0) -> TemporalTraining:
    """Clips of five frames at two rates, of which the ends are given."""
    config = temporal(steps=steps, seed=seed, num_frames=5, fps=4.0)
    return replace(config, fine_fps=8.0, given=GivenFrames(every=4))
