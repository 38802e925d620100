"""Networks that take turns on one device: those at work lie on it, the others in the computer's memory."""

from collections.abc import Iterable

import torch
from torch import nn


def bring(networks: Iterable[nn.Module], others: Iterable[nn.Module], device: torch.device) -> None:
    """Move ``networks`` to ``device`` and, first, those of ``others`` that are no part of them off it."""
    networks = list(networks)
    wanted = {id(part) for network in networks for part in network.modules()}
    for other in others:
        if id(other) not in wanted:
            other.to("cpu")
    for network in networks:
        network.to(device)


def num_bytes(networks: Iterable[nn.Module]) -> int:
    """Of their tensors, each counted once."""
    tensors = {id(tensor): tensor for network in networks for tensor in (*network.parameters(), *network.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())
