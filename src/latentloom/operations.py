"""Operations of a call, counted on tensors without values; attention on a CPU included.

``FlopCounterMode`` knows the attention kernels of GPUs only: on a CPU, where fake tensors live, it counts spatial
attention as nothing, two thirds of a decoded frame of 1280x2048. Its own formula is given for that kernel here.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CPU_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(_: Any, query: Any, key: Any, value: Any, *__: Any, **___: Any) -> int:
    """Two products for each one forward; what kernels recompute to save memory is no part of a floor."""
    return 2 * sdpa_flop_count(query, key, value)


def operation_counter() -> FlopCounterMode:
    """A context that counts; ``get_total_flops`` when it is left."""
    formulas = {_CPU_ATTENTION: _attention, _CPU_ATTENTION_BACKWARD: _attention_backward}
    return FlopCounterMode(display=False, custom_mapping=formulas)


def operations_of(call: Callable[[], object]) -> float:
    """Floating-point operations of one call, two for each multiplication with addition."""
    with operation_counter() as counter:
        call()
    return float(counter.get_total_flops())
