"""One seed, many independent streams: what is drawn is a function of the seed and a place, never of what came before.

So a training or a generation that is killed goes on with the same bits, and windows may be made in any order.
"""

from enum import IntEnum

import torch


class Stream(IntEnum):
    """What draws: part of the seed of each stage, so that no two draw the same. Numbers stay: receipts rely on them."""

    PREDICTION = 1
    INTERPOLATION = 2
    FUTURE = 3
    UPSAMPLING = 4


def seed_of(*parts: int) -> int:
    """A 63-bit seed from integers, well mixed (splitmix64)."""
    state = 0
    for part in parts:
        state = (state ^ part) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def generator_of(*parts: int) -> torch.Generator:
    """A generator on the CPU, started at ``seed_of(*parts)``."""
    return torch.Generator().manual_seed(seed_of(*parts))
