"""Freed memory stays with the process: each step asks for the buffers of the one before (CPU, glibc).

By default glibc hands every large buffer back to the kernel, which clears it anew page by page: a fifth of the time of
a training step on two cores (docs/log.md). The price is that memory once used is not given back before the end.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)
HEAP_BLOCK = 32 * 2**20  # bytes; larger buffers are mapped one by one (the largest threshold that glibc takes)
_NEVER = 2**31 - 1
_GROW_BY = 256 * 2**20


def keep_freed_memory() -> bool:
    """Tell the C library; False where it is another one, and nothing changes."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_THRESHOLD, HEAP_BLOCK), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _GROW_BY))
    return all(mallopt(name, value) for name, value in settings)


def give_back_freed_memory() -> None:
    """Return to the kernel what is kept now: the process holds no more than it uses, until it frees again."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
