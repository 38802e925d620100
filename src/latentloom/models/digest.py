"""One checksum of a network's values: what a run began with, whose latents a cache holds."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and float32 values, in the order of the names; the dtype they came in does not count."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tuple(tensor.shape)} ".encode())
        total.update(tensor.detach().to("cpu", torch.float32).numpy().tobytes())
    return total.hexdigest()


def digest_of_network(network: nn.Module) -> str:
    """`digest_of_tensors` of a whole state dict."""
    return digest_of_tensors(network.state_dict())
