"""Between the steps of a call: diffusers' callbacks, interruption, and the strength of LoRA layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from diffusers.utils.peft_utils import scale_lora_layers, unscale_lora_layers
from torch import Tensor, nn

PipelineCallback = Callable[[Any, int, Tensor, dict[str, Tensor]], dict[str, Tensor] | None]
"""diffusers' ``callback_on_step_end(pipe, step, timestep, {"latents": ...})``; may return ``{"latents": ...}``."""


class Interrupted(Exception):
    """Carries the latents out of a walk that a callback ends."""

    def __init__(self, latents: Tensor) -> None:
        super().__init__("a callback set _interrupt")
        self.latents = latents


def told_tensors(callback: PipelineCallback | None, names: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """The tensors that a callback is given: ``names``, or what one of diffusers' own says it needs.

    Raises:
        ValueError: a name that is not among ``known``.
    """
    names = getattr(callback, "tensor_inputs", names)
    if unknown := sorted(set(names) - set(known)):
        listed = ", ".join(known)
        raise ValueError(f"callback_on_step_end_tensor_inputs names {unknown[0]!r}, expected some of: {listed}")
    return names


@contextmanager
def lora_scaled(scale: float, *networks: nn.Module) -> Iterator[None]:
    """Within the block the LoRA layers of ``networks`` do ``scale`` of what they do."""
    scaled = () if scale == 1.0 else networks
    for network in scaled:
        scale_lora_layers(network, scale)
    try:
        yield
    finally:
        for network in scaled:
            unscale_lora_layers(network, scale)


def lora_scale(options: Mapping[str, float] | None) -> float:
    """What ``cross_attention_kwargs`` says of LoRA layers. Raises ``ValueError`` where it says anything else."""
    if unknown := sorted(set(options or {}) - {"scale"}):
        raise ValueError(f"cross_attention_kwargs has {unknown[0]!r}, expected nothing but 'scale'")
    return (options or {}).get("scale", 1.0)
