import pytest
import torch
from diffusers import DDIMScheduler

from latentloom.diffusion.objective import (
    add_noise,
    diffusion_loss,
    min_snr_weights,
    sample_timesteps,
    target,
    to_sample,
)
from latentloom.diffusion.schedule import PREDICTION_TYPES, NoiseSchedule, noise_scheduler

PLAIN = noise_scheduler("epsilon", zero_terminal_snr=False)
ZERO = noise_scheduler()
SHAPES = [(3, 4, 5, 6), (3, 2, 4, 5, 6)]


def schedule_of(scheduler: DDIMScheduler) -> NoiseSchedule:
    return NoiseSchedule.from_scheduler(scheduler)


def pair(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    return first, second


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scheduler", [PLAIN, ZERO], ids=["plain", "zero terminal snr"])
def test_noising_and_velocity_agree_with_diffusers(shape, scheduler):
    sample, noise = pair(shape)
    timesteps = torch.tensor([0, 500, 999])
    noisy = add_noise(sample, noise, timesteps, schedule_of(scheduler))
    velocity = target(sample, noise, timesteps, schedule_of(scheduler), "v_prediction")
    assert torch.allclose(noisy, scheduler.add_noise(sample, noise, timesteps), atol=1e-6)
    assert torch.allclose(velocity, scheduler.get_velocity(sample, noise, timesteps), atol=1e-6)


def test_all_frames_of_a_clip_share_its_time_step():
    sample, noise = pair((2, 3, 4, 5, 6))
    schedule = schedule_of(ZERO)
    noisy = add_noise(sample, noise, torch.tensor([100, 999]), schedule)
    assert torch.equal(noisy[1], noise[1])
    for frame in range(3):
        alone = add_noise(sample[:, frame], noise[:, frame], torch.tensor([100, 999]), schedule)
        assert torch.equal(noisy[:, frame], alone)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_a_perfect_prediction_gives_the_sample_back(prediction_type):
    sample, noise = pair((4, 2, 3, 5, 6), torch.float64)
    timesteps = torch.tensor([0, 10, 500, 999])
    schedule = schedule_of(PLAIN)
    noisy = add_noise(sample, noise, timesteps, schedule)
    answer = target(sample, noise, timesteps, schedule, prediction_type)
    assert (to_sample(answer, noisy, timesteps, schedule, prediction_type) - sample).abs().max() < 1e-12


def test_velocity_gives_the_sample_back_where_no_signal_is_left():
    sample, noise = pair((1, 2, 3, 5, 6))
    last = torch.tensor([999])
    schedule = schedule_of(ZERO)
    velocity = target(sample, noise, last, schedule, "v_prediction")
    noisy = add_noise(sample, noise, last, schedule)
    assert torch.equal(to_sample(velocity, noisy, last, schedule, "v_prediction"), sample)


def test_epsilon_where_no_signal_is_left_is_refused_rather_than_divided_by_zero():
    noise, _ = pair((2, 3, 5, 6))
    with pytest.raises(ValueError, match=r"timesteps \[3, 999\]"):
        to_sample(noise, noise, torch.tensor([3, 999]), schedule_of(ZERO), "epsilon")


def test_half_precision_tensors_are_noised_in_float32():
    sample, noise = pair((3, 4, 5, 6))
    timesteps = torch.tensor([1, 500, 998])
    exact = add_noise(sample.bfloat16().float(), noise.bfloat16().float(), timesteps, schedule_of(ZERO))
    half = add_noise(sample.bfloat16(), noise.bfloat16(), timesteps, schedule_of(ZERO))
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, exact.bfloat16())


def test_time_steps_are_uniform_without_a_bias_and_noisier_with_one():
    schedule = schedule_of(ZERO)
    uniform, biased = (
        sample_timesteps(20_000, schedule, torch.Generator().manual_seed(0), high_noise_bias=bias).double()
        for bias in (0.0, 1.0)
    )
    assert uniform.min() == 0
    assert uniform.max() == 999
    assert uniform.mean() == pytest.approx(499.5, abs=10)
    # u^(1/2) has the density 2u: a quarter of the draws in the cleaner half
    assert (biased < 500).double().mean() == pytest.approx(0.25, abs=0.015)


def test_time_steps_come_from_the_generator_alone():
    schedule = schedule_of(ZERO)
    torch.manual_seed(1)
    first = sample_timesteps(8, schedule, torch.Generator().manual_seed(5))
    torch.manual_seed(2)
    assert torch.equal(first, sample_timesteps(8, schedule, torch.Generator().manual_seed(5)))


@pytest.mark.parametrize("bias", [-0.1, float("nan")])
def test_a_bias_that_is_not_a_positive_number_is_refused(bias):
    with pytest.raises(ValueError, match="must be 0"):
        sample_timesteps(1, schedule_of(ZERO), torch.Generator(), high_noise_bias=bias)


def test_the_loss_without_weights_is_the_mean_squared_error():
    prediction, truth = pair((3, 2, 4, 5, 6))
    loss = diffusion_loss(prediction, truth, torch.tensor([0, 5, 999]), schedule_of(ZERO))
    assert loss.item() == pytest.approx(torch.nn.functional.mse_loss(prediction, truth).item(), rel=1e-6)


def test_errors_count_only_where_they_are_counted_each_clip_by_its_own_share():
    prediction, truth = pair((2, 4, 3, 5, 6))
    counted = torch.ones(2, 4, 1, 1, 1)
    counted[0, :2] = 0
    loss = diffusion_loss(prediction, truth, torch.tensor([0, 5]), schedule_of(ZERO), loss_weight=counted)
    squares = (prediction - truth).square()
    expected = (squares[0, 2:].mean() + squares[1].mean()) / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_min_snr_is_one_loss_on_the_sample_whatever_is_predicted(prediction_type):
    schedule = schedule_of(PLAIN)
    sample, noise = pair((4, 3, 5, 6), torch.float64)
    timesteps = torch.tensor([1, 100, 600, 999])
    noisy = add_noise(sample, noise, timesteps, schedule)
    truth = target(sample, noise, timesteps, schedule, prediction_type)
    guess = truth + 0.1 * sample.roll(1)
    error = (to_sample(guess, noisy, timesteps, schedule, prediction_type) - sample).square().flatten(1).mean(1)
    snr = (schedule.alphas[timesteps] / schedule.sigmas[timesteps]) ** 2
    expected = (snr.clamp(max=5.0) * error).mean()
    loss = diffusion_loss(guess, truth, timesteps, schedule, min_snr_gamma=5.0, prediction_type=prediction_type)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_min_snr_weights_are_finite_where_no_signal_is_left(prediction_type):
    weights = min_snr_weights(torch.tensor([999]), schedule_of(ZERO), 5.0, prediction_type)
    assert weights.item() == (1.0 if prediction_type == "epsilon" else 0.0)


def test_a_min_snr_gamma_that_is_not_positive_is_refused():
    prediction, truth = pair((1, 3, 5, 6))
    with pytest.raises(ValueError, match="must be positive"):
        diffusion_loss(prediction, truth, torch.tensor([0]), schedule_of(ZERO), min_snr_gamma=0.0)
