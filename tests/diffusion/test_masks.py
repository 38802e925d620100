import pytest
import torch

from latentloom.diffusion.masks import first_frames_mask, masked_context, pinned_frames_mask


def test_the_first_frames_of_each_clip_are_marked():
    mask = first_frames_mask(torch.tensor([0, 1, 2]), 4)
    assert mask.shape == (3, 4, 1, 1, 1)
    assert mask.flatten(1).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]]


def test_pinned_frames_are_marked_and_the_others_not():
    assert pinned_frames_mask(range(0, 9, 4), 9).flatten().tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert pinned_frames_mask((), 2).flatten().tolist() == [0, 0]


def test_the_context_holds_given_latents_zeros_elsewhere_and_the_mask():
    latents = torch.randn(2, 3, 4, 5, 6)
    mask = first_frames_mask(torch.tensor([1, 0]), 3)
    context = masked_context(latents, mask)
    assert context.shape == (2, 3, 5, 5, 6)
    assert torch.equal(context[0, 0, :4], latents[0, 0])
    assert not context[0, 1:].any()
    assert not context[1].any()
    assert bool((context[0, 0, 4] == 1).all())


def test_one_mask_serves_all_clips():
    latents = torch.randn(2, 3, 4, 5, 6)
    context = masked_context(latents, pinned_frames_mask([2], 3))
    assert torch.equal(context[:, 2, :4], latents[:, 2])
    assert not context[:, :2].any()


@pytest.mark.parametrize("frame", [-1, 3])
def test_a_frame_outside_the_clip_cannot_be_pinned(frame):
    with pytest.raises(ValueError, match=f"frame {frame} cannot be pinned in a clip of 3"):
        pinned_frames_mask([frame], 3)


@pytest.mark.parametrize("count", [-1, 4])
def test_more_frames_than_there_are_cannot_be_given(count):
    with pytest.raises(ValueError, match="between 0 and num_frames = 3"):
        first_frames_mask(torch.tensor([count]), 3)
