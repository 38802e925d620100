from dataclasses import replace

import pytest
import torch
from tests.tiny import tiny_stack

from latentloom.layers.layer_set import LayerSet
from latentloom.stack import Stack
from latentloom.stages.interpolation import interpolate_frames, interpolated_count
from latentloom.stages.request import ClipRequest

REQUEST = ClipRequest(
    prompt="a lake by day", num_frames=9, height=32, width=64, num_inference_steps=2, guidance_scale=1.0, fps=8.0
)


@pytest.fixture(scope="module")
def model() -> Stack:
    return tiny_stack(layer_set=LayerSet.driving().with_context(), sets=("interpolation",))


def keys(count: int) -> torch.Tensor:
    return torch.randn(1, count, 8, 4, 8, generator=torch.Generator().manual_seed(count))


def between(model: Stack, pieces, rate: int = 0, seed: int = 0, **changes) -> torch.Tensor:
    return torch.cat(list(interpolate_frames(model, replace(REQUEST, **changes), pieces, rate=rate, seed=seed)), 1)


def test_the_papers_frame_counts():
    assert [interpolated_count(8), interpolated_count(8, 2), interpolated_count(12, 2)] == [29, 113, 177]
    assert interpolated_count(1, 2) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_given_frames_stay_bit_for_bit_and_three_new_ones_lie_between_each_two(model, count):
    given = keys(count)
    clip = between(model, [given])
    assert clip.shape[1] == interpolated_count(count)
    assert torch.equal(clip[:, ::4], given)


def test_twice_eight_frames_are_113_with_the_same_ends(model):
    given = keys(8)
    first = interpolate_frames(model, REQUEST, [given], rate=0)
    clip = torch.cat(list(interpolate_frames(model, replace(REQUEST, fps=32.0), first, rate=1)), 1)
    assert clip.shape[1] == 113
    assert torch.equal(clip[:, ::16], given)


def test_the_pieces_in_which_frames_arrive_do_not_matter(model):
    given = keys(7)
    expected = between(model, [given])
    assert torch.equal(between(model, given.split(1, 1)), expected)
    assert torch.equal(between(model, given.split([2, 4, 1], 1)), expected)


def test_windows_are_made_as_frames_come_in(model):
    asked = []

    def source():
        for index, piece in enumerate(keys(9).split(1, 1)):
            asked.append(index)
            yield piece

    frames = interpolate_frames(model, REQUEST, source(), rate=0)
    next(frames), next(frames)
    assert len(asked) == 3  # two steps of the first window: three given frames


def test_the_rate_the_seed_and_the_fps_matter(model):
    given = [keys(3)]
    plain = between(model, given)
    for other in (between(model, given, rate=1), between(model, given, seed=1), between(model, given, fps=30.0)):
        assert torch.equal(other[:, ::4], plain[:, ::4])
        assert not torch.allclose(other, plain, atol=1e-5)


@pytest.mark.parametrize("window", [1, 8, 16])
def test_windows_that_do_not_begin_and_end_on_given_frames_are_refused(model, window):
    with pytest.raises(ValueError, match=f"window of {window} frames"):
        between(model, [keys(3)], num_frames=window)


def test_a_third_pass_is_refused(model):
    with pytest.raises(ValueError, match="rate is 2, expected 0"):
        between(model, [keys(3)], rate=2)
