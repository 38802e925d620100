"""The dtype a run computes in, chosen by asking the machine.

bfloat16 is 2-7x faster than float32 on CPUs that multiply it in hardware and up to 300x slower on those that do not
(measured, docs/log.md), so that a run seems to hang. Every command and recipe asks here; weights stay in float32.
"""

import warnings

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def bfloat16_is_fast(device: torch.device | str = "cpu") -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False


def autocast(device: torch.device | str, dtype: torch.dtype) -> torch.autocast:
    """The context of a forward pass in ``dtype`` with weights in float32; in float32 it changes nothing."""
    return torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32)


def preferred_dtype(device: torch.device | str = "cpu", name: str | None = None) -> torch.dtype:
    """The dtype to compute in: bfloat16 where the machine has it, float32 otherwise; or the one asked for by name.

    Args:
        device: where the run computes.
        name: ``"fp32"``, ``"bf16"``, or None to ask the machine. bf16 on a machine without it warns with the reason.

    Raises:
        ValueError: an unknown name.
    """
    if name is None or name == "auto":
        return torch.bfloat16 if bfloat16_is_fast(device) else torch.float32
    if name not in DTYPES:
        raise ValueError(f"dtype {name!r} is not known; expected one of auto, {', '.join(DTYPES)}")
    if name == "bf16" and not bfloat16_is_fast(device):
        warnings.warn(
            f"bf16 was asked for, but {device} has no bfloat16 instructions: expect 10-300x slower than fp32",
            stacklevel=2,
        )
    return DTYPES[name]
