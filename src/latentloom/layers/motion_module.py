"""AnimateDiff's motion module (Guo et al. 2024), a layer type beside the paper's: a transformer over t behind a block.

GroupNorm over the clip, a projection, blocks of two self-attentions over t and a feed-forward, a projection back, all
residual. Frames are told apart by fixed sinusoids that are added to what each attention sees. It has no alpha: its
share is all or what is asked for.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentloom.layers.attention import FeedForward, attend, zeroed
from latentloom.layers.base import Clip


@dataclass(frozen=True, kw_only=True)
class MotionModuleSpec:
    """A motion module.

    Attributes:
        num_heads: of each attention; AnimateDiff has 8 at every width.
        num_blocks: transformer blocks; AnimateDiff has 1.
    """

    num_heads: int = 8
    num_blocks: int = 1

    def build(self, channels: int, num_groups: int) -> "MotionModule":
        """The layer for maps of ``channels``. Raises ``ValueError`` where heads do not divide them."""
        if channels % self.num_heads:
            raise ValueError(f"{channels} channels cannot be attended to by {self.num_heads} heads")
        return MotionModule(self, channels, num_groups)


class MotionAttention(nn.Module):
    """Self-attention over t with LayerNorm and fixed positions, residual."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        """Each of n pixels attends over its t frames."""
        y = self.norm(x) + frame_positions(x.shape[1], x.shape[2], x)
        query, key, value = self.qkv(y).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        return x + self.out(attend(query, key, value).flatten(2))


class MotionBlock(nn.Module):
    """Two self-attentions over t and a GEGLU feed-forward."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.attention1 = MotionAttention(channels, num_heads)
        self.attention2 = MotionAttention(channels, num_heads)
        self.feed_forward = FeedForward(channels, 4)
        nn.init.kaiming_uniform_(self.feed_forward.out.weight, a=math.sqrt(5))  # the module's end is zero, not this

    def forward(self, x: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        return self.feed_forward(self.attention2(self.attention1(x)))


class MotionModule(nn.Module):
    """The whole layer; new ones end in zero and change nothing."""

    def __init__(self, spec: MotionModuleSpec, channels: int, num_groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.blocks = nn.ModuleList(MotionBlock(channels, spec.num_heads) for _ in range(spec.num_blocks))
        self.proj_out = zeroed(nn.Linear(channels, channels))

    def forward(
        self,
        z: Float[Tensor, "bt c h w"],
        clip: Clip,
        time_embedding: Float[Tensor, "bt d"] | None = None,
    ) -> Float[Tensor, "bt c h w"]:
        """Move the features of each clip's frames; ``time_embedding`` is not used."""
        frames = z.unflatten(0, (-1, clip.num_frames)).flatten(3)  # b t c n
        x = self.norm(frames.transpose(1, 2))  #                     b c t n
        x = self.proj_in(x.permute(0, 3, 2, 1).flatten(0, 1))  #     (b n) t c
        for block in self.blocks:
            x = block(x)
        change = self.proj_out(x).unflatten(0, (len(frames), -1)).permute(0, 2, 3, 1)  # b t c n
        share = clip.strength * (1 - (clip.alpha or 0.0))
        return (frames + share * change).reshape(z.shape)


def frame_positions(num_frames: int, width: int, like: Tensor) -> Float[Tensor, "t c"]:
    """``sin`` of the frame index at even, ``cos`` at odd channels (Vaswani et al. 2017); any number of frames."""
    index = torch.arange(num_frames, device=like.device, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10_000.0) / width))
    return torch.stack([(index * rates).sin(), (index * rates).cos()], -1).flatten(1).to(like.dtype)
