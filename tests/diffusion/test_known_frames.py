import pytest
import torch
from diffusers import DDIMScheduler

from latentloom.conditions import Conditions
from latentloom.diffusion.augmentation import noised_context
from latentloom.diffusion.guidance import guided, is_told
from latentloom.diffusion.known_frames import KnownFrames
from latentloom.diffusion.masks import masked_context, pinned_frames_mask
from latentloom.diffusion.objective import add_noise
from latentloom.diffusion.sampler import denoise
from latentloom.diffusion.schedule import NoiseSchedule, noise_scheduler

SCHEDULER = noise_scheduler()
MASK = pinned_frames_mask([0, 3], 4)


def clip(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 4, 3, 2, 5, generator=torch.Generator().manual_seed(seed))


def test_the_network_sees_known_frames_as_noisy_as_the_rest_at_every_step():
    known, noise = KnownFrames(latents=clip(), mask=MASK), clip(1)
    schedule = NoiseSchedule.from_scheduler(SCHEDULER)
    seen = []

    def network(latents, timestep):
        seen.append((latents, int(timestep)))
        return torch.randn(latents.shape, generator=torch.Generator().manual_seed(len(seen)))

    denoise(known.keeping(network, noise, SCHEDULER), noise, SCHEDULER, 4)
    assert len(seen) == 4
    for latents, timestep in seen:
        expected = add_noise(clip(), noise, torch.tensor([timestep] * 2), schedule)
        assert torch.equal(latents[:, [0, 3]], expected[:, [0, 3]])
        assert timestep == 999 or not torch.allclose(latents[:, 1:3], expected[:, 1:3])


def test_under_guidance_every_prediction_sees_the_same_known_frames():
    known, noise, latents = KnownFrames(latents=clip(), mask=MASK), clip(1), clip(2)
    text = torch.zeros(2, 1, 1)
    free, told = Conditions(text=text), Conditions(text=text, context=masked_context(clip(), MASK))
    seen = []

    def network(latents, timestep, conditions):
        seen.append(latents)
        return latents

    known.keeping(guided(network, free, (2.0, told)), noise, SCHEDULER)(latents, torch.tensor(500))
    without, under = seen[0].chunk(2)
    expected = add_noise(clip(), noise, torch.tensor([500] * 2), NoiseSchedule.from_scheduler(SCHEDULER))
    assert torch.equal(without, under)
    assert torch.equal(under[:, [0, 3]], expected[:, [0, 3]]) and torch.equal(under[:, 1:3], latents[:, 1:3])


def test_frames_are_told_where_a_prediction_with_them_is_computed():
    text = torch.zeros(2, 1, 1)
    free, told = Conditions(text=text), Conditions(text=text, context=masked_context(clip(), MASK))
    assert is_told(free, (1.0, told), (2.0, told)) and is_told(free, (0.0, told), (1.0, told))
    assert not is_told(free, (0.0, told), (0.0, told)) and not is_told(free, (2.0, free))


def test_in_the_result_known_frames_are_what_was_given_and_the_others_are_left():
    known, made = KnownFrames(latents=clip(), mask=MASK), clip(1)
    kept = known.kept(made)
    assert torch.equal(kept[:, [0, 3]], clip()[:, [0, 3]])
    assert torch.equal(kept[:, 1:3], made[:, 1:3])


def test_what_lies_in_the_unknown_frames_does_not_matter_not_even_nan():
    latents = clip()
    latents[:, 1:3] = torch.nan
    known = KnownFrames(latents=latents, mask=MASK)
    shown = known.keeping(lambda z, t: z, clip(1), SCHEDULER)(clip(2), torch.tensor(500))
    assert known.kept(clip(1)).isfinite().all() and shown.isfinite().all()


def test_a_context_without_noise_is_clean_and_with_noise_keeps_its_mask():
    schedule = NoiseSchedule.from_scheduler(SCHEDULER)
    levels = torch.tensor([0, 250])
    context = noised_context(clip(), MASK, levels, schedule, torch.Generator().manual_seed(0))
    assert context.shape == (2, 4, 4, 2, 5)
    assert torch.equal(context[0, [0, 3], :3], clip()[0, [0, 3]])
    error = (context[1, [0, 3], :3] - schedule.alphas[250].item() * clip()[1, [0, 3]]).std()
    assert error.item() == pytest.approx(schedule.sigmas[250].item(), rel=0.25)
    assert not context[:, 1:3].any()
    assert torch.equal(context[:, :, 3:], MASK.expand(2, 4, 1, 2, 5))


def test_a_scheduler_without_a_variance_preserving_schedule_is_refused():
    from diffusers import FlowMatchEulerDiscreteScheduler

    with pytest.raises(ValueError, match="no alphas_cumprod"):
        KnownFrames(latents=clip(), mask=MASK).keeping(lambda z, t: z, clip(), FlowMatchEulerDiscreteScheduler())
    KnownFrames(latents=clip(), mask=MASK).keeping(lambda z, t: z, clip(), DDIMScheduler())
