import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from latentloom.operations import operations_of


def test_operations_of_attention_are_counted_without_values():
    with FakeTensorMode():
        tokens = torch.zeros(2, 3, 40, 16, requires_grad=True)
        forward = operations_of(lambda: F.scaled_dot_product_attention(tokens, tokens, tokens))
        both = operations_of(lambda: F.scaled_dot_product_attention(tokens, tokens, tokens).sum().backward())
    assert (forward, both) == (2 * 3 * 4 * 40**2 * 16, 3 * 2 * 3 * 4 * 40**2 * 16)


def test_products_count_two_for_each_multiplication_with_addition():
    assert operations_of(lambda: torch.zeros(3, 5) @ torch.zeros(5, 7)) == 2 * 3 * 5 * 7
