"""Decoder against discriminator: hinge losses, adaptive weight, turns within one step (LDM; paper, Sec. 3.1.1).

The decoder moves first and leaves what it saw and made; the discriminator then judges exactly that. Not here: the
discriminators themselves (``models.discriminator``) and the reconstruction losses.
"""

from collections import deque
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentloom.models.discriminator import discriminator_loss, generator_loss
from latentloom.training.optimizer import OptimizerConfig

DISCRIMINATOR = OptimizerConfig(kind="adamw", learning_rate=4e-4)


class Adversary(nn.Module):
    """A discriminator as the decoder meets it.

    Attributes:
        weight: the gradient of its loss at the last layer, as a share of the other losses' gradient there.
        plays: whether it takes part in the step in progress.
        pictures: real and made, of each micro-batch of the step in progress: what the discriminator will judge.
    """

    def __init__(self, discriminator: nn.Module, weight: float) -> None:
        super().__init__()
        self.discriminator, self.weight = discriminator, weight
        self.plays = False
        self.pictures: deque[tuple[Tensor, Tensor]] = deque()

    def begin_step(self, *, plays: bool) -> None:
        """Forget what an interrupted step left, and say whether the discriminator takes part in this one."""
        self.plays = plays
        self.pictures.clear()

    def loss(
        self, others: Float[Tensor, ""], real: Float[Tensor, "*shape"], made: Float[Tensor, "*shape"], last: Tensor
    ) -> Float[Tensor, ""]:
        """The decoder's hinge loss, weighted against the ``others`` by their gradients at the weight ``last``."""
        self.pictures.append((real, made.detach()))
        self.discriminator.requires_grad_(False)
        adversarial = generator_loss(self.discriminator(made))
        self.discriminator.requires_grad_(True)
        wanted = torch.autograd.grad(others, last, retain_graph=True)[0].norm()
        actual = torch.autograd.grad(adversarial, last, retain_graph=True)[0].norm()
        scale = (wanted / (actual + 1e-4)).clamp(0, 1e4).detach()
        return self.weight * scale * adversarial


class Discrimination(nn.Module):
    """The discriminator's side, on what the decoder has seen and made in this step, in that order."""

    def __init__(self, adversary: Adversary) -> None:
        super().__init__()
        self.discriminator = adversary.discriminator
        self._adversary = (adversary,)  # in a tuple: not a submodule of this one

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        pictures = self._adversary[0].pictures.popleft()
        real, fake = self.discriminator(torch.cat(pictures)).float().chunk(2)
        return discriminator_loss(real, fake), {"d_real": real.mean().item(), "d_fake": fake.mean().item()}
