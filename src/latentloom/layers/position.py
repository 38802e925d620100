"""Embeddings of numbers: the frame index of a token, and the fps of a clip.

Paper, section 3.1: temporal attention gets a sinusoidal embedding of the frame index through an MLP. No length is
stored.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def sinusoid(values: Float[Tensor, " n"], width: int, max_period: float = 10_000.0) -> Float[Tensor, "n width"]:
    """``[cos(v f_i), sin(v f_i)]`` with ``f_i = max_period ** (-i / (width / 2))``; float32, width even."""
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=values.device) / half
    angles = values.float()[:, None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class NumberEmbedding(nn.Module):
    """``MLP(sinusoid(value))``, ``width -> hidden -> out``; the last layer starts at zero, that is, neutral."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.width = width
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, out)
        nn.init.zeros_(self.linear2.weight)
        nn.init.zeros_(self.linear2.bias)

    def forward(self, values: Float[Tensor, " n"]) -> Float[Tensor, "n out"]:
        """Embed ``n`` numbers; the result has the dtype of the weights."""
        x = sinusoid(values, self.width).to(self.linear1.weight.dtype)
        return self.linear2(nn.functional.silu(self.linear1(x)))
