import pytest
import torch

from latentloom.conditions import Conditions
from latentloom.diffusion.guidance import combined, guided, necessary, num_predictions


def conditions(value: float, batch: int = 2) -> Conditions:
    return Conditions(text=torch.full((batch, 3, 4), value))


class Recorder:
    """A network that answers with its latents plus the mean of its text, and notes the batches it was given."""

    def __init__(self):
        self.batches = []

    def __call__(self, latents, timestep, conditions):
        self.batches.append(len(latents))
        return latents + conditions.text.mean(dim=(1, 2))[:, None]


def test_a_scale_leads_away_from_the_unconditional_prediction():
    assert combined(torch.tensor([1.0]), (6.0, torch.tensor([3.0]))).item() == 13.0


def test_links_add_up_each_with_its_own_scale():
    nothing, context, text = (torch.tensor([x]) for x in (1.0, 3.0, 4.0))
    assert combined(nothing, (2.0, context), (5.0, text)).item() == 1 + 2 * (3 - 1) + 5 * (4 - 3)


@pytest.mark.parametrize(("scale", "batches"), [(0.0, [2]), (1.0, [2]), (6.0, [4])])
def test_the_network_is_called_once_a_step_with_two_halves_only_where_guidance_needs_them(scale, batches):
    network, latents = Recorder(), torch.randn(2, 5)
    prediction = guided(network, conditions(0.0), (scale, conditions(1.0)))(latents, torch.tensor(0))
    assert network.batches == batches
    assert torch.allclose(prediction, latents + scale)


@pytest.mark.parametrize(
    ("scales", "kept"),
    [
        ((1.0, 1.0), [2]),  # fully conditional
        ((0.0, 0.0), [0]),  # unconditional
        ((1.0, 0.0), [1]),
        ((2.0, 2.0), [0, 2]),  # one scale for both conditions: the middle cancels out
        ((1.0, 3.0), [1, 2]),
        ((0.0, 3.0), [0, 1, 2]),
        ((2.0, 3.0), [0, 1, 2]),
        ((2.0, 0.0), [0, 1]),
    ],
)
def test_predictions_that_cancel_out_are_not_computed(scales, kept):
    chain = [(1.0, conditions(0.0)), (scales[0], conditions(1.0)), (scales[1], conditions(2.0))]
    left = necessary(chain)
    assert [int(link.text[0, 0, 0]) for _, link in left] == kept
    values = [torch.tensor(float(7 ** int(link.text[0, 0, 0]))) for _, link in left]
    whole = combined(torch.tensor(1.0), (scales[0], torch.tensor(7.0)), (scales[1], torch.tensor(49.0)))
    assert combined(values[0], *((s, v) for (s, _), v in zip(left[1:], values[1:], strict=True))) == whole


@pytest.mark.parametrize(
    ("scales", "count"), [((1.0,), 1), ((0.0,), 1), ((2.0,), 2), ((1.0, 2.0), 2), ((1.5, 2.0), 3), ((2.0, 2.0), 2)]
)
def test_the_number_of_predictions_is_known_before_they_are_made(scales, count):
    assert num_predictions(*scales) == count
    links = [(scale, conditions(float(place + 1))) for place, scale in enumerate(scales)]
    network = Recorder()
    guided(network, conditions(0.0), *links)(torch.randn(2, 5), torch.tensor(0))
    assert network.batches == [2 * count]


def test_scales_of_one_and_zero_are_a_single_prediction_bit_for_bit():
    latents = torch.randn(2, 5)
    for scales, value in (((1.0, 1.0), 2.0), ((0.0, 0.0), 0.0), ((1.0, 0.0), 1.0)):
        links = [(scales[0], conditions(1.0)), (scales[1], conditions(2.0))]
        made = guided(Recorder(), conditions(0.0), *links)(latents, torch.tensor(0))
        assert torch.equal(made, Recorder()(latents, torch.tensor(0), conditions(value)))
