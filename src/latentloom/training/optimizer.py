"""The optimisers of the recipes: AdamW, and Muon for every weight that is a matrix in disguise.

Muon (Jordan et al. 2024) replaces the momentum of a matrix by its nearest semi-orthogonal matrix, so that all
directions of a layer learn at one rate. It was worth 3 dB in the autoencoder at equal time (docs/log.md).
``torch.optim.Muon`` takes two-dimensional weights only and always orthogonalises in bfloat16, which hangs a CPU without
it: hence this one, which flattens convolutions, works on all weights of one shape at once and asks the machine.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from latentloom.precision import preferred_dtype

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # steepest at zero: five iterations bring singular values to 0.7..1.2


def orthogonalise(matrices: Float[Tensor, "n rows columns"], iterations: int = 5) -> Float[Tensor, "n rows columns"]:
    """The semi-orthogonal factor U V^T of each matrix U S V^T, roughly (singular values 0.7 to 1.2).

    The quintic Newton-Schulz iteration X <- a X + (b A + c A^2) X with A = X X^T, in bfloat16 where that is fast.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = (x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)).to(preferred_dtype(matrices.device))
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(Optimizer):
    """Momentum, Nesterov, orthogonalised; step length lr * sqrt(max(1, rows / columns)), decoupled weight decay."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape[weight.shape[0], weight[0].numel()].append(weight)
            for shape, weights in by_shape.items():
                self._step_shape(weights, shape, group)

    def _step_shape(self, weights: list[Tensor], shape: tuple[int, int], group: dict) -> None:
        updates = []
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            assert weight.grad is not None
            state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
            updates.append(weight.grad.lerp(state["momentum"], group["momentum"]).view(shape))
        rate = group["lr"] * max(1, shape[0] / shape[1]) ** 0.5
        for weight, update in zip(weights, orthogonalise(torch.stack(updates)), strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.view_as(weight), alpha=-rate)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How weights move.

    Attributes:
        kind: ``"adamw"``, or ``"muon"``: Muon for weights of two or more dimensions, AdamW for the rest.
        learning_rate: of AdamW.
        muon_learning_rate: of Muon (its steps have unit spectral norm, hence another scale).

    Raises:
        ValueError: an unknown kind.
    """

    kind: str = "muon"
    learning_rate: float = 1e-3
    muon_learning_rate: float = 0.02

    def __post_init__(self) -> None:
        if self.kind not in ("adamw", "muon"):
            raise ValueError(f"optimiser {self.kind!r} is not known; expected adamw or muon")

    def slowed(self, factor: float) -> "OptimizerConfig":
        """The same at ``1 / factor`` of both rates."""
        rates = self.learning_rate / factor, self.muon_learning_rate / factor
        return replace(self, learning_rate=rates[0], muon_learning_rate=rates[1])


def build_optimizers(
    network: nn.Module,
    config: OptimizerConfig,
    *,
    fast: Iterable[nn.Parameter] = (),
    fast_factor: float = 10.0,
) -> list[Optimizer]:
    """The optimisers of the trainable parameters of ``network``.

    Args:
        fast: parameters that learn ``fast_factor`` times faster under AdamW (the mixing weights alpha).
    """
    quick = {id(parameter) for parameter in fast}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    matrices = [p for p in trained if config.kind == "muon" and p.ndim >= 2 and id(p) not in quick]
    chosen = {id(p) for p in matrices} | quick
    groups = [
        {"params": [p for p in trained if id(p) not in chosen], "lr": config.learning_rate},
        {"params": [p for p in trained if id(p) in quick], "lr": fast_factor * config.learning_rate},
    ]
    optimizers: list[Optimizer] = []
    if matrices:
        optimizers.append(Muon(matrices, config.muon_learning_rate))
    groups = [group for group in groups if group["params"]]
    if groups:
        optimizers.append(AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0))
    return optimizers
