"""The loop: schedule, averages, skipped steps, stops, and a resume that leaves no trace (R1, R3, R8, R11, R13)."""

import json
import os
import signal
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentloom.training.checkpoint import load_latest
from latentloom.training.loop import Loop, LoopConfig, Player, Progress, Stopped
from latentloom.training.optimizer import OptimizerConfig, build_optimizers
from latentloom.training.order import Draw

CONFIG = LoopConfig(steps=12, batch_size=4, seed=5, dtype="fp32", warmup_steps=3, checkpoint_steps=2, log_steps=1)


class Regression(nn.Module):
    """Noise and dropout on the input, so that every kind of randomness takes part."""

    def __init__(self, network: nn.Module, poison: set[int]):
        super().__init__()
        self.network, self.poison, self.calls = network, poison, 0

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        self.calls += 1
        noise = torch.randn(batch["x"].shape, generator=generator)
        loss = (self.network(batch["x"] + 0.1 * noise) - batch["x"].sum(1, keepdim=True)).square().mean()
        return loss * (float("nan") if self.calls in self.poison else 1.0), {}


class Task:
    """A small regression on nine samples."""

    def __init__(self, poison: set[int] | None = None):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Dropout(0.2), nn.Linear(16, 1))
        self.network, self.items, self.weights = network, self, None
        objective = Regression(network, poison or set())
        optimizers = build_optimizers(network, OptimizerConfig(learning_rate=1e-2))
        self.players = [Player(name="net", objective=objective, trained=network, optimizers=optimizers)]

    def __len__(self) -> int:
        return 9

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        return {"x": torch.randn(3, generator=torch.Generator().manual_seed(draw.item)), "id": f"sample-{draw.item}"}

    def begin_step(self, step: int) -> list[Player]:
        return self.players

    def to(self, device: torch.device) -> None:
        self.network.to(device)

    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]:
        torch.rand(3)  # a preview that is careless with the global generator must not change the run
        return {"seen": 1.0}


def run(
    folder: Path, config: LoopConfig = CONFIG, *, stop_at: int | None = None, poison: set[int] | None = None
) -> Task:
    task = Task(poison)

    def report(progress: Progress) -> None:
        if progress.step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    Loop(task, config, folder, report).run({"steps": config.steps, "seed": config.seed})
    return task


def weights(task: Task) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in task.network.parameters()]


def losses(folder: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("stop_at", [1, 5, 11])
def test_a_stopped_and_continued_run_ends_with_the_same_bits(tmp_path: Path, stop_at: int, accumulation: int) -> None:
    config = replace(CONFIG, accumulation=accumulation)
    whole = run(tmp_path / "whole", config)
    with pytest.raises(Stopped) as stopped:
        run(tmp_path / "parts", config, stop_at=stop_at)
    assert stopped.value.code == 128 + signal.SIGTERM
    found = load_latest(tmp_path / "parts" / "checkpoints")
    assert found is not None and found.step == stop_at
    continued = run(tmp_path / "parts", replace(config, workers=2, preview_steps=3))
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(continued), strict=True))
    ends = [load_latest(tmp_path / name / "checkpoints") for name in ("whole", "parts")]
    assert ends[0] is not None and ends[1] is not None and ends[0].state == ends[1].state
    for group, tensors in ends[0].tensors.items():
        assert all(torch.equal(tensor, ends[1].tensors[group][name]) for name, tensor in tensors.items()), group
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def test_the_seed_changes_the_result(tmp_path: Path) -> None:
    one, other = run(tmp_path / "one"), run(tmp_path / "other", replace(CONFIG, seed=6))
    assert not all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_the_networks_end_with_the_averages(tmp_path: Path) -> None:
    task = run(tmp_path)
    found = load_latest(tmp_path / "checkpoints")
    assert found is not None
    names = [name for name, _ in task.network.named_parameters()]
    for name, weight in zip(names, weights(task), strict=True):
        assert torch.equal(weight, found.tensors["net.average"][name])
        assert not torch.equal(weight, found.tensors["net.weights"][name])


def test_the_learning_rate_rises_stays_and_falls() -> None:
    rates = [CONFIG.rate(step) for step in range(12)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[4] == 1 and rates[11] == pytest.approx(1 / 3.6)


def test_a_step_with_nan_is_skipped_and_counted(tmp_path: Path) -> None:
    task = run(tmp_path, poison={4})
    found = load_latest(tmp_path / "checkpoints")
    assert found is not None and found.state["bad_steps"] == 1
    assert all(torch.isfinite(weight).all() for weight in weights(task))


def test_nan_without_end_stops_the_run_naming_the_samples(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sample-"):
        run(tmp_path, replace(CONFIG, max_bad_steps=3), poison=set(range(3, 99)))
    found = load_latest(tmp_path / "checkpoints")
    assert found is not None and all(t.isfinite().all() for group in found.tensors.values() for t in group.values())


def test_other_settings_are_refused_naming_the_key(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ValueError, match=r"steps \(was 12, now 13\)"):
        run(tmp_path, replace(CONFIG, steps=13))


def test_a_damaged_newest_checkpoint_costs_steps_not_the_run(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "parts", stop_at=6)
    newest = sorted((tmp_path / "parts" / "checkpoints").iterdir())[-1]
    (newest / "tensors.safetensors").write_bytes(b"damaged")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        continued = run(tmp_path / "parts")
    assert any("falling back" in str(warning.message) for warning in caught)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(continued), strict=True))
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


@pytest.mark.parametrize("field", ["steps", "batch_size", "accumulation"])
def test_counts_below_one_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is 0"):
        replace(CONFIG, **{field: 0})
