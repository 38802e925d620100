"""Run by test_resume.py in a process of its own, to be killed: ``python resume_child.py FOLDER``."""

import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentloom.training.loop import Loop, LoopConfig, Player
from latentloom.training.optimizer import OptimizerConfig, build_optimizers
from latentloom.training.order import Draw

CONFIG = LoopConfig(steps=60, batch_size=4, seed=5, dtype="fp32", checkpoint_steps=5, log_steps=1)


class Objective(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        noise = torch.randn(batch["x"].shape, generator=generator)
        time.sleep(0.02)  # so that a kill falls into a step as often as into a checkpoint
        return self.network(batch["x"] + noise).square().mean(), {}


class Task:
    def __init__(self) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5), nn.Linear(64, 64))
        self.items, self.weights = self, None
        self.players = [
            Player(
                name="net",
                objective=Objective(network),
                trained=network,
                optimizers=build_optimizers(network, OptimizerConfig()),
            )
        ]

    def __len__(self) -> int:
        return 50

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        return {"x": torch.randn(64, generator=torch.Generator().manual_seed(draw.seed)), "id": str(draw.item)}

    def begin_step(self, step: int) -> list[Player]:
        return self.players

    def to(self, device: torch.device) -> None:
        self.players[0].trained.to(device)

    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]:
        return {}


if __name__ == "__main__":
    Loop(Task(), CONFIG, Path(sys.argv[1])).run({"steps": CONFIG.steps})
