from dataclasses import replace

import pytest
import torch
from tests.tiny import tiny_stack

from latentloom.layers.context import ContextSpec
from latentloom.layers.layer_set import LayerSet
from latentloom.seeds import generator_of
from latentloom.stack import Stack
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.prediction import predict_frames, roll_out
from latentloom.stages.request import ClipRequest, seeded_generator

REQUEST = ClipRequest(
    prompt="a road at night",
    num_frames=5,
    height=32,
    width=64,
    num_inference_steps=2,
    guidance_scale=2.0,
    context_guidance_scale=1.5,
    fps=6.0,
)
START = torch.randn(1, 2, 8, 4, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=[0, 8], ids=["still", "moving"])
def model(request: pytest.FixtureRequest) -> Stack:
    layer_set = LayerSet.driving().with_context(ContextSpec(motion=request.param))
    return tiny_stack(layer_set=layer_set, sets=("keyframes", "prediction"))


def predicted(model: Stack, given: torch.Tensor = START, seed: int = 0, numbers=None, **changes) -> torch.Tensor:
    request = replace(REQUEST, **changes)
    return predict_frames(model, request, given, numbers=numbers, generator=seeded_generator(seed))


def whole(pieces) -> torch.Tensor:
    return torch.cat(list(pieces), 1)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_given_frames_come_back_bit_for_bit_and_the_others_depend_on_them(model, count):
    given = torch.randn(1, count, 8, 4, 8)
    clip = predicted(model, given)
    assert clip.shape == (1, 5, 8, 4, 8)
    assert torch.equal(clip[:, :count], given)
    assert not torch.allclose(clip[:, count:], predicted(model, given + 1)[:, count:], atol=1e-3)


@pytest.mark.parametrize("at", [(0, 4), (2, 0)])
def test_any_frames_can_be_pinned(model, at):
    clip = predict_frames(model, REQUEST, START, at=at, generator=seeded_generator(0))
    assert torch.equal(clip[:, list(at)], START)
    others = [frame for frame in range(5) if frame not in at]
    moved = predict_frames(model, REQUEST, START + 1, at=at, generator=seeded_generator(0))
    assert not torch.allclose(clip[:, others], moved[:, others], atol=1e-3)


@pytest.mark.parametrize(("at", "message"), [((0, 5), "frame 5 cannot"), ((1, 1), "one place"), ((1,), "one place")])
def test_places_that_do_not_fit_are_refused(model, at, message):
    with pytest.raises(ValueError, match=message):
        predict_frames(model, REQUEST, START, at=at)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_given_frames_are_kept_by_every_sampler(scheduler):
    import diffusers

    model = tiny_stack("epsilon", layer_set=LayerSet.driving().with_context(), sets=("prediction",))
    other = getattr(diffusers, scheduler).from_config(model.scheduler.config)
    clip = predicted(model.replace(scheduler=other))
    assert torch.equal(clip[:, :2], START)
    assert clip.isfinite().all()


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_context_guidance_of_zero_does_without_the_context(model, strength):
    zero = {"context_guidance_scale": 0.0, "guidance_scale": 0.0, "strength": strength}
    free = predicted(model, context_noise=0, **zero)
    for given, level in ((START, 200), (START + 1, 0)):
        other = predicted(model, given, context_noise=level, **zero)
        assert torch.equal(free[:, 2:], other[:, 2:])


def test_text_guidance_of_one_does_without_the_negative_prompt(model):
    alone = predicted(model, context_guidance_scale=1.0, guidance_scale=1.0)
    assert torch.equal(
        alone, predicted(model, context_guidance_scale=1.0, guidance_scale=1.0, negative_prompt="a lake")
    )


@pytest.mark.parametrize(
    "change",
    [
        {"context_guidance_scale": 3.0},
        {"context_noise": 200},
        {"guidance_scale": 3.0},
        {"fps": 12.0},
        {"prompt": "a lake by day"},
        {"temporal_strength": 0.5},
        {"numbers": {"steering": [0.3] * 5}},
        {"numbers": {"speed": [9.0] * 5}},
    ],
)
def test_every_setting_matters(model, change):
    assert not torch.allclose(predicted(model, **change), predicted(model), atol=1e-5)


@pytest.mark.parametrize("count", [0, 5, 6])
def test_nothing_given_or_nothing_to_make_is_refused(model, count):
    with pytest.raises(ValueError, match=f"{count} frames are given for a clip of 5"):
        predicted(model, torch.zeros(1, count, 8, 4, 8))


def test_numbers_that_do_not_fit_are_refused(model):
    with pytest.raises(ValueError, match="steering lists 3 values for 5 frames"):
        predicted(model, numbers={"steering": [0.0] * 3})
    with pytest.raises(ValueError, match="take no altitude; the numbers they know are fps"):
        predicted(model, numbers={"altitude": [0.0] * 5})


def test_a_model_without_prediction_layers_says_what_it_has(stack):
    with pytest.raises(ValueError, match=r"has no temporal/prediction; it has .*temporal/keyframes"):
        predicted(stack)


@pytest.mark.parametrize(("num_frames", "overlap"), [(1, 2), (2, 2), (5, 2), (9, 2), (12, 2), (12, 1)])
def test_a_rollout_is_as_long_as_asked_and_keeps_its_start(model, num_frames, overlap):
    pieces = list(roll_out(model, REQUEST, START[:, :1], num_frames, overlap=overlap))
    assert whole(pieces).shape[1] == num_frames
    assert torch.equal(whole(pieces)[:, :1], START[:, :1])
    assert [piece.shape[1] for piece in pieces[2:-1]] == [5 - overlap] * max(0, len(pieces) - 3)


def test_each_window_starts_from_the_last_frames_of_the_one_before(model):
    clip = whole(roll_out(model, REQUEST, START[:, :1], 8, seed=3))
    first = predict_frames(model, REQUEST, START[:, :1], generator=generator_of(3, 1, 0))
    second = predict_frames(model, REQUEST, first[:, -2:], generator=generator_of(3, 1, 1))
    assert torch.equal(clip, torch.cat([first, second[:, 2:]], 1))


def test_rollouts_of_other_seeds_share_the_first_frame_only(model):
    one, other = (whole(roll_out(model, REQUEST, START[:, :1], 8, seed=seed)) for seed in (0, 1))
    assert torch.equal(one[:, :1], other[:, :1])
    assert bool(((one - other)[:, 1:].abs().amax(dim=(0, 2, 3, 4)) > 1e-3).all())
    assert torch.equal(one, whole(roll_out(model, REQUEST, START[:, :1], 8, seed=0)))


def test_steering_acts_from_the_frame_on_for_which_it_is_asked(model):
    straight, late = [0.0] * 8, [0.0] * 5 + [0.5] * 3
    plain, turned = (
        whole(roll_out(model, REQUEST, START[:, :1], 8, numbers={"steering": steering}))
        for steering in (straight, late)
    )
    assert torch.equal(plain[:, :5], turned[:, :5])
    assert not torch.allclose(plain[:, 5:], turned[:, 5:], atol=1e-4)


def test_an_overlap_of_the_whole_window_is_refused(model):
    with pytest.raises(ValueError, match="overlap is 5"):
        list(roll_out(model, REQUEST, START[:, :1], 8, overlap=5))


def test_two_sets_of_layers_use_one_network_in_turn(model):
    before = generate_keyframes(model, REQUEST, generator=seeded_generator(0))
    predicted(model)
    assert torch.equal(generate_keyframes(model, REQUEST, generator=seeded_generator(0)), before)
    assert not any(module._forward_hooks for module in model.unet.modules())
