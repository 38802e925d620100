"""Which item is seen when: a pure function of (seed, position), so that a resumed run needs no sampler state.

A DataLoader's own shuffling draws from the global generator and forgets where it was; here the i-th sample of a run is
known without the ones before it, whatever the number of workers or processes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader

from latentloom.seeds import generator_of, seed_of


class Draw(NamedTuple):
    """One sample of a run: the item, and a seed of its own for crops and noise."""

    item: int
    seed: int


@runtime_checkable
class Items(Protocol):
    """A map-style data set whose items take a `Draw`."""

    def __len__(self) -> int: ...
    def __getitem__(self, draw: Draw) -> dict[str, Any]: ...


class DrawOrder:
    """Batches of draws. Without weights every epoch is a permutation; with weights draws are independent."""

    def __init__(self, num_items: int, batch_size: int, seed: int, weights: Sequence[float] | None = None):
        self.num_items, self.batch_size, self.seed = num_items, batch_size, seed
        self.cumulative = None if weights is None else torch.tensor(weights, dtype=torch.float64).cumsum(0)
        self._epoch: tuple[int, list[int]] = (-1, [])

    def batch(self, position: int) -> list[Draw]:
        """The draws of the ``position``-th batch."""
        first = position * self.batch_size
        return [Draw(self._item(i), seed_of(self.seed, 1, i)) for i in range(first, first + self.batch_size)]

    def _item(self, index: int) -> int:
        if self.cumulative is not None:
            point = seed_of(self.seed, 2, index) / 2**63 * self.cumulative[-1]
            return min(int(torch.searchsorted(self.cumulative, point, right=True)), self.num_items - 1)
        epoch, place = divmod(index, self.num_items)
        if self._epoch[0] != epoch:
            generator = generator_of(self.seed, 3, epoch)
            self._epoch = (epoch, torch.randperm(self.num_items, generator=generator).tolist())
        return self._epoch[1][place]


def batches(
    items: Items, order: DrawOrder, start: int, stop: int, *, workers: int = 0, share: tuple[int, int] = (0, 1)
) -> Iterator[dict[str, Any]]:
    """Collated batches ``start`` to ``stop - 1``; of each, process ``share[0]`` of ``share[1]`` gets its part."""
    rank, world = share
    sampler = (order.batch(position)[rank::world] for position in range(start, stop))
    loader = DataLoader(
        items,  # pyright: ignore[reportArgumentType]  a map-style data set whose keys are draws
        batch_sampler=sampler,  # pyright: ignore[reportArgumentType]  any iterable of lists of keys
        num_workers=workers,
        generator=torch.Generator(),  # its own: creating an iterator draws a number
        persistent_workers=False,
    )
    return iter(loader)
