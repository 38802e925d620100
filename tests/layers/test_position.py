"""Embeddings of numbers."""

import math

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding

from latentloom.layers.position import NumberEmbedding, sinusoid


def test_the_sinusoid_is_diffusers_with_cosines_first():
    values = torch.tensor([0.0, 1.0, 7.5, 999.0])
    theirs = get_timestep_embedding(values, 32, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(sinusoid(values, 32), theirs, atol=1e-6, rtol=1e-6)


def test_the_slowest_wave_has_the_stated_period():
    assert sinusoid(torch.tensor([1.0]), 4, max_period=100.0)[0, 3].item() == pytest.approx(math.sin(0.1))


def test_a_fresh_embedding_is_neutral_but_learns():
    embedding = NumberEmbedding(8, 16, 4)
    out = embedding(torch.tensor([1.0, 30.0]))
    assert torch.equal(out, torch.zeros(2, 4))
    (out - 1).square().sum().backward()
    assert embedding.linear2.weight.grad.abs().sum() > 0


def test_other_numbers_get_other_embeddings():
    embedding = NumberEmbedding(8, 16, 4)
    torch.nn.init.normal_(embedding.linear2.weight)
    out = embedding(torch.tensor([6.0, 24.0]))
    assert not torch.allclose(out[0], out[1], atol=1e-3)
