"""The training objective of diffusion models: noising, targets and the loss (paper, Eq. 1).

Every function takes images ``b c h w`` and videos ``b t c h w`` alike: a clip has one time step (``timesteps`` of
``b``), so all its frames are equally noisy. Arithmetic is float32 or wider whatever the dtype of the tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentloom.diffusion.schedule import NoiseSchedule, PredictionType, check_prediction_type


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Which times are drawn, and how errors weigh.

    Attributes:
        high_noise_bias: 0 is uniform, 1 draws the noisier half three times as often (``sample_timesteps``).
        min_snr_gamma: of ``min_snr_weights``; None is no weighting.
    """

    high_noise_bias: float = 0.0
    min_snr_gamma: float | None = None


def add_noise(
    sample: Float[Tensor, "b *rest"],
    noise: Float[Tensor, "b *rest"],
    timesteps: Int[Tensor, " b"],
    schedule: NoiseSchedule,
) -> Float[Tensor, "b *rest"]:
    """``z_t = alpha_t z + sigma_t eps``, in the dtype of ``sample``."""
    alpha, sigma = schedule.amplitudes(timesteps, sample)
    return (alpha * sample + sigma * noise).to(sample.dtype)


def target(
    sample: Float[Tensor, "b *rest"],
    noise: Float[Tensor, "b *rest"],
    timesteps: Int[Tensor, " b"],
    schedule: NoiseSchedule,
    prediction_type: PredictionType,
) -> Float[Tensor, "b *rest"]:
    """What the network should answer: ``eps``, ``z``, or ``v = alpha_t eps - sigma_t z`` (Salimans and Ho 2022).

    Raises:
        ValueError: unknown prediction type.
    """
    check_prediction_type(prediction_type)
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return sample
    alpha, sigma = schedule.amplitudes(timesteps, sample)
    return (alpha * noise - sigma * sample).to(sample.dtype)


def to_sample(
    prediction: Float[Tensor, "b *rest"],
    noisy: Float[Tensor, "b *rest"],
    timesteps: Int[Tensor, " b"],
    schedule: NoiseSchedule,
    prediction_type: PredictionType,
) -> Float[Tensor, "b *rest"]:
    """The clean sample behind a prediction: ``alpha_t z_t - sigma_t v``, ``(z_t - sigma_t eps) / alpha_t``, or ``z``.

    Raises:
        ValueError: unknown prediction type, or an ``epsilon`` prediction at a step without signal (``alpha_t = 0``).
    """
    check_prediction_type(prediction_type)
    if prediction_type == "sample":
        return prediction
    alpha, sigma = schedule.amplitudes(timesteps, noisy)
    if prediction_type == "v_prediction":
        return (alpha * noisy - sigma * prediction).to(noisy.dtype)
    if bool((alpha == 0).any()):
        raise ValueError(
            f"an epsilon prediction at timesteps {timesteps.tolist()} says nothing about the sample: the schedule"
            " has no signal there (zero terminal SNR); use v_prediction or a schedule without it"
        )
    return ((noisy - sigma * prediction) / alpha).to(noisy.dtype)


def sample_timesteps(
    batch: int, schedule: NoiseSchedule, generator: torch.Generator, *, high_noise_bias: float = 0.0
) -> Int[Tensor, " b"]:
    """One training step per clip, ``floor(n u^(1 / (1 + bias)))`` with ``u`` uniform in [0, 1).

    A bias of 0 is uniform; a bias of 1 draws the noisier half three times as often as the other. The steps lie on the
    generator's device.

    Raises:
        ValueError: a negative bias.
    """
    if not high_noise_bias >= 0:
        raise ValueError(f"high_noise_bias {high_noise_bias} must be 0 (uniform) or more")
    # float64: a float32 u may round up to the last step too often, and u^small to 1 exactly
    uniform = torch.rand(batch, generator=generator, device=generator.device, dtype=torch.float64)
    steps = (uniform ** (1 / (1 + high_noise_bias)) * len(schedule)).long()
    return steps.clamp_(max=len(schedule) - 1)


