"""The jobs of ``gpu_headline.py``: single calls of the full-size networks, with random weights, on a given device.

Each job is a ``Job``: a name, the goal it has, and how it is built on a device (or on tensors without values, where its
operations are counted). Sizes: ``layouts.py``. Not here: clocks, floors, the whole video.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from layouts import Layout
from random_weights import with_random_weights
from torch import Tensor, nn

from latentloom.align import Aligned, TemporalLayers, attach
from latentloom.conditions import Conditions
from latentloom.diffusion.guidance import guided
from latentloom.diffusion.objective import ObjectiveConfig, training_loss
from latentloom.diffusion.schedule import NoiseSchedule, noise_scheduler
from latentloom.layers.layer_set import LayerSet
from latentloom.models.autoencoder import decode_images
from latentloom.recipes.text import TEXT_TOKENS
from latentloom.training.optimizer import OptimizerConfig, build_optimizers

GUIDANCE = 7.5
EVALUATION, TRAINING, KEYFRAMES, INTERPOLATION = "evaluation", "training step", "key frames", "interpolation"
DECODING, UPSCALER, LARGE_DECODING = "decoding, f8", "upscaler", "decoding, f4"
GOALS = {EVALUATION: 0.055, TRAINING: 0.080, LARGE_DECODING: 8.0 / 113}
"""Seconds of one call, the goals set for one H200."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a job runs, and in which dtype."""

    device: torch.device
    dtype: torch.dtype

    def random(self, *shape: int) -> Tensor:
        """Unit normal numbers."""
        return torch.randn(shape, device=self.device, dtype=self.dtype)


@dataclass(frozen=True, kw_only=True)
class Work:
    """A job that is ready.

    Attributes:
        call: what is timed.
        counted: what operations are counted of; ``call`` but for what holds no products.
        networks: what ``torch.compile`` may compile.
        moved: bytes that it must move through memory at least: weights, what goes in, what comes out.
    """

    call: Callable[[], object]
    counted: Callable[[], object]
    networks: Sequence[nn.Module]
    moved: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """``goal`` is in seconds for one call; None where there is none."""

    name: str
    what: str
    build: Callable[[Place], Work]
    goal: float | None = None


def unet(config: dict, place: Place) -> UNet2DConditionModel:
    return with_random_weights(lambda: UNet2DConditionModel(**config), place.device, place.dtype)


def vae(config: dict, place: Place) -> AutoencoderKL:
    return with_random_weights(lambda: AutoencoderKL(**config), place.device, place.dtype)


def layers_on(network: UNet2DConditionModel, layer_set: LayerSet, device: torch.device, dtype: torch.dtype):
    return with_random_weights(lambda: TemporalLayers.for_network(network, layer_set), device, dtype)


def weights(*networks: nn.Module) -> int:
    return sum(parameter.nbytes for network in networks for parameter in network.parameters())


def inference(call: Callable[[], Tensor], *networks: nn.Module, given: int) -> Work:
    """Without gradients; ``given`` is the bytes that go in, and as many come out."""
    run = torch.no_grad()(call)
    return Work(call=run, counted=run, networks=networks, moved=weights(*networks) + 2 * given)


def evaluation(layout: Layout, frames: int, scale: float, layer_set: LayerSet, place: Place) -> Work:
    """One evaluation of a clip; under a guidance scale other than 1 two predictions in one batch."""
    network = unet(layout.unet, place)
    video = attach(network, layers_on(network, layer_set, place.device, place.dtype))
    latents = place.random(1, frames, 4, *layout.latent_size)
    context = None if layer_set.context is None else place.random(1, frames, 5, *layout.latent_size)
    numbers = {name: torch.zeros(1, device=place.device) for name in video.layers.number_names}
    empty, told = (
        Conditions(text=place.random(1, TEXT_TOKENS, layout.text_width), context=context, numbers=numbers)
        for _ in range(2)
    )
    predict = guided(lambda z, t, conditions: video.predict(z, t, conditions), empty, (scale, told))
    time = torch.tensor(500, device=place.device)
    return inference(lambda: predict(latents, time), video, given=latents.nbytes)


