"""A memory budget: what is cut, that it is the same video, and what cannot be."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny import tiny_stack

from latentloom import budget
from latentloom.align import TemporalLayers
from latentloom.budget import fitted
from latentloom.data.video import read_video
from latentloom.generation.asked import Asked
from latentloom.generation.videos import Generation, make_videos
from latentloom.layers.layer_set import LayerSet
from latentloom.models.upsampler import PixelUpsampler
from latentloom.offload import bring, num_bytes
from latentloom.plan import Plan, StagePlan, plan_of
from latentloom.stages.request import UpsamplingRequest

LARGE = {"height": 192, "width": 256}


@pytest.fixture(scope="module")
def stack():
    upsampler = PixelUpsampler(2, (8,), groups=2)
    layers = TemporalLayers.for_network(upsampler.unet, LayerSet.upsampler())
    plain = tiny_stack()
    decoder = TemporalLayers.for_network(plain.vae, LayerSet.decoder())
    return plain.replace(upsampler=upsampler, upsampler_temporal=layers, decoder_temporal=decoder)


def generation(stack, output=Path("out.mp4"), *, frames=10, **asked) -> Generation:
    return Generation.of(stack, Asked(prompt="a road", changes=LARGE, frames=frames, **asked), [output])


def memory(generation: Generation) -> int:
    return plan_of(generation, measure_speed=False).memory


def test_what_fits_stays_as_it_is(stack):
    whole = generation(stack)
    made, plan = fitted(whole, 2 * memory(whole))
    assert made is whole and plan.memory > 0


def test_fewer_frames_are_decoded_at_once_where_the_decoder_needs_most(stack, monkeypatch):
    def planned(generation, *, measure_speed):
        costs = {"keyframes": 150, "decoding": 100 * generation.decoded_at_once}
        rows = [
            StagePlan(stage=stage, calls=1, operations=1.0, memory=cost * 10**6, disk=0, seconds=None)
            for stage, cost in costs.items()
        ]
        return Plan(stages=rows, resident=50 * 10**6)

    monkeypatch.setattr(budget, "plan_of", planned)
    whole = generation(stack)
    assert fitted(whole, 850 * 10**6)[0].decoded_at_once == 4, "860 in steps of 20 do not fit"
    assert fitted(whole, 860 * 10**6)[0] is whole
    assert fitted(whole, 260 * 10**6)[0].decoded_at_once == 2
    with pytest.raises(ValueError, match="most of it goes to keyframes"):
        fitted(whole, 190 * 10**6)


def test_frames_are_enlarged_in_tiles_where_the_upsampler_needs_most_and_are_the_same(stack, tmp_path):
    request = UpsamplingRequest(num_inference_steps=2, portion=8)
    whole = generation(stack, tmp_path / "whole.mp4", upsampling=request)
    plan = plan_of(whole, measure_speed=False)
    assert plan.largest.stage == "upsampling"
    made, smaller = fitted(whole, plan.memory - plan.largest.memory // 4)
    assert made.asked.upsampling.tile is not None and smaller.memory < plan.memory
    assert made.settings["upsampling"]["tile"] == made.asked.upsampling.tile, "the receipt says it"
    parts = replace(made, outputs=(type(made.outputs[0]).beside(tmp_path / "parts.mp4"),))
    for one in (whole, parts):
        list(make_videos(one))
    frames = [read_video(one.outputs[0].video).frames.int() for one in (whole, parts)]
    assert (frames[0] - frames[1]).abs().max() <= 8, "rounding before compression"
    assert (frames[0] - frames[1]).abs().float().mean() < 0.1


def test_portions_shrink_when_tiles_are_small_and_the_end_is_a_refusal(stack):
    request = UpsamplingRequest(num_inference_steps=2, portion=8, tile=(64, 64))
    whole = generation(stack, upsampling=request)
    plan = plan_of(whole, measure_speed=False)
    assert plan.largest.stage == "upsampling"
    made, _ = fitted(whole, plan.memory - plan.largest.memory // 4)
    assert made.asked.upsampling.portion < 8
    with pytest.raises(ValueError, match=r"needs .* MB at least, --max-memory allows 1; .* lower --size"):
        fitted(whole, 10**6)


def test_networks_at_work_go_to_the_device_and_all_others_leave_it():
    class Noted(torch.nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.went: list[str] = []

        def to(self, device):
            self.went.append(str(device))
            return self

    unet, layers, vae = Noted(), Noted(), Noted()
    video = torch.nn.Sequential(unet, layers)
    bring([video], [unet, layers, vae], torch.device("meta"))
    assert (unet.went, layers.went, vae.went) == ([], [], ["cpu"]), "parts of what works stay"
    assert next(unet.parameters()).device.type == "meta"
    assert num_bytes([video, unet]) == 2 * 6 * 4, "each tensor once"


def test_every_stage_says_which_networks_work_before_they_do(stack, tmp_path, monkeypatch):
    said, computed = [], []
    offloading = stack.replace()
    offloading.offloads = True
    monkeypatch.setattr(
        type(offloading), "bring", lambda self, *networks: said.append({id(x) for n in networks for x in n.modules()})
    )
    parts = {
        "text": offloading.text_encoder,
        "unet": offloading.unet,
        "layers": next(iter(offloading.temporal["keyframes"].layers.values())),
        "decoder": offloading.vae.decoder,
        "decoder layers": next(iter(offloading.autoencoder.decoder_layers.layers.values())),
        "upsampler layers": next(iter(offloading.upsampler_layers.layers.values())),
        "upsampler": offloading.upsampler.unet,
    }
    handles = [
        part.register_forward_pre_hook(lambda module, _, name=name: computed.append((name, id(module) in said[-1])))
        for name, part in parts.items()
    ]
    request = UpsamplingRequest(num_inference_steps=1, portion=4, overlap=1)
    whole = generation(offloading, tmp_path / "out.mp4", frames=20, upsampling=request)
    list(make_videos(whole))
    for handle in handles:
        handle.remove()
    assert {name for name, _ in computed} == set(parts)
    assert all(ready for _, ready in computed), [name for name, ready in computed if not ready]
