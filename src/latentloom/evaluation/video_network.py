"""Features of clips from a small network that this project trained on driving video: for relative use, never an FVD.

A (2+1)D convolutional network (1.0 M weights, shipped in ``assets/video_features``) that was taught the steering, the
way driven per frame, the playback direction, the order of frames, and noise, blur and warps; which of it it learned,
and from what, says the model card there. Its 96 numbers per clip are the means and deviations of fine channels, for
looks and small motion, and the means and largest moments of coarse ones, for what happens. Which faults it sees:
docs/results/corruptions.md. Not here: the training (``runs/video_features``), the distance (``frechet``).
"""

import hashlib
from functools import cache
from importlib.resources import files

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from safetensors.torch import load
from torch import Tensor, nn

NAME = "loom features v1"
SHA256 = "40c6d699961549dd8fa319ac1421988095bb82f1b716ca2658f6935c7849f432"
"""Of the shipped weights."""
SIZE = (64, 128)
PREPROCESSING = "frames averaged to 64x128 by area, x / 127.5 - 1, every frame of the clip"
CHANNELS = 24
NUM_FEATURES = 4 * CHANNELS
MIN_FRAMES = 4
WIDTHS = (32, 64, 128, 160)
"""Channels behind the stem and behind each halving."""


class VideoNetwork(nn.Module):
    """Clips to vectors of ``NUM_FEATURES``, without mean and nearly white over the clips of the training.

    Else what differs most from drive to drive, light and place, would drown what faults change.
    Nothing in it depends on the other clips of a batch, and any number of frames will do; vectors of clips of other
    lengths or rates are not to be compared all the same.
    """

    centre: Tensor
    directions: Tensor

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.stem = nn.Conv2d(9 + 2, first, 5, stride=2, padding=2)
        self.fine = nn.Sequential(Block(first, first), Block(first, second), Block(second, second))
        self.coarse = nn.Sequential(
            Block(second, third), Block(third, third), Block(third, fourth), Block(fourth, fourth)
        )
        self.read_fine, self.read_coarse = nn.Conv2d(second, CHANNELS, 1), nn.Conv2d(fourth, CHANNELS, 1)
        self.register_buffer("centre", torch.zeros(NUM_FEATURES))
        self.register_buffer("directions", torch.eye(NUM_FEATURES))

    def forward(self, clips: Float[Tensor, "n t 3 h w"]) -> Float[Tensor, "n d"]:
        """The features of clips at ``SIZE``, -1 to 1."""
        num_frames = clips.shape[1]
        before, after = clips[:, :1], clips[:, -1:]  # a clip that stands still has no edge in time
        neighbours = torch.cat([torch.cat([before, clips[:, :-1]], 1), clips, torch.cat([clips[:, 1:], after], 1)], 2)
        x = rearrange(neighbours, "n t c h w -> (n t) c h w")
        x = torch.cat([x, places(x)], 1).to(memory_format=torch.channels_last)
        x = self.stem(x)
        for block in self.fine:
            x = block(x, num_frames)
        fine = rearrange(self.read_fine(x), "(n t) c h w -> n c (t h w)", t=num_frames).float()
        for block in self.coarse:
            x = block(x, num_frames)
        coarse = rearrange(self.read_coarse(x), "(n t) c h w -> n c t (h w)", t=num_frames).float().mean(-1)
        features = torch.cat([fine.mean(-1), fine.std(-1), coarse.mean(-1), coarse.amax(-1)], 1)
        return (features - self.centre) @ self.directions


def places(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 2 h w"]:
    """Row and column of each pixel, -1 to 1.

    Driving forward moves the left to the left and the right to the right: without places a mean over the picture could
    not tell it from driving backward.
    """
    rows, columns = (torch.linspace(-1, 1, side, device=x.device, dtype=x.dtype) for side in x.shape[2:])
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return grid.expand(len(x), -1, -1, -1)


class Block(nn.Module):
    """A convolution over space, then one over three frames, added to what came; halves the size where it widens."""

    def __init__(self, fan_in: int, width: int) -> None:
        super().__init__()
        self.halves = width != fan_in
        self.norm = nn.LayerNorm(fan_in)  # over channels alone: neither other places nor other frames change a place
        self.spatial = nn.Conv2d(fan_in, width, 3, stride=1 + self.halves, padding=1)
        self.temporal = nn.Conv2d(width, width, (3, 1), padding=(1, 0))
        self.skip = nn.Conv2d(fan_in, width, 1) if self.halves else nn.Identity()

    def forward(self, x: Float[Tensor, "nt c h w"], num_frames: int) -> Float[Tensor, "nt d k l"]:
        y = F.relu(self.spatial(F.relu(self.norm(x.movedim(1, -1)).movedim(-1, 1))))
        height = y.shape[2]
        y = self.temporal(rearrange(y, "(n t) c h w -> n c t (h w)", t=num_frames))
        y = rearrange(y, "n c t (h w) -> (n t) c h w", h=height)
        return self.skip(F.avg_pool2d(x, 2) if self.halves else x) + y


def prepared(clips: UInt8[Tensor, "n t h w 3"]) -> Float[Tensor, "n t 3 k l"]:
    """Clips as the network takes them (``PREPROCESSING``)."""
    frames = clips.flatten(0, 1).movedim(-1, 1).float() / 127.5 - 1
    return F.adaptive_avg_pool2d(frames, SIZE).unflatten(0, clips.shape[:2])


@cache
def load_video_network() -> VideoNetwork:
    """The shipped network, read once.

    Raises:
        ValueError: the file is not the one whose ``SHA256`` is written here.
    """
    data = (files("latentloom") / "assets" / "video_features" / "model.safetensors").read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != SHA256:
        raise ValueError(f"the weights of {NAME!r} have sha256 {found}, expected {SHA256}; install latentloom again")
    network = VideoNetwork()
    network.load_state_dict(load(data))
    return network.eval().requires_grad_(False)


@torch.no_grad()
def video_features(clips: UInt8[Tensor, "n t h w 3"], batch_size: int = 8) -> Float[Tensor, "n d"]:
    """One vector per clip, by the shipped network, on the CPU in float32.

    Raises:
        ValueError: there is no clip, or clips have fewer than ``MIN_FRAMES`` frames.
    """
    if not len(clips):
        raise ValueError("there is no clip to take features of")
    if clips.shape[1] < MIN_FRAMES:
        raise ValueError(f"clips have {clips.shape[1]} frames; {NAME} describes clips of {MIN_FRAMES} or more")
    network = load_video_network()
    return torch.cat([network(prepared(part)) for part in clips.split(batch_size)])