def training_loss(
    predict: Callable[[Tensor, Tensor], Tensor],
    clean: Float[Tensor, "b *rest"],
    schedule: NoiseSchedule,
    generator: torch.Generator,
    *,
    prediction_type: PredictionType,
    config: ObjectiveConfig,
    loss_weight: Float[Tensor, "b *_"] | None = None,
) -> Float[Tensor, ""]:
    """One draw of the denoising objective (paper, Eq. 1): a time and noise per clip, and the error of ``predict``.

    Args:
        predict: ``(noisy, timesteps) -> prediction`` of the shape of ``clean``.
        clean: latents ``b c h w`` or ``b t c h w``; times and noise are drawn on the generator's device.
        loss_weight: of the errors, broadcasting over ``clean``: 0 where they do not count (the given frames); None: all
            alike. Means are weighted: only ratios matter.

    Raises:
        ValueError: what ``sample_timesteps`` and ``diffusion_loss`` raise.
    """
    timesteps = sample_timesteps(len(clean), schedule, generator, high_noise_bias=config.high_noise_bias)
    noise = torch.randn(clean.shape, generator=generator, device=generator.device)
    prediction = predict(add_noise(clean, noise, timesteps, schedule), timesteps)
    wanted = target(clean, noise, timesteps, schedule, prediction_type)
    return diffusion_loss(
        prediction,
        wanted,
        timesteps,
        schedule,
        min_snr_gamma=config.min_snr_gamma,
        prediction_type=prediction_type,
        loss_weight=loss_weight,
    )


def diffusion_loss(
    prediction: Float[Tensor, "b *rest"],
    target: Float[Tensor, "b *rest"],
    timesteps: Int[Tensor, " b"],
    schedule: NoiseSchedule,
    *,
    min_snr_gamma: float | None = None,
    prediction_type: PredictionType = "v_prediction",
    loss_weight: Float[Tensor, "b *_"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error under ``loss_weight``, optionally min-SNR weighted (paper, Eq. 1; Hang et al. 2023).

    Raises:
        ValueError: unknown prediction type, or ``min_snr_gamma`` not positive.
    """
    squares = (prediction.float() - target.float()).square()
    if loss_weight is None:
        errors = squares.flatten(1).mean(1)
    else:
        errors = (squares * loss_weight).flatten(1).mean(1) / loss_weight.flatten(1).mean(1)
    if min_snr_gamma is None:
        return errors.mean()
    weights = min_snr_weights(timesteps, schedule, min_snr_gamma, prediction_type)
    return (weights.to(errors) * errors).mean()


def min_snr_weights(
    timesteps: Int[Tensor, " b"], schedule: NoiseSchedule, gamma: float, prediction_type: PredictionType
) -> Float[Tensor, " b"]:
    """``min(SNR, gamma)`` on the error of the clean sample, restated for the quantity predicted.

    The error of ``z`` is ``sigma`` times that of ``v`` and ``sigma / alpha`` times that of ``eps``; hence
    ``min(SNR, gamma)``, ``min(alpha^2, gamma sigma^2)`` and ``min(1, gamma / SNR)``. Trap: under zero terminal SNR the
    last step weighs nothing for ``v``, and sampling starts there; use it with a schedule that keeps some signal.

    Raises:
        ValueError: unknown prediction type, or ``gamma`` not positive.
    """
    check_prediction_type(prediction_type)
    if not gamma > 0:
        raise ValueError(f"min_snr_gamma {gamma} must be positive, usually 5; None switches the weighting off")
    signal, noise = (
        schedule.alphas.to(timesteps.device)[timesteps] ** 2,
        schedule.sigmas.to(timesteps.device)[timesteps] ** 2,
    )
    if prediction_type == "v_prediction":
        return torch.minimum(signal, gamma * noise)
    if prediction_type == "epsilon":
        return (gamma * noise / signal).clamp(max=1.0)
    return (signal / noise).clamp(max=gamma)
