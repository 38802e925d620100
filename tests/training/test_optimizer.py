"""Muon takes directions, not sizes; the groups are those asked for."""

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from latentloom.training.optimizer import Muon, OptimizerConfig, build_optimizers, orthogonalise


@pytest.mark.parametrize("shape", [(3, 8, 20), (3, 20, 8)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.6 and values.max() < 1.3


def test_orthogonalised_matrices_keep_their_singular_directions() -> None:
    matrix = torch.randn(1, 8, 20, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix[0], full_matrices=False)
    core = u.T @ orthogonalise(matrix)[0] @ v.T
    assert (core - core.diag().diag()).abs().max() < 0.1 < core.diag().min()


def test_muon_steps_do_not_depend_on_the_size_of_the_gradient() -> None:
    steps = []
    for size in (1.0, 1e3):
        weight = nn.Parameter(torch.zeros(4, 3, 3, 3))
        weight.grad = size * torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
        Muon([weight], lr=0.1).step()
        steps.append(weight.detach())
    assert torch.allclose(steps[0], steps[1], atol=2e-2) and steps[0].abs().max() > 0


def test_matrices_go_to_muon_and_the_rest_to_adamw_with_the_quick_ones_apart() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2))
    quick = nn.Parameter(torch.zeros(()))
    network.register_parameter("alpha", quick)
    frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
    network.register_parameter("frozen", frozen)
    muon, adamw = build_optimizers(network, OptimizerConfig(), fast=[quick])
    assert isinstance(muon, Muon) and isinstance(adamw, AdamW)
    assert {p.ndim for p in muon.param_groups[0]["params"]} == {2, 4}
    assert [len(group["params"]) for group in adamw.param_groups] == [2, 1]
    assert adamw.param_groups[1]["lr"] == pytest.approx(1e-2)


def test_an_unknown_optimiser_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'sgd' is not known"):
        OptimizerConfig(kind="sgd")
