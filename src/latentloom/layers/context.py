"""The given frames on their way into the temporal res blocks: learned downsampling (paper, Sec. 3.2).

``c_S = (m_S z, m_S)`` at latent size becomes one map per level of the network, by strided convolutions; each temporal
res block adds its own projection of the map of its level. Nothing here has a bias: without given frames the context is
zero, every map is zero and the layers compute, bit for bit, what they would without the mechanism. Not here: which
frames are given (``diffusion.masks``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class ContextSpec:
    """How given frames enter.

    Attributes:
        width: channels of the maps; 32 stay below the 0.8M parameters that the paper's count leaves (spec, section 4).
        own_step: given frames also stand in the network's input as they are given, each with the diffusion step of its
            own noise, where the others are at the step of the clip. False is the paper's maps alone.
        first_guess: width of the convolutions that bring a first guess from the given frames into the prediction
            (``guess``); 0 leaves it out.
        motion: width of the network that moves this guess as the drive goes on (``movement``); 0 leaves it still.
    """

    width: int = 32
    own_step: bool = True
    first_guess: int = 48
    motion: int = 0

    def build(self, latent_channels: int, num_levels: int) -> "ContextEncoder":
        """The encoder of latents of ``latent_channels`` for networks that halve ``num_levels - 1`` times."""
        return ContextEncoder(self, latent_channels, num_levels)


class ContextEncoder(nn.Module):
    """A convolution, and one of stride 2 for each further level; SiLU behind each."""

    def __init__(self, spec: ContextSpec, latent_channels: int, num_levels: int) -> None:
        super().__init__()
        widths = [latent_channels + 1, *[spec.width] * num_levels]
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, stride=1 if i == 0 else 2, padding=1, bias=False)
            for i in range(num_levels)
        )

    def forward(self, context: Float[Tensor, "bt c_plus_1 h w"]) -> Sequence[Float[Tensor, "bt m _ _"]]:
        """The maps, finest first; those of level l have the size of the network's features there."""
        maps, features = [], context
        for conv in self.convs:
            features = F.silu(conv(features))
            maps.append(features)
        return maps


def context_projection(width: int, channels: int) -> nn.Conv2d:
    """What a temporal res block adds of its level's map; zero at start."""
    projection = nn.Conv2d(width, channels, 1, bias=False)
    nn.init.zeros_(projection.weight)
    return projection
