import pytest
import torch
from tests.small_networks import awake, small_upsampler

from latentloom.align import TemporalLayers, attach
from latentloom.diffusion.objective import add_noise
from latentloom.layers.layer_set import LayerSet
from latentloom.layers.norms import PositionGroupNorm
from latentloom.models.upsampler import DIFFERENCE, PixelUpsampler, downsampled, enlarge, from_cells, to_cells


@pytest.mark.parametrize("factor", [2, 4])
def test_cells_hold_the_large_frame_on_the_small_grid(factor):
    large = torch.randn(2, 3, 3, 8, 16)
    cells = to_cells(large, factor)
    assert cells.shape == (2, 3, 3 * factor**2, 8 // factor, 16 // factor)
    assert torch.equal(from_cells(cells, factor), large)
    means = cells.unflatten(2, (3, factor**2)).mean(3)
    torch.testing.assert_close(downsampled(large, factor), means)


def test_a_local_norm_looks_at_channels_only():
    norm, x = PositionGroupNorm(2, 8, eps=1e-12), torch.randn(2, 8, 5, 6)
    moved = x.clone()
    moved[:, :, 0, 0] += torch.randn(8)
    same = (norm(x) == norm(moved)).all(1)
    assert not same[:, 0, 0].any() and same.flatten(1)[:, 1:].all()
    groups = norm(x).unflatten(1, (2, 4))
    torch.testing.assert_close(groups.mean(2), torch.zeros(2, 2, 5, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(groups.square().mean(2), torch.ones(2, 2, 5, 6), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("widths", "layers"), [((8,), 1), ((8, 16), 1), ((8, 8, 16), 1), ((8, 8), 2)])
def test_the_reach_is_how_far_the_network_looks_and_not_much_more(widths, layers):
    network = awake(PixelUpsampler(2, widths, layers, 2))
    side = 2 * (network.receptive_radius // network.size_multiple * network.size_multiple) + 16 * network.size_multiple
    cells, small = torch.randn(1, 1, 12, 8, side), torch.randn(1, 1, 3, 8, side)
    moved = cells.clone()
    moved[..., side // 2] += 3
    answers = [network.predict(x, torch.tensor(500), small, torch.zeros(1)) for x in (cells, moved)]
    changed = (answers[0] - answers[1]).abs().amax(dim=(0, 1, 2, 3)) > 1e-6
    places = changed.nonzero().flatten()
    seen = max(side // 2 - int(places.min()), int(places.max()) - side // 2)
    assert 0.4 * network.receptive_radius < seen <= network.receptive_radius


def test_frames_are_made_alone_without_layers_and_together_with_them():
    network = small_upsampler()
    layers = awake(TemporalLayers.for_network(network.unet, LayerSet.upsampler()))
    cells, small, level = torch.randn(1, 4, 12, 4, 6), torch.randn(1, 4, 3, 4, 6), torch.zeros(1)
    moved = cells.clone()
    moved[:, 1] += 1
    times = torch.tensor(300)
    alone = [network.predict(x, times, small, level) for x in (cells, moved)]
    assert [torch.equal(alone[0][:, i], alone[1][:, i]) for i in range(4)] == [True, False, True, True]
    video = attach(network.unet, layers)
    together = [network.predict(x, times, small, level, video) for x in (cells, moved)]
    assert not any(torch.equal(together[0][:, i], together[1][:, i]) for i in range(4))
    video.detach()


def test_the_small_frame_its_level_and_the_time_matter():
    network = small_upsampler()
    cells, small = torch.randn(1, 1, 12, 4, 6), torch.randn(1, 1, 3, 4, 6)
    plain = network.predict(cells, torch.tensor(300), small, torch.zeros(1))
    for other in (
        network.predict(cells, torch.tensor(300), small + 1, torch.zeros(1)),
        network.predict(cells, torch.tensor(300), small, torch.full((1,), 200.0)),
        network.predict(cells, torch.tensor(700), small, torch.zeros(1)),
    ):
        assert not torch.allclose(other, plain, atol=1e-4)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    network = small_upsampler()
    network.save_pretrained(tmp_path)
    again = PixelUpsampler.from_pretrained(tmp_path)
    arguments = (torch.randn(1, 2, 12, 4, 6), torch.tensor(300), torch.randn(1, 2, 3, 4, 6), torch.zeros(1))
    assert torch.equal(again.predict(*arguments), network.predict(*arguments))
    assert again.factor == 2


def test_another_factor_is_refused():
    with pytest.raises(ValueError, match="factor is 3"):
        PixelUpsampler(3)


def test_a_network_that_answers_nothing_takes_the_noise_off_around_the_enlarged_small_frame():
    network = PixelUpsampler(4, (8,), groups=2)
    torch.nn.init.zeros_(network.unet.conv_out.weight)
    torch.nn.init.zeros_(network.unet.conv_out.bias)
    small = torch.rand(2, 1, 3, 4, 6)
    cells = to_cells(enlarge(small, 4), 4)
    noise, times = torch.randn(cells.shape), torch.tensor([30, 900])
    made = network.predict(add_noise(cells, noise, times, network.schedule), times, small, torch.zeros(2))
    error = (made - cells).square().mean((1, 2, 3, 4)).sqrt()
    assert error[0] < 0.05 and error[1] < 0.02, "far below the noise that was put on"


@pytest.mark.parametrize("level", [0, 200])
def test_differences_from_the_enlarged_frame_have_unit_size_before_and_after_the_network(level):
    network = small_upsampler()
    scale = network.scales(torch.tensor([5, 400, 999]), torch.full((3,), float(level)))
    noise = network.schedule.sigmas[[5, 400, 999]].float().view(-1, 1, 1, 1, 1)
    variance = DIFFERENCE**2 + (network.schedule.sigmas[level].item() ** 2 if level else 0)
    torch.testing.assert_close(scale.input**2 * (scale.signal**2 * variance + noise**2), torch.ones(3, 1, 1, 1, 1))
    left = (1 - scale.skip * scale.signal) ** 2 * variance + scale.skip**2 * noise**2
    torch.testing.assert_close(left, scale.output**2, atol=1e-6, rtol=1e-4)
    assert scale.skip[2] == 0, "at pure noise only the small frame is known"
