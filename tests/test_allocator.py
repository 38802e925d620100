import subprocess
import sys

import pytest

from latentloom.allocator import keep_freed_memory

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


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