def training(layout: Layout, recomputing: str, schedule: NoiseSchedule, place: Place) -> Work:
    """A step of temporal training: cached latents and text, frozen spatial weights, fp32 temporal ones, AdamW."""
    network = unet(layout.unet, place)
    layers = layers_on(network, LayerSet.text(), place.device, torch.float32).requires_grad_(True).train()
    video = attach(network, layers)
    if recomputing != "none":
        video.enable_gradient_checkpointing(spatial=recomputing == "all")
    adamw = OptimizerConfig(kind="adamw", learning_rate=1e-4)
    optimizers = build_optimizers(layers, adamw, fast=layers.mixing_parameters())
    gradients = partial(_gradients, layout, video, schedule, place)

    def step() -> None:
        gradients()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    # spatial weights forward and backward; temporal ones too, and gradient, two moments and weight at the update
    moved = 2 * weights(network) + (2 + 2 + 4 + 1) * weights(layers)
    return Work(call=step, counted=gradients, networks=(video,), moved=moved)


def _gradients(layout: Layout, video: Aligned, schedule: NoiseSchedule, place: Place) -> None:
    latents = place.random(1, layout.trained_frames, 4, *layout.latent_size).float()
    conditions = Conditions(text=place.random(1, TEXT_TOKENS, layout.text_width))
    with torch.autocast(place.device.type, place.dtype, enabled=place.dtype != torch.float32):
        loss = training_loss(
            lambda noisy, times: video.predict(noisy, times, conditions),
            latents,
            schedule,
            torch.Generator(place.device).manual_seed(0),
            prediction_type="v_prediction",
            config=ObjectiveConfig(high_noise_bias=0.5),
        )
    loss.backward()


def upscaling(layout: Layout, place: Place) -> Work:
    """One evaluation of the upscaler on a portion, one prediction."""
    network = unet(layout.upscaler, place)
    video = attach(network, layers_on(network, LayerSet.text(), place.device, place.dtype))
    sample = place.random(1, layout.portion, 7, *layout.size)  # latents at f = 4 beside the small frames
    words = place.random(1, TEXT_TOKENS, layout.text_width)
    time, level = torch.tensor(500, device=place.device), torch.tensor([20], device=place.device)
    return inference(lambda: video(sample, time, words, class_labels=level).sample, video, given=sample.nbytes)


def decoding(config: dict, frames: int, size: tuple[int, int], place: Place) -> Work:
    """Latents of ``size`` to pixels, frame by frame."""
    network = vae(config, place)
    latents = place.random(frames, 4, *size)
    return inference(lambda: decode_images(network, latents), network.decoder, given=latents.nbytes)


def jobs(layout: Layout, *, recomputing: str = "none") -> list[Job]:
    """All of them; goals are those of the full size on one H200."""
    trained, portion = layout.trained_frames, layout.portion
    keyframes, window = layout.video.first.num_frames, layout.video.interpolated.num_frames
    latent, small, large = (_size(layout.size, factor) for factor in (1 / 8, 1, 4))
    text, given = LayerSet.text(), LayerSet.text().with_context()
    schedule = NoiseSchedule.from_scheduler(noise_scheduler())  # checks its values: not where tensors have none
    step = partial(training, layout, recomputing, schedule)
    works: dict[str, tuple[str, Callable[[Place], Work]]] = {
        EVALUATION: (f"{trained} frames of {latent}, guidance", partial(evaluation, layout, trained, GUIDANCE, text)),
        TRAINING: (f"{trained} frames of {latent}, recomputing {recomputing}", step),
        KEYFRAMES: (
            f"{keyframes} frames of {latent}, guidance",
            partial(evaluation, layout, keyframes, GUIDANCE, text),
        ),
        INTERPOLATION: (f"{window} frames, no guidance", partial(evaluation, layout, window, 1.0, given)),
        DECODING: (
            f"{portion} frames of {small} pixels",
            partial(decoding, layout.autoencoder, portion, layout.latent_size),
        ),
        UPSCALER: (f"{portion} frames of {large} pixels, one prediction", partial(upscaling, layout)),
        LARGE_DECODING: (
            f"one frame of {large} pixels",
            partial(decoding, layout.upscaler_autoencoder, 1, layout.size),
        ),
    }
    goals = GOALS if layout == Layout() else {}
    return [Job(name=name, what=what, build=build, goal=goals.get(name)) for name, (what, build) in works.items()]


def _size(size: tuple[int, int], factor: float) -> str:
    return "x".join(str(int(side * factor)) for side in size)
