import pytest
import torch
from tests.tiny import tiny_stack

from latentloom.layers.layer_set import LayerSet
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import ClipRequest, seeded_generator
from latentloom.stages.start_frame import generate_start_frame

SETTINGS = {"num_frames": 4, "height": 32, "width": 64, "num_inference_steps": 3}


def clip(stack, prompt="a road at night", seed=0, latents=None, callback_on_step_end=None, **changes):
    return generate_keyframes(
        stack,
        ClipRequest(prompt=prompt, **(SETTINGS | changes)),
        generator=seeded_generator(seed),
        latents=latents,
        callback_on_step_end=callback_on_step_end,
    )


def test_a_clip_is_latents_of_one_clip_frames_before_channels(stack):
    assert clip(stack).shape == (1, 4, 8, 4, 8)


def test_the_same_seed_gives_the_same_clip_and_another_seed_another(stack):
    first = clip(stack)
    torch.manual_seed(123)
    clip(stack, seed=1)
    assert torch.equal(clip(stack), first)
    assert not torch.equal(clip(stack, seed=1), first)


def test_the_prompt_and_the_negative_prompt_matter(stack):
    first = clip(stack)
    assert not torch.equal(clip(stack, "a lake"), first)
    assert not torch.equal(clip(stack, negative_prompt="a lake"), first)


def test_any_number_of_frames_and_any_size_work(stack):
    assert clip(stack, num_frames=1).shape == (1, 1, 8, 4, 8)
    assert clip(stack, num_frames=7, height=48, width=16).shape == (1, 7, 8, 6, 2)


def test_one_frame_of_noise_changes_all_frames_unless_the_layers_are_off(stack):
    noise = torch.randn(1, 4, 8, 4, 8, generator=seeded_generator(0))
    other = noise.clone()
    other[:, 1] = torch.randn(8, 4, 8, generator=seeded_generator(1))
    mixed = [clip(stack, latents=start, temporal_strength=1.0) for start in (noise, other)]
    apart = [clip(stack, latents=start, temporal_strength=0.0) for start in (noise, other)]
    assert [torch.equal(mixed[0][:, i], mixed[1][:, i]) for i in range(4)] == [False] * 4
    assert [torch.equal(apart[0][:, i], apart[1][:, i]) for i in range(4)] == [True, False, True, True]


def test_the_image_model_is_itself_again_after_a_clip_and_after_a_cancelled_one(stack):
    def picture():
        request = ClipRequest(prompt="a lake", num_frames=1, height=32, width=64, num_inference_steps=2)
        return generate_start_frame(stack, request, generator=seeded_generator(0))

    class CancelledError(Exception):
        pass

    def cancel(step, timestep, latents):
        raise CancelledError

    before, first = picture(), clip(stack)
    with pytest.raises(CancelledError):
        clip(stack, callback_on_step_end=cancel)
    assert not any(module._forward_hooks for module in stack.unet.modules())
    assert torch.equal(picture(), before)
    assert torch.equal(clip(stack), first)


def test_the_callback_sees_every_step_and_may_replace_the_latents(stack):
    steps = []

    def callback(step, timestep, latents):
        steps.append(step)
        return torch.zeros_like(latents) if step == 2 else None

    assert not clip(stack, callback_on_step_end=callback).any()
    assert steps == [0, 1, 2]


def test_layers_that_know_the_frame_rate_need_it_and_follow_it():
    driving = tiny_stack(layer_set=LayerSet.driving())
    with pytest.raises(ValueError, match="give fps"):
        clip(driving)
    assert not torch.equal(clip(driving, fps=6.0), clip(driving, fps=24.0))


def test_layers_without_frame_rate_ignore_it(stack):
    assert torch.equal(clip(stack, fps=24.0), clip(stack))


def test_an_image_model_has_no_key_frames(stack):
    image_model = tiny_stack()
    image_model._given.pop("temporal/keyframes")
    with pytest.raises(ValueError, match="has no temporal/keyframes"):
        clip(image_model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 0}, "num_frames is 0"),
        ({"height": 40}, "not a multiple of 16 pixels"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        (
            {"latents": torch.zeros(1, 3, 8, 4, 8)},
            r"latents are \(1, 3, 8, 4, 8\), this request needs \(1, 4, 8, 4, 8\)",
        ),
    ],
)
def test_bad_settings_are_refused_before_the_network_runs(stack, changes, message):
    def never(*_):
        raise AssertionError("the network ran")

    handle = stack.unet.register_forward_pre_hook(never)
    try:
        with pytest.raises(ValueError, match=message):
            clip(stack, **changes)
    finally:
        handle.remove()


def test_latents_that_are_not_finite_are_an_error_not_a_black_video(stack):
    broken = torch.full((1, 4, 8, 4, 8), float("nan"))
    with pytest.raises(ValueError, match="not finite after sampling"):
        clip(stack, latents=broken)


def test_text_is_encoded_once_per_clip(stack):
    calls = []
    handle = stack.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        clip(stack, num_frames=5, num_inference_steps=4)
    finally:
        handle.remove()
    assert len(calls) == 2  # the prompt and the negative prompt
