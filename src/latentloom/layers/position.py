"""Embeddings of numbers: the frame index of a token; the fps of a clip, its noise level, its steering.

Paper, section 3.1: temporal attention gets a sinusoidal embedding of the frame index through an MLP. No length is
stored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

NUMBER_WIDTH = 64


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


@dataclass(frozen=True, kw_only=True)
class NumberSpec:
    """A number that clips are told; ``scale`` brings its range to tens or hundreds, where the sinusoid resolves it."""

    name: str
    scale: float = 1.0


class NumberConditions(nn.Module):
    """The sum of the embeddings of named numbers; a number that is not given, or NaN, adds exactly nothing."""

    def __init__(self, specs: tuple[NumberSpec, ...], out: int) -> None:
        super().__init__()
        self.scales = {spec.name: spec.scale for spec in specs}
        self.embeddings = nn.ModuleDict({spec.name: NumberEmbedding(NUMBER_WIDTH, out, out) for spec in specs})

    def forward(self, numbers: Mapping[str, Shaped[Tensor, "b *t"]]) -> Float[Tensor, "b #t out"] | None:
        """One row per clip (``b 1 out``) or per frame, where a number is given so; None where there is none.

        Raises:
            ValueError: a number these layers do not know.
        """
        if unknown := sorted(set(numbers) - set(self.scales)):
            known = ", ".join(self.scales) or "none"
            raise ValueError(f"these temporal layers take no {', '.join(unknown)}: the numbers they know are {known}")
        rows = [self._embedded(name, numbers[name]) for name in self.scales if name in numbers]
        return sum(rows[1:], rows[0]) if rows else None

    def _embedded(self, name: str, values: Tensor) -> Tensor:
        values = values.reshape(len(values), -1).float()  # b 1 or b t
        known = values.isfinite()
        embedded = self.embeddings[name](values.where(known, 0.0).flatten() * self.scales[name])
        return embedded.unflatten(0, values.shape) * known.unsqueeze(-1)
