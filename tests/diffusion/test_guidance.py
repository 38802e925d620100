import pytest
import torch

from latentloom.diffusion.guidance import text_guidance, with_text_guidance


def test_scale_one_is_the_conditional_prediction_and_zero_the_unconditional_bit_for_bit():
    plain, told = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert torch.equal(text_guidance(plain, told, 1.0), told)
    assert torch.equal(text_guidance(plain, told, 0.0), plain)


def test_a_scale_leads_away_from_the_unconditional_prediction():
    plain, told = torch.tensor([1.0]), torch.tensor([3.0])
    assert text_guidance(plain, told, 6.0).item() == 13.0


@pytest.mark.parametrize(("scale", "batches"), [(0.0, [2]), (1.0, [2]), (6.0, [4])])
def test_the_network_is_called_once_a_step_with_two_halves_only_where_guidance_needs_them(scale, batches):
    seen = []

    def network(latents, timestep, text):
        seen.append(len(latents))
        return latents + text.mean(dim=(1, 2))[:, None]

    latents = torch.randn(2, 5)
    unconditional, conditional = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    prediction = with_text_guidance(network, unconditional, conditional, scale)(latents, torch.tensor(0))
    assert seen == batches
    assert torch.allclose(prediction, latents + scale)
