"""The one denoising loop: from noise to latents with any diffusers scheduler (paper, section 2 and appendix).

The schedulers are diffusers' own. What is predicted, with which condition and guidance, is the ``predict`` callable.
"""

import copy
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

Generators = torch.Generator | list[torch.Generator] | None


class Predict(Protocol):
    """The network with its conditions bound: scheduler-scaled latents and one time step in, a prediction out."""

    def __call__(self, latents: Tensor, timestep: Tensor, /) -> Tensor: ...


StepCallback = Callable[[int, Tensor, Tensor], Tensor | None]
"""Called after each step with (step index from 0, timestep, latents); may return replacement latents, may raise."""


@torch.no_grad()
def denoise(
    predict: Predict,
    noise: Float[Tensor, "b *rest"],
    scheduler: Any,
    num_inference_steps: int,
    *,
    start: Float[Tensor, "b *rest"] | None = None,
    strength: float = 1.0,
    eta: float = 0.0,
    generator: Generators = None,
    callback: StepCallback | None = None,
) -> Float[Tensor, "b *rest"]:
    """Walk the scheduler's time steps from unit Gaussian ``noise`` to clean latents of the same shape.

    The scheduler is copied: it holds the state of one walk (multistep history, step index), and two requests, or one
    after an exception, must not meet in it.

    Args:
        start: latents to begin from instead of noise alone, under noise of the step where the walk begins.
        strength: the last share of the walk that is walked from ``start``, above 0 to 1; 1 is the whole, from noise
            (``strength`` of diffusers' image-to-image pipelines).
        eta: share of DDIM's fresh noise in [0, 1]; given only to schedulers that take it.
        generator: the source of fresh noise for stochastic schedulers, one for all clips or a list of one per clip.

    Raises:
        ValueError: ``callback`` gives latents of another shape.
    """
    scheduler, timesteps = _walk(scheduler, num_inference_steps, strength, noise.device)
    step_options = _accepted(scheduler.step, {"eta": eta, "generator": generator})
    latents = noise * scheduler.init_noise_sigma
    if start is not None and len(timesteps) < len(scheduler.timesteps):
        latents = scheduler.add_noise(start, noise, timesteps[:1])
    for index, timestep in enumerate(timesteps):
        prediction = predict(scheduler.scale_model_input(latents, timestep), timestep)
        latents = scheduler.step(prediction, timestep, latents, **step_options, return_dict=False)[0]
        if callback is not None:
            replaced = callback(index, timestep, latents)
            if replaced is not None and replaced.shape != latents.shape:
                raise ValueError(f"the callback gave {tuple(replaced.shape)}, the latents are {tuple(latents.shape)}")
            latents = latents if replaced is None else replaced
    return latents


@torch.no_grad()
def last_prediction(
    predict: Predict, noise: Float[Tensor, "b *rest"], scheduler: Any, num_inference_steps: int
) -> Float[Tensor, "b *rest"]:
    """The last answer of a network that predicts the clean sample, instead of where the walk ends.

    Rounding lets some walks end at step 0, whose noise is visible grain where there is no autoencoder behind.
    """
    answer = noise

    def noted(latents: Tensor, timestep: Tensor, /) -> Tensor:
        nonlocal answer
        answer = predict(latents, timestep)
        return answer

    denoise(noted, noise, scheduler, num_inference_steps)
    return answer


def num_evaluations(scheduler: Any, num_inference_steps: int, strength: float = 1.0) -> int:
    """How often ``denoise`` will call ``predict``, for progress bars; some schedulers call more than once a step."""
    return len(_walk(scheduler, num_inference_steps, strength, "cpu")[1])


def _walk(
    scheduler: Any, num_inference_steps: int, strength: float, device: torch.device | str
) -> tuple[Any, Shaped[Tensor, " n"]]:
    """A copy of the scheduler, ready for the last ``strength`` of its walk, and the time steps of that."""
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(num_inference_steps, device=device)
    walked = max(1, round(num_inference_steps * strength))
    left_out = (num_inference_steps - walked) * getattr(scheduler, "order", 1)
    if left_out and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(left_out)
    return scheduler, scheduler.timesteps[left_out:]


def clip_noise(
    shape: tuple[int, ...], generator: Generators, device: torch.device | str, dtype: torch.dtype
) -> Shaped[Tensor, "b *rest"]:
    """Unit Gaussian noise of ``shape``; with a list of generators each clip has the noise it would have alone.

    Drawn in float32 on the generator's device and then cast, so that one seed starts one clip in every dtype.

    Raises:
        ValueError: a list whose length is not ``shape[0]``.
    """
    if isinstance(generator, list):
        if len(generator) != shape[0]:
            raise ValueError(f"{len(generator)} generators for {shape[0]} clips; give one, or one per clip")
        return torch.cat([clip_noise((1, *shape[1:]), single, device, dtype) for single in generator])
    source = torch.device(device) if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=source, dtype=torch.float32).to(device, dtype)


def _accepted(step: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    known = inspect.signature(step).parameters
    return {name: value for name, value in options.items() if name in known}
