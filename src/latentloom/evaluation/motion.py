"""How much a clip changes from frame to frame, and whether that is as much as in real footage.

Independent images of one prompt change far too much, a frozen clip not at all; temporal layers are judged by where
generated clips lie between the two (issue of the first experiments: 2 without layers, 0.8 to 1.25 with them).
"""

from collections.abc import Collection
from itertools import pairwise

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor


def frame_difference(frames: UInt8[Tensor, "t h w 3"]) -> float:
    """Mean absolute difference of neighbouring frames, over pixels and channels, 0 to 255.

    Blind to what changes: noise, a jump and smooth motion of the same size score alike, and a clip that alternates
    between two pictures scores like one that moves on. Grows with contrast and with the time between frames.

    Raises:
        ValueError: fewer than two frames.
    """
    return frame_differences(frames).mean().item()


def frame_differences(frames: UInt8[Tensor, "t h w 3"]) -> Float64[Tensor, " t-1"]:
    """The same for each pair of neighbouring frames.

    Raises:
        ValueError: fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError(f"a frame difference needs at least 2 frames, given {len(frames)}")
    return torch.stack([(later.int() - earlier.int()).abs().double().mean() for earlier, later in pairwise(frames)])


def frame_difference_ratio(fake: UInt8[Tensor, "n t h w 3"], real: UInt8[Tensor, "m u k l 3"]) -> float:
    """Mean frame difference of the ``fake`` clips over that of the ``real`` ones: 1 is right, above is flicker.

    Compare clips of the same size, of the same frames per second and of the same kind of scene: a fast road changes
    more than a slow one. 1 alone proves nothing (see ``frame_difference``); look at the frames too.

    Raises:
        ValueError: clips of one frame, clips of different sizes, or real clips in which nothing moves.
    """
    if fake.shape[2:] != real.shape[2:]:
        raise ValueError(f"frames of {tuple(fake.shape[2:4])} are compared with {tuple(real.shape[2:4])}; resize one")
    ours, theirs = (sum(map(frame_difference, clips)) / len(clips) for clips in (fake, real))
    if theirs == 0:
        raise ValueError("nothing moves in the real clips, a ratio to them says nothing; give clips that move")
    return ours / theirs


def join_ratio(frames: UInt8[Tensor, "t h w 3"], joins: Collection[int]) -> float:
    """Mean change into the frames ``joins`` over that into all others: 1 where windows meet without a jump.

    Args:
        joins: frames that were made apart from the one before them, counted from 0.

    Raises:
        ValueError: no join, or nothing else, within the video.
    """
    changes = {k: frame_difference(frames[k - 1 : k + 1]) for k in range(1, len(frames))}
    at = [change for k, change in changes.items() if k in set(joins)]
    elsewhere = [change for k, change in changes.items() if k not in set(joins)]
    if not at or not elsewhere:
        raise ValueError(f"{len(at)} joins in a video of {len(frames)} frames: expected some, and frames between them")
    return (sum(at) / len(at)) / (sum(elsewhere) / len(elsewhere))
