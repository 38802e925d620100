"""A plan against what happens: fake tensors count what real ones do, stages are those that run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny import tiny_stack

from latentloom.allocator import HEAP_BLOCK
from latentloom.generation.asked import Asked
from latentloom.generation.videos import Generation, make_videos
from latentloom.layers.layer_set import LayerSet
from latentloom.models.upsampler import PixelUpsampler
from latentloom.operations import LiveBytes
from latentloom.plan import HEAP, MAPPED, _cost, _works, plan_of, taken
from latentloom.stack import Stack
from latentloom.stack_folder import StageInfo
from latentloom.stages.request import UpsamplingRequest


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Stack:
    layer_set = LayerSet.driving().with_context()
    whole = tiny_stack(layer_set=layer_set, sets=("keyframes", "prediction", "interpolation"))
    stages = {
        "prediction": StageInfo(num_frames=4, fps=(6.0,), context_noise=50, context_guidance_scale=1.5),
        "interpolation": StageInfo(num_frames=9, fps=(6.0, 24.0)),
    }
    folder = tmp_path_factory.mktemp("plan") / "stack"
    upsampler = PixelUpsampler(4, (8, 16))
    whole.replace(replace(whole.info, stages=stages), upsampler=upsampler).save(folder)
    return Stack.load(folder)


def generation(stack: Stack, **asked) -> Generation:
    return Generation.of(stack, Asked(prompt="a road", **asked), [Path("out.mp4")])


def test_blocks_of_the_heap_count_with_its_holes():
    with LiveBytes(taken) as live:
        small = torch.empty(HEAP_BLOCK // 4 - 1)
        assert live.now == int(HEAP * small.nbytes)
        large = torch.empty(HEAP_BLOCK // 4)
        assert live.now == int(HEAP * small.nbytes) + int(MAPPED * large.nbytes)
        del small
    assert live.now == int(MAPPED * HEAP_BLOCK)


def test_fake_tensors_count_what_real_ones_hold(stack):
    for work in _works(generation(stack, frames=40, passes=1, upsampling=UpsamplingRequest())):
        with torch.no_grad():
            work.call(work.frames)  # members are read from disk when they are first needed
            with LiveBytes(taken) as real:
                work.call(work.frames)
        with torch.no_grad():
            operations, memory = _cost(work.call, work.frames)
        assert operations > 0
        assert memory == pytest.approx(real.most, rel=0.02), work.stage


def test_the_planned_calls_are_those_that_are_made(stack, tmp_path, monkeypatch):
    asked = Asked(prompt="a road", frames=30, passes=1, upsampling=UpsamplingRequest(num_inference_steps=2))
    whole = Generation.of(stack, asked, [tmp_path / "out.mp4"])
    plan = plan_of(whole, measure_speed=False)
    made = {"unet": 0, "upsampler": 0}
    stack.unet.register_forward_pre_hook(lambda *_: made.update(unet=made["unet"] + 1))
    stack.upsampler.unet.register_forward_pre_hook(lambda *_: made.update(upsampler=made["upsampler"] + 1))
    most = []
    from latentloom.stages.journal import Journal

    remember = Journal.remember

    def watched(journal, *arguments):
        result = remember(journal, *arguments)
        most.append(sum(path.stat().st_size for path in journal.folder.iterdir()))
        return result

    monkeypatch.setattr(Journal, "remember", watched)
    list(make_videos(whole))
    planned = {stage.stage: stage for stage in plan.stages}
    upsampling = planned.pop("upsampling")
    assert made["upsampler"] == upsampling.calls
    named = ("keyframes", "prediction", "interpolation-1")
    assert [name for name in planned if name in named] == list(named)
    assert made["unet"] == sum(planned[name].calls for name in named)
    journal = plan.disk - planned["writing"].disk
    assert journal == pytest.approx(max(most), rel=0.25), "headers and settings beside the tensors"


def test_memory_grows_with_frames_and_size_and_shrinks_with_tiles(stack):
    def memory(stage: str, **asked) -> int:
        plan = plan_of(generation(stack, **asked), measure_speed=False)
        return next(row.memory for row in plan.stages if row.stage == stage)

    assert memory("keyframes", frames=4) > memory("keyframes", frames=2)
    assert memory("decoding", changes={"height": 64, "width": 64}) > memory("decoding")
    whole, tiles = UpsamplingRequest(), UpsamplingRequest(tile=(16, 16))
    large = {"changes": {"height": 256, "width": 256}}
    assert memory("upsampling", upsampling=tiles, **large) < memory("upsampling", upsampling=whole, **large)


def test_time_is_measured_and_futures_count(stack):
    plan = plan_of(generation(stack))
    assert plan.seconds is not None and plan.seconds > 0
    several = Generation.of(stack, Asked(prompt="", rollouts=3), [Path(f"{k}.mp4") for k in range(3)])
    one = Generation.of(
        stack, Asked(prompt="", rollouts=1, steer="left:1s", frames=several.request.num_frames), [Path("0.mp4")]
    )
    calls = [{row.stage: row.calls for row in plan_of(x, measure_speed=False).stages} for x in (several, one)]
    assert calls[0]["prediction"] == 3 * calls[1]["prediction"]
    assert calls[0]["start frame"] == calls[1]["start frame"], "futures share it"
