import subprocess
import sys

import pytest

from latentloom.allocator import give_back_freed_memory, keep_freed_memory

FAULTS = """
import resource, torch
from latentloom.allocator import keep_freed_memory
KEEP = {keep}
if KEEP:
    assert keep_freed_memory()
def faults(held=[]):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        held += [torch.ones(2 * 2**20) for _ in range(20)]  # of 8 MB, held together, then all of them freed
        held.clear()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told")
def test_buffers_of_the_step_before_cost_no_page_faults():
    def faults(keep: bool) -> int:
        code = FAULTS.format(keep=keep)
        return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)

    assert max(faults(keep=True) for _ in range(2)) < 100
    # a small block at the end of the heap keeps the rest of it alive by chance: one of several runs shows the cost
    assert any(faults(keep=False) > 100 for _ in range(6))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told")
def test_what_is_kept_can_be_given_back():
    code = """
import torch
from latentloom.allocator import give_back_freed_memory, keep_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
keep_freed_memory()
held = [torch.ones(2 * 2**20) for _ in range(30)]  # 240 MB in blocks of the heap
held.clear()
kept = resident()
give_back_freed_memory()
print(kept - resident())
"""
    given_back = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert given_back > 200e6


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
    give_back_freed_memory()
