"""Attention to scenes: where boxes lie, what they change, and what they leave alone."""

import pytest
import torch
from torch import Tensor

from latentloom.layers.base import Clip
from latentloom.layers.scene import PLACE, SceneAttention, SceneAttentionSpec, geometry

CHANNELS, WIDTH = 8, 6
SPEC = SceneAttentionSpec(width=WIDTH, geometry=4, num_heads=2)


def awake() -> SceneAttention:
    torch.manual_seed(0)
    layer = SPEC.build(CHANNELS, 4)
    torch.nn.init.normal_(layer.out.weight)
    return layer


def told(*boxes: tuple[float, float, float, float], nowhere: int = 1) -> Tensor:
    """Tokens of boxes, all of the same kind, and of things without a place."""
    places = torch.tensor([[*box, 1.0] for box in boxes] + nowhere * [PLACE * [0.0]])
    return torch.cat([torch.ones(len(places), WIDTH), places], 1)[None]


def test_every_cell_knows_how_it_lies_to_a_box():
    places = torch.tensor([[[0.25, 0.5, 0.75, 1.0, 1.0], [0.1, 0.5, 0.2, 1.0, 0.0]]])
    pairs = geometry(places, 2, 8).unflatten(1, (2, 8))[0]  # rows columns boxes 7
    assert not pairs[:, :, 1].any(), "what has no place lies nowhere"
    box = pairs[:, :, 0]
    assert box[..., 0].tolist() == [8 * [0.0], [0, 0, 1, 1, 1, 1, 0, 0]]
    torch.testing.assert_close(box[1, 2:6, 4], torch.tensor([-0.75, -0.25, 0.25, 0.75]))  # across the box
    torch.testing.assert_close(box[0, :4, 5], torch.tensor([-1.5, -0.5, 0.5, 1.5]))  # cells right of its left side
    assert box[:, 0, 1].tolist() == [-2.0, 0.0] and box[0, 0, 4] == -1.75


def test_part_of_a_cell_is_seen():
    pairs = geometry(torch.tensor([[[0.0, 0.0, 0.3, 0.5, 1.0]]]), 1, 2)[0, :, 0, 0]
    torch.testing.assert_close(pairs, torch.tensor([0.3, 0.0]))


def test_at_start_nothing_changes_and_afterwards_the_image_model_is_still_there():
    torch.manual_seed(0)
    z, tokens = torch.randn(2, CHANNELS, 4, 8), told((0.2, 0.2, 0.6, 0.8)).expand(2, -1, -1)
    clip = Clip(num_frames=1, text=tokens)
    assert torch.equal(SPEC.build(CHANNELS, 4)(z, clip), z)
    assert not torch.allclose(awake()(z, clip), z, atol=1e-3)
    assert torch.equal(awake()(z, Clip(num_frames=1, text=tokens, strength=0.0)), z)


def test_a_box_elsewhere_does_the_same_elsewhere_in_maps_of_any_size():
    layer, flat = awake(), torch.ones(1, CHANNELS, 4, 16)
    left, right = (layer(flat, Clip(num_frames=1, text=told((x, 0.25, x + 0.25, 0.75)))) for x in (0.125, 0.5))
    torch.testing.assert_close(left[..., :8], right[..., 6:14])
    assert not torch.allclose(left[..., 3], right[..., 3], atol=1e-3)
    larger = layer(torch.ones(1, CHANNELS, 8, 32), Clip(num_frames=1, text=told((0.125, 0.25, 0.375, 0.75))))
    assert larger.shape == (1, CHANNELS, 8, 32)


def test_the_order_of_boxes_does_not_matter():
    layer, z = awake(), torch.randn(1, CHANNELS, 4, 8)
    boxes = (0.1, 0.1, 0.3, 0.4), (0.5, 0.2, 0.9, 0.8)
    one, other = (layer(z, Clip(num_frames=1, text=told(*order))) for order in (boxes, boxes[::-1]))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("text", [None, torch.ones(1, 3, WIDTH)])
def test_tokens_of_another_kind_are_refused(text: Tensor | None):
    with pytest.raises(ValueError, match="attend to scenes: expected tokens of 11"):
        awake()(torch.ones(1, CHANNELS, 2, 2), Clip(num_frames=1, text=text))
