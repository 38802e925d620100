"""The noise schedule: how much signal and how much noise a training step holds (paper, section 2 and appendix).

``z_t = alpha_t z + sigma_t eps`` with ``alpha_t^2 + sigma_t^2 = 1`` (variance preserving). The discrete values are
those of a diffusers scheduler, so that training and sampling never disagree. This is not a sampler: see ``sampler``.
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from jaxtyping import Float, Float64, Int
from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction", "sample"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction", "sample")


def check_prediction_type(prediction_type: str) -> PredictionType:
    """The name itself when diffusers knows it.

    Raises:
        ValueError: the name is none of ``epsilon``, ``v_prediction``, ``sample``.
    """
    for known in PREDICTION_TYPES:
        if prediction_type == known:
            return known
    raise ValueError(f"prediction_type {prediction_type!r} is unknown; use one of {', '.join(PREDICTION_TYPES)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseSchedule:
    """Signal and noise amplitudes of every training step, float64, index 0 the cleanest.

    Attributes:
        alphas: signal amplitude ``alpha_t`` in [0, 1], one per training step; the last one is 0 with zero terminal SNR.
        sigmas: noise amplitude ``sigma_t = sqrt(1 - alpha_t^2)``.
    """

    alphas: Float64[Tensor, " steps"]
    sigmas: Float64[Tensor, " steps"]

    def __post_init__(self) -> None:
        if self.alphas.ndim != 1 or self.alphas.shape != self.sigmas.shape or not len(self.alphas):
            raise ValueError(
                f"alphas {tuple(self.alphas.shape)} and sigmas {tuple(self.sigmas.shape)} must be two vectors of one"
                " length, one value per training step"
            )
        error = (self.alphas**2 + self.sigmas**2 - 1).abs().max().item()
        if not error < 1e-6:
            raise ValueError(f"alpha^2 + sigma^2 differs from 1 by {error:.1e}; only variance-preserving schedules fit")

    @classmethod
    def from_scheduler(cls, scheduler: object) -> Self:
        """The training schedule of a diffusers scheduler, with its own (possibly rescaled) ``alphas_cumprod``.

        Raises:
            ValueError: the scheduler holds no ``alphas_cumprod``, as flow-matching schedulers do.
        """
        cumulative = getattr(scheduler, "alphas_cumprod", None)
        if not isinstance(cumulative, Tensor):
            raise ValueError(f"{type(scheduler).__name__} has no alphas_cumprod; give a variance-preserving scheduler")
        squared = cumulative.detach().to("cpu", torch.float64)
        return cls(alphas=squared.sqrt(), sigmas=(1 - squared).sqrt())

    def __len__(self) -> int:
        return len(self.alphas)

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the last step is pure noise, where an epsilon prediction says nothing about the sample."""
        return self.alphas[-1].item() == 0

    def amplitudes(
        self, timesteps: Int[Tensor, " b"], like: Float[Tensor, "b *rest"]
    ) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b ..."]]:
        """``alpha_t`` and ``sigma_t`` of each clip, shaped ``b 1 1 ...`` to broadcast over ``like``.

        They are float32 or wider: half-precision amplitudes would bias the schedule by 1e-3.
        """
        dtype = torch.promote_types(like.dtype, torch.float32)
        shape = (-1,) + (1,) * (like.ndim - 1)
        steps = timesteps.to(like.device)
        alphas = self.alphas.to(like.device)[steps].to(dtype).view(shape)
        return alphas, self.sigmas.to(like.device)[steps].to(dtype).view(shape)


def noise_scheduler(prediction_type: PredictionType = "v_prediction", zero_terminal_snr: bool = True) -> DDIMScheduler:
    """The scheduler that new stacks are trained and saved with: Stable Diffusion's betas over 1000 steps.

    The betas are linear in ``sqrt(beta)`` from 0.00085 to 0.012: what LDM code calls "linear" is diffusers'
    ``scaled_linear``. With ``zero_terminal_snr`` the last step is pure noise (Lin et al. 2023, algorithm 1), which
    needs ``trailing`` spacing in sampling, so that generation starts at that step.

    Raises:
        ValueError: unknown prediction type, or ``epsilon`` with zero terminal SNR (at the last step the noise is the
            input itself and its prediction holds no information).
    """
    if check_prediction_type(prediction_type) == "epsilon" and zero_terminal_snr:
        raise ValueError(
            "prediction_type 'epsilon' with zero_terminal_snr is undefined at the last step, use v_prediction"
        )
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=zero_terminal_snr,
    )
