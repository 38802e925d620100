from functools import partial

import pytest
import torch
from tests.small_networks import awake, small_upsampler

from latentloom.align import TemporalLayers, attach
from latentloom.layers.layer_set import LayerSet
from latentloom.models.upsampler import PixelUpsampler
from latentloom.stages.journal import Journal
from latentloom.stages.request import UpsamplingRequest
from latentloom.stages.upsampling import tiled, upsample_frames

REQUEST = UpsamplingRequest(num_inference_steps=2, portion=4, overlap=2)


@pytest.fixture(scope="module")
def upsampler() -> PixelUpsampler:
    return small_upsampler()


@pytest.fixture(scope="module")
def layers(upsampler) -> TemporalLayers:
    return awake(TemporalLayers.for_network(upsampler.unet, LayerSet.upsampler()))


def frames(count: int, height: int = 8, width: int = 12) -> torch.Tensor:
    return torch.randint(0, 256, (count, height, width, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def made(upsampler, layers, given, request=REQUEST, **options) -> torch.Tensor:
    return torch.stack(list(upsample_frames(upsampler, layers, given, request, **options)))


@pytest.mark.parametrize("count", [1, 3, 4, 5, 6, 7, 11])
def test_every_frame_comes_out_larger_once_and_in_order(upsampler, layers, count):
    for temporal in (None, layers):
        assert made(upsampler, temporal, frames(count)).shape == (count, 16, 24, 3)


def test_a_portion_begins_with_frames_that_were_made_and_depends_on_them(upsampler, layers):
    given = frames(6)
    whole = made(upsampler, layers, given)
    assert torch.equal(whole[:4], made(upsampler, layers, given[:4]))
    altered = given.clone()
    altered[0] = 255 - altered[0]
    assert not torch.equal(made(upsampler, layers, altered)[5], whole[5])


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(upsampler, layers):
    assert torch.equal(made(upsampler, layers, frames(5)), made(upsampler, layers, frames(5)))
    assert not torch.equal(made(upsampler, layers, frames(5)), made(upsampler, layers, frames(5), seed=1))


def test_without_layers_portions_change_nothing_but_rounding(upsampler):
    given = frames(7)
    whole, parts = (
        made(upsampler, None, given, UpsamplingRequest(num_inference_steps=2, portion=portion, noise_level=100))
        for portion in (8, 3)
    )
    assert (whole.int() - parts.int()).abs().max() <= 1, "a frame's noise is its own"


@pytest.mark.parametrize("wrong", [{"guidance_scale": 3.0}, {"decoder_reach": 8}])
def test_what_a_pixel_upsampler_does_not_have_is_refused(upsampler, wrong):
    with pytest.raises(ValueError, match="works on pixels"):
        made(upsampler, None, frames(1), UpsamplingRequest(**wrong))


@pytest.mark.parametrize("tile", [(8, 8), (16, 100), (6, 22)])
@pytest.mark.parametrize("temporal", [False, True])
def test_tiles_equal_the_whole_frame(upsampler, layers, tile, temporal):
    video = attach(upsampler.unet, layers) if temporal else None
    predict = partial(upsampler.predict, video=video)
    height, width = 4 * upsampler.receptive_radius // 2, 6 * upsampler.receptive_radius // 2
    cells, small = torch.randn(1, 3, 12, height, width), torch.randn(1, 3, 3, height, width)
    arguments = (cells, torch.tensor(400), small, torch.full((1,), 20.0))
    whole = predict(*arguments)
    torch.testing.assert_close(
        tiled(predict, tile, upsampler.receptive_radius, 2)(*arguments), whole, atol=1e-4, rtol=1e-4
    )
    clipped = tiled(predict, tile, 2, 2)(*arguments)
    assert not torch.allclose(clipped, whole, atol=1e-3), "a tile that sees less would show its seams"
    if video is not None:
        video.detach()


def test_tiles_reach_the_finished_frames(upsampler, layers):
    given = frames(5, 48, 96)
    whole = made(upsampler, layers, given)
    cut = made(upsampler, layers, given, UpsamplingRequest(num_inference_steps=2, portion=4, overlap=2, tile=(16, 32)))
    assert (whole.int() - cut.int()).abs().max() <= 1


def test_finished_portions_are_remembered(upsampler, layers):
    seen = []

    def remember(stage, index, make):
        seen.append((stage, index))
        return make()

    made(upsampler, layers, frames(8), remember=remember)
    assert seen == [("upsampling", 0), ("upsampling", 1), ("upsampling", 2)]


@pytest.mark.parametrize("after", [1, 2])
def test_killed_after_a_portion_and_continued_the_frames_are_the_same(upsampler, layers, tmp_path, after):
    expected = made(upsampler, layers, frames(8))

    def killed(stage, index, make):
        if index == after:
            raise KeyboardInterrupt
        return journal.remember(stage, index, make)

    with pytest.raises(KeyboardInterrupt), Journal.opened(tmp_path / "journal", {}) as journal:
        made(upsampler, layers, frames(8), remember=killed)
    with Journal.opened(tmp_path / "journal", {}) as journal:
        assert journal.num_windows == after
        assert torch.equal(made(upsampler, layers, frames(8), remember=journal.remember), expected)
        assert journal.num_windows == 3


def test_the_image_upsampler_is_itself_again_afterwards(upsampler, layers):
    before = made(upsampler, None, frames(2))
    made(upsampler, layers, frames(2))
    assert not any(module._forward_hooks for module in upsampler.unet.modules())
    assert torch.equal(made(upsampler, None, frames(2)), before)


def test_frames_the_network_cannot_take_are_refused(upsampler):
    with pytest.raises(ValueError, match="multiples of 2 pixels"):
        made(upsampler, None, frames(1, 7, 12))


@pytest.mark.parametrize("wrong", [{"num_inference_steps": 0}, {"noise_level": 1000}, {"overlap": 4, "portion": 4}])
def test_requests_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        UpsamplingRequest(**wrong)
