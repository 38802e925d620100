import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from latentloom.operations import LiveBytes, operations_and_memory, operations_of


def test_operations_of_attention_are_counted_without_values():
    with FakeTensorMode():
        tokens = torch.zeros(2, 3, 40, 16, requires_grad=True)
        forward = operations_of(lambda: F.scaled_dot_product_attention(tokens, tokens, tokens))
        both = operations_of(lambda: F.scaled_dot_product_attention(tokens, tokens, tokens).sum().backward())
    assert (forward, both) == (2 * 3 * 4 * 40**2 * 16, 3 * 2 * 3 * 4 * 40**2 * 16)


def test_products_count_two_for_each_multiplication_with_addition():
    assert operations_of(lambda: torch.zeros(3, 5) @ torch.zeros(5, 7)) == 2 * 3 * 5 * 7


def test_live_bytes_are_those_of_tensors_alive_at_once():
    with LiveBytes() as live:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b * 2
        view = c[:10]
    assert (live.now, live.most) == (8000, 8000)
    del b, c
    assert live.now == 4000, "a view keeps its storage"
    del view
    assert live.now == 0


def test_counting_operations_does_not_change_what_is_alive():
    def enlarged():
        return torch.nn.functional.interpolate(torch.zeros(1, 4, 8, 8), scale_factor=2, mode="nearest")

    with LiveBytes() as alone:
        enlarged()
    assert operations_and_memory(enlarged)[1] == alone.most == 4 * 4 * (8 * 8 + 16 * 16)
