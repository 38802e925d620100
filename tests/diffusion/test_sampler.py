import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from latentloom.diffusion.sampler import clip_noise, denoise, num_evaluations
from latentloom.diffusion.schedule import noise_scheduler

SCHEDULERS = [
    DDIMScheduler,
    PNDMScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
]


def scheduler_of(kind):
    return kind.from_config(noise_scheduler("epsilon", zero_terminal_snr=False).config)


def noise_for(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 2, 4, 3, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_every_scheduler_finds_the_mean_of_known_data(kind):
    """Data that is one point c: the ideal noise prediction is (x - alpha c) / sigma, and sampling must end at c."""
    c, scheduler = 0.5, scheduler_of(kind)
    cumulative = scheduler.alphas_cumprod.double()

    def predict(latents, timestep):
        squared = cumulative[timestep.round().long()]
        return ((latents - squared.sqrt() * c) / (1 - squared).sqrt()).float()

    latents = denoise(predict, noise_for(), scheduler, 30, generator=torch.Generator().manual_seed(1))
    assert latents.shape == noise_for().shape
    assert (latents - c).abs().mean() < 0.1


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_the_callback_sees_every_evaluation_and_the_scheduler_is_left_as_it_was(kind):
    scheduler = scheduler_of(kind)
    before = str(vars(scheduler))
    seen = []
    denoise(
        lambda latents, timestep: 0.1 * latents,
        noise_for(),
        scheduler,
        4,
        generator=torch.Generator().manual_seed(1),
        callback=lambda index, timestep, latents: seen.append((index, float(timestep))),
    )
    assert [index for index, _ in seen] == list(range(num_evaluations(scheduler, 4)))
    assert str(vars(scheduler)) == before


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_run_after_a_cancelled_one_is_the_same_as_before(kind):
    class CancelledError(Exception):
        pass

    def cancel(index, timestep, latents):
        if index == 2:
            raise CancelledError

    def run(callback=None):
        generator = torch.Generator().manual_seed(1)
        return denoise(
            lambda latents, timestep: torch.tanh(latents),
            noise_for(),
            scheduler,
            5,
            generator=generator,
            callback=callback,
        )

    scheduler = scheduler_of(kind)
    first = run()
    with pytest.raises(CancelledError):
        run(cancel)
    assert torch.equal(run(), first)


def test_latents_returned_by_the_callback_replace_the_sampled_ones():
    replaced = torch.full((1, 2, 4, 3, 5), 7.0)
    latents = denoise(
        lambda latents, timestep: latents,
        noise_for(),
        noise_scheduler(),
        3,
        callback=lambda index, timestep, latents: replaced if index == 2 else None,
    )
    assert torch.equal(latents, replaced)


def test_eta_and_the_generator_reach_the_schedulers_that_take_them():
    def run(eta, seed):
        generator = torch.Generator().manual_seed(seed)
        return denoise(lambda z, t: 0.1 * z, noise_for(), noise_scheduler(), 4, eta=eta, generator=generator)

    assert torch.equal(run(0.0, 1), run(0.0, 2))
    assert torch.equal(run(1.0, 1), run(1.0, 1))
    assert not torch.equal(run(1.0, 1), run(1.0, 2))


def test_sampling_builds_no_graph():
    weight = torch.ones((), requires_grad=True)
    assert not denoise(lambda latents, t: weight * latents, noise_for(), noise_scheduler(), 2).requires_grad


def test_a_clip_has_the_same_noise_alone_and_in_a_batch():
    shape = (2, 3, 4, 5)
    batch = clip_noise((3, *shape), [torch.Generator().manual_seed(i) for i in range(3)], "cpu", torch.float32)
    alone = clip_noise((1, *shape), torch.Generator().manual_seed(2), "cpu", torch.float32)
    assert torch.equal(batch[2:], alone)
    assert not torch.equal(batch[0], batch[1])


def test_the_same_seed_starts_the_same_clip_in_every_dtype():
    exact, half = (
        clip_noise((1, 2, 4, 8, 8), torch.Generator().manual_seed(0), "cpu", dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert torch.equal(exact.bfloat16(), half)


def test_too_few_generators_are_refused():
    with pytest.raises(ValueError, match="1 generators for 2 clips"):
        clip_noise((2, 3), [torch.Generator()], "cpu", torch.float32)


def test_the_last_part_of_a_walk_begins_from_what_is_given():
    scheduler = noise_scheduler("v_prediction", zero_terminal_snr=True)
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    start = torch.full_like(noise, 3.0)
    seen: list[tuple[int, torch.Tensor]] = []

    def predict(latents, timestep, /):
        seen.append((int(timestep), latents))
        return torch.zeros_like(latents)

    denoise(predict, noise, scheduler, 10)
    whole = [step for step, _ in seen]
    seen.clear()
    denoise(predict, noise, scheduler, 10, start=start, strength=0.3)
    assert [step for step, _ in seen] == whole[-3:]
    torch.testing.assert_close(seen[0][1], scheduler.add_noise(start, noise, torch.tensor([whole[-3]])))
    assert num_evaluations(scheduler, 10, 0.3) == 3 and num_evaluations(scheduler, 10, 1e-3) == 1
    seen.clear()
    denoise(predict, noise, scheduler, 10, start=start, strength=1.0)
    assert torch.equal(seen[0][1], noise), "the whole walk begins from noise"


def test_a_callback_that_gives_latents_of_another_shape_is_refused():
    scheduler = noise_scheduler()
    with pytest.raises(ValueError, match=r"callback gave \(2,\), the latents are \(1, 3\)"):
        denoise(lambda z, t: z, torch.randn(1, 3), scheduler, 2, callback=lambda *_: torch.zeros(2))
