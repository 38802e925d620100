import math

import pytest
import torch

from latentloom.evaluation.fidelity import psnr


def frames(seed=0):
    return torch.randint(0, 246, (3, 8, 8, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_an_error_of_ten_everywhere_is_28_decibels():
    expected = 20 * math.log10(255 / 10)
    assert psnr(frames() + 10, frames()).tolist() == pytest.approx([expected] * 3)


def test_each_frame_has_its_own_value_and_equal_frames_are_infinite():
    worse = frames()
    worse[1] += 5
    values = psnr(worse, frames())
    assert values.isinf().tolist() == [True, False, True]


def test_frames_of_another_order_lose_decibels():
    assert (psnr(frames().flip(0), frames())[[0, 2]] < 12).all()


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="expected the same"):
        psnr(frames(), torch.zeros(3, 8, 16, 3, dtype=torch.uint8))
