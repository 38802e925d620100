"""Which training frame a generated frame is nearest to: shown beside samples, so that copying is seen, not hidden."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

COMPARED_SIZE = (16, 32)  # what is left of a copy that is shifted by a pixel or differs in noise is still a copy
CHUNK = 4096


def nearest_frames(
    samples: UInt8[Tensor, "n h w 3"], training_frames: UInt8[Tensor, "m h w 3"], *, chunk_size: int = CHUNK
) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """Index of the nearest training frame of each sample, and their mean squared distance (0 to 65025).

    Frames are averaged down to 16x32 first. Distances are to be read beside those of held-out real frames: a sample
    nearer than these is a copy. Blind to mirrored, recoloured or far shifted copies and to copied parts; large dark
    areas (night) make different frames near.

    Args:
        chunk_size: training frames compared at once; bounds the memory.

    Raises:
        ValueError: no training frames, or ``chunk_size`` below 1.
    """
    if not len(training_frames) or chunk_size < 1:
        raise ValueError(f"{len(training_frames)} training frames in chunks of {chunk_size}, expected at least 1")
    small = _averaged(samples)
    best = torch.full((len(samples),), torch.inf, dtype=torch.float64)
    where = torch.zeros(len(samples), dtype=torch.int64)
    for start in range(0, len(training_frames), chunk_size):
        known = _averaged(training_frames[start : start + chunk_size])
        # |a - b|^2 by products loses digits near 0, where copies are: differences are exact
        distances = torch.stack([(sample - known).square().mean(1) for sample in small])
        nearest, index = distances.min(1)
        better = nearest < best
        best, where = torch.where(better, nearest, best), torch.where(better, index + start, where)
    return where, best.float()


def _averaged(frames: Tensor, batch_size: int = 256) -> Tensor:
    """Frames as vectors of 16x32 averaged pixels, float64."""
    parts = [
        F.adaptive_avg_pool2d(part.movedim(-1, 1).float(), COMPARED_SIZE).flatten(1)
        for part in frames.split(batch_size)
    ]
    return torch.cat(parts).double() if parts else torch.zeros(0, 3 * COMPARED_SIZE[0] * COMPARED_SIZE[1]).double()
