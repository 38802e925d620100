"""Stable Diffusion's x4 upscaler as a stage: without temporal layers it is diffusers' own pipeline, bit for bit."""

from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionUpscalePipeline
from tests.small_networks import awake
from tests.stable_diffusion import upscaler
from tests.tiny import tiny_stack

from latentloom.align import TemporalLayers, attach
from latentloom.models.latent_upsampler import PARTS, LatentUpsampler
from latentloom.seeds import Stream, generator_of
from latentloom.stack import Stack
from latentloom.stages.journal import Journal
from latentloom.stages.request import UpsamplingRequest
from latentloom.stages.upsampling import completed, mixed_tiles, upsample_frames

REQUEST = UpsamplingRequest(num_inference_steps=2, portion=4, overlap=2, prompt="a road", guidance_scale=3.0)


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionUpscalePipeline:
    return upscaler()


@pytest.fixture(scope="module")
def network(pipeline) -> LatentUpsampler:
    return LatentUpsampler(**{name: pipeline.components[name] for name in PARTS})


@pytest.fixture(scope="module")
def layers(network) -> TemporalLayers:
    return awake(TemporalLayers.for_network(network.unet, network.layer_set))


def frames(count: int, height: int = 16, width: int = 24) -> torch.Tensor:
    return torch.randint(0, 256, (count, height, width, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def made(network, layers, given, request=REQUEST, **options) -> torch.Tensor:
    return torch.stack(list(upsample_frames(network, layers, given, request, **options)))


@pytest.mark.parametrize("guidance", [1.0, 9.0])
@pytest.mark.parametrize("level", [20, 100])
def test_one_frame_is_that_of_diffusers_own_pipeline(pipeline, network, guidance, level):
    given = frames(1)
    theirs = pipeline(
        prompt="a road",
        negative_prompt="a lake",
        image=given[0].permute(2, 0, 1)[None] / 255,
        num_inference_steps=3,
        guidance_scale=guidance,
        noise_level=level,
        generator=generator_of(5, Stream.UPSAMPLING, 0),
        output_type="np",
    ).images[0]
    request = UpsamplingRequest(
        num_inference_steps=3,
        noise_level=level,
        guidance_scale=guidance,
        prompt="a road",
        negative_prompt="a lake",
        portion=1,
        overlap=0,
    )
    ours = made(network, None, given, request, seed=5)[0].numpy()
    assert np.abs(ours - np.round(theirs * 255)).max() <= 1, "rounding of one in 255 at most"
    assert (ours == np.round(theirs * 255)).mean() > 0.999


@pytest.mark.parametrize("count", [1, 4, 7])
def test_every_frame_comes_out_four_times_larger_once_and_in_order(network, layers, count):
    for temporal in (None, layers):
        assert made(network, temporal, frames(count)).shape == (count, 64, 96, 3)


def test_new_layers_leave_the_image_upscaler_as_it_is_and_trained_ones_do_not(network, layers):
    fresh = TemporalLayers.for_network(network.unet, network.layer_set)  # the network as it was, at the start
    given, levels = torch.randn(1, 3, 3, 16, 24), torch.full((1,), 20.0)
    state, time = torch.randn(1, 3, 4, 16, 24), torch.tensor(300)
    plain = network.predict(state, time, given, levels)
    for temporal, same in ((fresh, True), (layers, False)):
        video = attach(network.unet, temporal)
        assert torch.allclose(network.predict(state, time, given, levels, video), plain, atol=1e-5) is same
        video.detach()


def test_a_portion_goes_on_from_frames_of_the_one_before(network, layers):
    given = frames(6)
    whole = made(network, layers, given)
    assert torch.equal(whole[:4], made(network, layers, given[:4]))
    altered = given.clone()
    altered[0] = 255 - altered[0]
    assert not torch.equal(made(network, layers, altered)[5], whole[5])


def test_killed_after_a_portion_and_continued_the_frames_are_the_same(network, layers, tmp_path):
    expected = made(network, layers, frames(7))

    def killed(stage, index, make):
        if index == 1:
            raise KeyboardInterrupt
        return journal.remember(stage, index, make)

    with pytest.raises(KeyboardInterrupt), Journal.opened(tmp_path / "journal", {}) as journal:
        made(network, layers, frames(7), remember=killed)
    with Journal.opened(tmp_path / "journal", {}) as journal:
        assert torch.equal(made(network, layers, frames(7), remember=journal.remember), expected)


def test_the_prompt_its_guidance_and_the_noise_level_matter(network):
    plain = made(network, None, frames(1))
    for change in ({"prompt": "a lake"}, {"guidance_scale": 6.0}, {"noise_level": 200}, {"negative_prompt": "a lake"}):
        request = UpsamplingRequest(**{**vars(REQUEST), **change})
        assert not torch.equal(made(network, None, frames(1), request), plain), change


def test_what_is_left_open_is_the_stock_pipelines(network):
    stock = signature(StableDiffusionUpscalePipeline.__call__).parameters
    request = completed(UpsamplingRequest(), network)
    for name in ("num_inference_steps", "noise_level", "guidance_scale"):
        assert getattr(request, name) == stock[name].default


@pytest.mark.parametrize("tile", [(16, 16), (24, 40), (100, 16)])
def test_mixed_tiles_of_a_network_that_looks_nowhere_else_are_the_whole_frame(tile):
    def local(state, timestep, small, levels):
        return 2 * state + small[:, :, :1] * levels.view(-1, 1, 1, 1, 1)

    state, small = torch.randn(1, 2, 4, 40, 72), torch.randn(1, 2, 3, 40, 72)
    arguments = (state, torch.tensor(1), small, torch.ones(1))
    torch.testing.assert_close(mixed_tiles(local, tile, 8)(*arguments), local(*arguments))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_tiles_of_large_frames_hold_in_half_precision(dtype):
    state = torch.randn(1, 1, 4, 320, 512).to(dtype)
    small = torch.zeros(1, 1, 3, 320, 512, dtype=dtype)
    tiles = mixed_tiles(lambda z, *_: 2 * z, (320, 256), 8)(state, torch.tensor(1), small, torch.ones(1))
    assert tiles.dtype == dtype
    torch.testing.assert_close(tiles, 2 * state, atol=0.02, rtol=0.01)


def test_a_result_that_is_not_finite_is_refused(network, layers):
    unet = network.unet
    before = unet.conv_out.bias.detach().clone()
    with torch.no_grad():
        unet.conv_out.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        made(network, layers, frames(1))
    with torch.no_grad():
        unet.conv_out.bias.copy_(before)


def test_a_decoder_that_looks_nearby_leaves_the_stock_one_behind(network):
    plain = made(network, None, frames(1, 16, 136))
    network.decoder_reach = 4
    near = made(network, None, frames(1, 16, 136))
    network.decoder_reach = None
    assert not torch.equal(near, plain) and torch.equal(made(network, None, frames(1, 16, 136)), plain)


def test_mixed_tiles_show_no_seam_where_tiles_disagree():
    numbers = iter(range(100))

    def moody(state, timestep, small, levels):
        return torch.full_like(state, float(next(numbers)))

    state = torch.zeros(1, 1, 4, 16, 64)
    row = mixed_tiles(moody, (16, 32), 8)(state, torch.tensor(1), torch.zeros(1, 1, 3, 16, 64), torch.ones(1))[0, 0, 0]
    steps = row.diff(dim=1).abs()
    assert row.min() == 0 and row.max() == 2 and steps.max() < 0.5


def test_tiles_work_on_the_real_network(network, layers):
    request = UpsamplingRequest(**{**vars(REQUEST), "tile": (16, 16)})
    assert made(network, layers, frames(3, 32, 48), request).shape == (3, 128, 192, 3)


def test_in_a_stack_it_is_saved_and_loaded_as_diffusers_folder(pipeline, network, layers, tmp_path: Path):
    pipeline.save_pretrained(tmp_path / "x4")
    mine = tiny_stack().with_upsampler_of(Stack.load(tmp_path / "x4")).replace(upsampler_temporal=layers)
    mine.save(tmp_path / "stack")
    loaded = Stack.load(tmp_path / "stack")
    assert isinstance(loaded.upsampler, LatentUpsampler) and loaded.has_upsampler
    assert "upsampler/low_res_scheduler" in loaded.members and "low_res_scheduler" not in loaded.members
    expected = made(network, layers, frames(3))
    assert torch.equal(made(loaded.upsampler, loaded.upsampler_layers, frames(3)), expected)
    given = tiny_stack().replace(upsampler=network)
    given.save(tmp_path / "given")
    assert torch.equal(made(Stack.load(tmp_path / "given").upsampler, layers, frames(3)), expected)


def test_what_is_no_upscaler_is_refused(network):
    stack = tiny_stack()
    with pytest.raises(ValueError, match="has no upsampler"):
        stack.with_upsampler_of(stack)
    with pytest.raises(ValueError, match="beside 3 of a small frame"):
        LatentUpsampler(**{**network.parts, "unet": stack.unet})
