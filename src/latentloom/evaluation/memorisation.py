"""Which training frame or clip generated ones are nearest to: shown beside samples, so that copying is seen.

Frames are averaged down to 16x32 first: what is left of a copy that is shifted by a pixel or differs in noise is still
a copy. Blind to mirrored, recoloured or far shifted copies and to copied parts; large dark areas (night) make different
frames near. Distances are to be read beside those of held-out real video: what is much nearer than these is a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

COMPARED_SIZE = (16, 32)
NUM_PIXELS = 3 * COMPARED_SIZE[0] * COMPARED_SIZE[1]
CHUNK = 1024
CLIPS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class NearestClip:
    """The training clip nearest to a clip: from frame ``first`` of video ``name``, ``distance`` away (0 to 255)."""

    name: str
    first: int
    distance: float


def small_frames(frames: UInt8[Tensor, "t h w 3"], batch_size: int = 256) -> Float[Tensor, "t p"]:
    """Frames as vectors of 16x32 averaged pixels, 0 to 255."""
    parts = [
        F.adaptive_avg_pool2d(part.movedim(-1, 1).float(), COMPARED_SIZE).flatten(1)
        for part in frames.split(batch_size)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, NUM_PIXELS)


def nearest_frames(
    samples: UInt8[Tensor, "n h w 3"], training_frames: UInt8[Tensor, "m h w 3"], *, chunk_size: int = CHUNK
) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """Index of the nearest training frame of each sample, and their mean squared distance (0 to 65025).

    Args:
        chunk_size: training frames compared at once; bounds the memory.

    Raises:
        ValueError: no training frames, or ``chunk_size`` below 1.
    """
    if not len(training_frames) or chunk_size < 1:
        raise ValueError(f"{len(training_frames)} training frames in chunks of {chunk_size}, expected at least 1")
    small = small_frames(samples).double()
    best = torch.full((len(samples),), torch.inf, dtype=torch.float64)
    where = torch.zeros(len(samples), dtype=torch.int64)
    for start in range(0, len(training_frames), chunk_size):
        known = small_frames(training_frames[start : start + chunk_size]).double()
        # |a - b|^2 by products loses digits near 0, where copies are: differences are exact
        distances = torch.stack([(sample - known).square().mean(1) for sample in small])
        nearest, index = distances.min(1)
        better = nearest < best
        best, where = torch.where(better, nearest, best), torch.where(better, index + start, where)
    return where, best.float()


class NearestClips:
    """A search for the nearest training clip of each of some clips, of one frame or more; ``offer`` takes videos.

    Clips are compared frame by frame in order, with any frame of a training video for the first. The distance is the
    root of the mean squared difference of small frames, over the frames: 0 to 255 levels.

    Args:
        clips: small frames of clips of equal length.
        stride: a clip's frames are so far apart in its video, and so are those it is compared with.

    Raises:
        ValueError: no clip, clips of different lengths or none, or a stride below 1.
    """

    def __init__(self, clips: Sequence[Float[Tensor, "_l p"]], *, stride: int = 1) -> None:
        if not clips or stride < 1 or not len(clips[0]) or any(len(clip) != len(clips[0]) for clip in clips):
            raise ValueError(
                f"{len(clips)} clips at stride {stride}: expected some, of one length, a stride of 1 or more"
            )
        self.clips, self.stride = torch.stack(list(clips)), stride
        self.best = torch.full((len(clips),), torch.inf, dtype=torch.float64)
        self.found: list[NearestClip | None] = [None] * len(clips)
        """The first of the nearest of each clip; None while every video offered was shorter than it."""

    def offer(self, name: str, frames: Float[Tensor, "m p"]) -> None:
        """Compare with a training video, of which small frames are given."""
        span = (self.clips.shape[1] - 1) * self.stride + 1
        for begin in range(0, len(frames) - span + 1, CHUNK):  # long videos in pieces: all distances at once are many
            self._offer(name, begin, frames[begin : begin + CHUNK + span - 1].double(), span)

    def _offer(self, name: str, begin: int, known: Float64[Tensor, "m p"], span: int) -> None:
        """Compare with the frames of a video from ``begin`` on."""
        for start in range(0, len(self.clips), CLIPS_AT_ONCE):
            part = self.clips[start : start + CLIPS_AT_ONCE].double()
            distances, firsts = _clip_distances(part, known, self.stride).min(1)
            for place in (distances < self.best[start : start + len(part)]).nonzero().flatten().tolist():
                first = int(firsts[place])
                exact = (part[place] - known[first : first + span : self.stride]).square().mean().item()
                if exact < self.best[start + place]:
                    self.best[start + place] = exact
                    self.found[start + place] = NearestClip(name=name, first=begin + first, distance=exact**0.5)


def _clip_distances(
    clips: Float64[Tensor, "n l p"], known: Float64[Tensor, "m p"], stride: int
) -> Float64[Tensor, "n o"]:
    """The squared distance of each clip to the clip at each of o places, by products: right to about 1e-9 of 65025."""
    length = clips.shape[1]
    places = len(known) - (length - 1) * stride
    squares = clips.square().sum(-1)[..., None] + known.square().sum(-1)
    frames = squares - 2 * clips @ known.T  # n l m
    moved = [frames[:, k, k * stride : k * stride + places] for k in range(length)]
    return torch.stack(moved, 1).mean(1) / clips.shape[2]
