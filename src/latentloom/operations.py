"""Operations and memory of a call, counted, on tensors without values too; attention on a CPU included.

``FlopCounterMode`` knows the attention kernels of GPUs only: on a CPU, where fake tensors live, it counts spatial
attention as nothing, two thirds of a decoded frame of 1280x2048. Its own formula is given for that kernel here.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
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


class LiveBytes(TorchDispatchMode):
    """The most bytes of tensors that were alive at once within the block; those made before it do not count.

    Args:
        taken: the bytes that a buffer of so many takes on the CPU.
    """

    def __init__(self, taken: Callable[[int], int] = int) -> None:
        super().__init__()
        self.taken = taken
        self.now = self.most = 0
        self.known = dict[int, weakref.finalize]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and not func.is_view:  # a view of a weight is no new tensor
                storage = leaf.untyped_storage()
                if storage._cdata not in self.known:
                    size = self.taken(storage.nbytes()) if leaf.device.type == "cpu" else storage.nbytes()
                    self.now += size
                    self.most = max(self.most, self.now)
                    gone = weakref.finalize(storage, self._gone, storage._cdata, size)
                    self.known[storage._cdata] = gone
        return result

    def _gone(self, storage: int, size: int) -> None:
        del self.known[storage]
        self.now -= size


def operations_and_memory(call: Callable[[], object], taken: Callable[[int], int] = int) -> tuple[float, int]:
    """Floating-point operations of a call, and its ``LiveBytes``."""
    # the counter takes operators apart, which then hold more than they really do: bytes are counted before it
    with operation_counter() as counter, LiveBytes(taken) as live:
        call()
    return float(counter.get_total_flops()), live.most
