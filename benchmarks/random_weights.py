"""Networks of full size with random weights in seconds instead of minutes.

Initialising 1.5 billion parameters costs more than measuring them. Here a network is built without values, and each
tensor is then filled from one block of normal numbers, again and again: finite, of the scale that keeps activations
near one, as good as any other for time and memory. Of no use for anything a network should answer.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

BLOCK = 1_000_003  # prime: no two rows of a weight repeat each other
Network = TypeVar("Network", bound=nn.Module)


def with_random_weights(build: Callable[[], Network], device: torch.device | str, dtype: torch.dtype) -> Network:
    """What ``build`` makes, frozen, on ``device`` in ``dtype``."""
    with torch.device("meta"):
        network = build()
    assert not list(network.buffers()), "buffers hold values that a network built without values has lost"
    block = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            values = _values(parameter.shape, name, block)
            setattr(module, name, nn.Parameter(values, requires_grad=False))
    return network.eval()


def _values(shape: torch.Size, name: str, block: Tensor) -> Tensor:
    """Normal numbers of variance ``1 / inputs``; of vectors, scales are one, and biases and alpha logits zero."""
    if len(shape) < 2:
        return torch.full(shape, float(name == "weight"), dtype=block.dtype, device=block.device)
    values = block.new_empty(shape.numel())
    scaled = block * shape[1:].numel() ** -0.5
    whole = len(values) // BLOCK * BLOCK
    values[:whole].view(-1, BLOCK).copy_(scaled)
    values[whole:].copy_(scaled[: len(values) - whole])
    return values.view(shape)
