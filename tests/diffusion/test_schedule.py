import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from latentloom.diffusion.schedule import NoiseSchedule, check_prediction_type, noise_scheduler


def test_the_schedule_is_stable_diffusions_linear_in_sqrt_beta():
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    expected = np.sqrt(np.cumprod(1 - betas))
    schedule = NoiseSchedule.from_scheduler(noise_scheduler("epsilon", zero_terminal_snr=False))
    assert schedule.alphas.dtype == torch.float64
    assert np.abs(schedule.alphas.numpy() / expected - 1).max() < 1e-5
    assert schedule.alphas[-1] == pytest.approx(0.0682, abs=1e-3)


def test_signal_and_noise_are_variance_preserving_and_monotonous():
    schedule = NoiseSchedule.from_scheduler(noise_scheduler())
    assert (schedule.alphas**2 + schedule.sigmas**2 - 1).abs().max() < 1e-12
    assert bool((schedule.alphas.diff() < 0).all())


def test_zero_terminal_snr_leaves_no_signal_at_the_last_step_and_keeps_the_first():
    schedule, plain = (
        NoiseSchedule.from_scheduler(noise_scheduler(kind, zero_terminal_snr=zero))
        for kind, zero in (("v_prediction", True), ("epsilon", False))
    )
    assert schedule.zero_terminal_snr
    assert not plain.zero_terminal_snr
    assert schedule.alphas[-1] == 0
    assert schedule.alphas[0] == pytest.approx(plain.alphas[0].item(), rel=1e-6)


def test_sampling_with_the_new_scheduler_starts_at_the_step_without_signal():
    scheduler = noise_scheduler()
    scheduler.set_timesteps(25)
    assert scheduler.timesteps[0] == 999


def test_epsilon_with_zero_terminal_snr_is_refused():
    with pytest.raises(ValueError, match="use v_prediction"):
        noise_scheduler("epsilon", zero_terminal_snr=True)


def test_an_unknown_prediction_type_is_refused_by_name():
    with pytest.raises(ValueError, match="'noise' is unknown"):
        check_prediction_type("noise")


def test_a_scheduler_without_a_variance_preserving_schedule_is_refused():
    with pytest.raises(ValueError, match="FlowMatchEulerDiscreteScheduler has no alphas_cumprod"):
        NoiseSchedule.from_scheduler(FlowMatchEulerDiscreteScheduler())


def test_amplitudes_that_do_not_preserve_variance_are_refused():
    ones = torch.ones(10, dtype=torch.float64)
    with pytest.raises(ValueError, match="variance-preserving"):
        NoiseSchedule(alphas=ones, sigmas=ones)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_amplitudes_broadcast_over_clips_and_are_never_half_precision(dtype):
    schedule = NoiseSchedule.from_scheduler(noise_scheduler())
    alphas, sigmas = schedule.amplitudes(torch.tensor([0, 999]), torch.zeros(2, 3, 4, 5, 6, dtype=dtype))
    assert alphas.shape == sigmas.shape == (2, 1, 1, 1, 1)
    assert alphas.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert alphas[1].item() == 0
    assert sigmas[1].item() == 1
