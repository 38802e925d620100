"""The order of samples is a function of seed and position alone."""

from collections import Counter
from typing import Any

import pytest
import torch

from latentloom.seeds import seed_of
from latentloom.training.order import Draw, DrawOrder, batches


class Echo:
    """Items that are the draw itself."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        return {"item": draw.item, "noise": torch.rand((), generator=torch.Generator().manual_seed(draw.seed))}


def test_an_epoch_is_a_permutation_and_the_next_one_is_another() -> None:
    order = DrawOrder(10, 5, seed=3)
    items = [draw.item for position in range(4) for draw in order.batch(position)]
    assert sorted(items[:10]) == sorted(items[10:]) == list(range(10))
    assert items[:10] != items[10:]


def test_a_batch_does_not_depend_on_the_ones_asked_before_it() -> None:
    early = DrawOrder(7, 4, seed=3)
    for position in range(9):
        early.batch(position)
    assert early.batch(2) == DrawOrder(7, 4, seed=3).batch(2)


def test_weights_are_obeyed() -> None:
    order = DrawOrder(3, 100, seed=0, weights=[0.7, 0.3, 0.0])
    counts = Counter(draw.item for position in range(50) for draw in order.batch(position))
    assert counts[2] == 0
    assert counts[0] / 5000 == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_begun_in_the_middle_is_the_rest_of_the_whole_one(workers: int) -> None:
    order = DrawOrder(10, 3, seed=1)
    whole = list(batches(Echo(), order, 0, 7, workers=workers))
    rest = list(batches(Echo(), order, 4, 7, workers=0))
    assert len(whole) == 7
    for left, right in zip(whole[4:], rest, strict=True):
        assert torch.equal(left["item"], right["item"]) and torch.equal(left["noise"], right["noise"])


def test_reading_batches_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    next(batches(Echo(), DrawOrder(10, 2, seed=1), 0, 5))
    assert torch.equal(torch.rand(1), expected)


def test_processes_share_a_batch_without_overlap() -> None:
    order = DrawOrder(10, 4, seed=1)
    parts = [next(batches(Echo(), order, 0, 1, share=(rank, 2)))["item"].tolist() for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == sorted(draw.item for draw in order.batch(0))


def test_seeds_differ_when_any_part_differs() -> None:
    seeds = {seed_of(a, b) for a in range(40) for b in range(40)}
    assert len(seeds) == 1600
