import math

import jaxtyping
import pytest
import torch

from latentloom.stages.request import MAX_PROMPT_CHARACTERS, ClipRequest, per_clip, seeded_generator

GOOD = {
    "prompt": "a road",
    "num_frames": 8,
    "height": 128,
    "width": 256,
    "num_inference_steps": 25,
    "guidance_scale": 2.0,
}


@pytest.fixture(autouse=True)
def as_users_run_it():
    """Without the type checks of testing, which would answer before ours."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("name", ["num_frames", "height", "width", "num_inference_steps"])
@pytest.mark.parametrize("value", [0, -1, 10**9, 1.5, math.nan, "8", None, True])
def test_counts_out_of_range_are_refused_with_name_value_and_range(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*, expected a whole number from 1 to"):
        ClipRequest(**(GOOD | {name: value}))


@pytest.mark.parametrize("name", ["guidance_scale", "temporal_strength", "fps"])
@pytest.mark.parametrize("value", [-1, 10**9, math.nan, math.inf, "2", True])
def test_numbers_out_of_range_are_refused_with_name_value_and_range(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*, expected a number from"):
        ClipRequest(**(GOOD | {name: value}))


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
@pytest.mark.parametrize("value", [None, ["a road"], 3, b"road"])
def test_a_prompt_that_is_no_string_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is a {type(value).__name__}, expected a string"):
        ClipRequest(**(GOOD | {name: value}))


def test_a_prompt_of_a_million_characters_is_refused_and_the_message_stays_short():
    with pytest.raises(ValueError, match="1000000 characters") as caught:
        ClipRequest(**(GOOD | {"prompt": "a" * 1_000_000}))
    assert len(str(caught.value)) < 200
    ClipRequest(**(GOOD | {"prompt": "a" * MAX_PROMPT_CHARACTERS}))


def test_an_empty_prompt_is_a_prompt():
    assert ClipRequest(**(GOOD | {"prompt": ""})).prompt == ""


def test_a_product_over_the_budget_is_refused_although_each_factor_is_allowed():
    with pytest.raises(ValueError, match="fewer or smaller frames"):
        ClipRequest(**(GOOD | {"num_frames": 1024, "height": 4096, "width": 4096}))


def test_a_size_between_the_steps_of_the_model_is_refused_with_the_nearest_one():
    request = ClipRequest(**(GOOD | {"height": 100, "width": 7}))
    with pytest.raises(ValueError, match=r"not a multiple of 32 pixels.* nearest: 96x32"):
        request.check_size(32)
    ClipRequest(**GOOD).check_size(32)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, "1", None, True])
def test_a_seed_that_is_no_seed_is_refused(seed):
    with pytest.raises(ValueError, match="expected a whole number from 0"):
        seeded_generator(seed)


def test_equal_seeds_give_equal_generators():
    first, second = (torch.rand(3, generator=seeded_generator(2**63 - 1)) for _ in range(2))
    assert torch.equal(first, second)


def test_one_value_serves_all_clips_and_a_list_must_have_one_each():
    assert per_clip("negative_prompt", "x", 2) == ["x", "x"]
    assert per_clip("negative_prompt", ["x", "y"], 2) == ["x", "y"]
    with pytest.raises(ValueError, match="generator lists 3 values for 2 clips"):
        per_clip("generator", [1, 2, 3], 2)
