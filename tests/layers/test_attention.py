"""The temporal transformer: against a plain form, in chunks, with and without gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import latentloom.layers.attention as attention
from latentloom.layers.attention import TemporalTransformer, TemporalTransformerSpec, attend
from latentloom.layers.base import Clip

CHANNELS, HEADS, CONTEXT = 16, 4, 12


def awake_transformer(spec: TemporalTransformerSpec | None = None) -> TemporalTransformer:
    torch.manual_seed(0)
    layer = (spec or TemporalTransformerSpec()).build(CHANNELS, HEADS, CONTEXT).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return layer


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Loop over heads, ``q d``, ``k d``, ``k d`` with heads side by side in d."""
    heads = zip(*(x.chunk(HEADS, -1) for x in (query, key, value)), strict=True)
    return torch.cat([(q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v for q, k, v in heads], -1)


def plain_transformer(layer: TemporalTransformer, tokens: Tensor, text: Tensor) -> Tensor:
    """One pixel of one clip at a time: tokens ``t c``, text ``l d``; the docstring's recipe line by line."""
    self_attention, cross_attention = layer.self_attention, layer.cross_attention

    def feed_forward(module: nn.Module, x: Tensor) -> Tensor:
        value, gate = module.proj(module.norm(x)).chunk(2, -1)
        return x + module.out(value * F.gelu(gate))

    x = tokens + layer.position(torch.arange(len(tokens)).float())
    x = feed_forward(layer.feed_forward_in, x)
    x = x + self_attention.out(plain_attention(*self_attention.qkv(self_attention.norm(x)).chunk(3, -1)))
    query = cross_attention.query(cross_attention.norm(x))
    x = x + cross_attention.out(plain_attention(query, *cross_attention.key_value(text).chunk(2, -1)))
    x = feed_forward(layer.feed_forward_out, x)
    alpha = layer.mixing.alpha
    return alpha * tokens + (1 - alpha) * x


@pytest.mark.parametrize("gradients", [False, True])
def test_the_transformer_equals_a_plain_form_pixel_by_pixel(gradients):
    layer = awake_transformer()
    z, text = torch.randn(2, 3, 5, CHANNELS), torch.randn(2, 7, CONTEXT)  # b t n c
    with torch.set_grad_enabled(gradients):
        out = layer(z.flatten(0, 1), Clip(num_frames=3, text=text)).view_as(z)
    for b in range(2):
        for n in range(5):
            expected = plain_transformer(layer, z[b, :, n], text[b])
            torch.testing.assert_close(out[b, :, n], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("gradients", [False, True])
def test_chunks_of_pixels_give_the_whole(gradients, monkeypatch):
    layer, z = awake_transformer(), torch.randn(6, 10, CHANNELS)
    clip = Clip(num_frames=3, text=torch.randn(2, 7, CONTEXT))
    with torch.set_grad_enabled(gradients):
        whole = layer(z, clip)
        monkeypatch.setattr(attention, "CHUNK_BYTES", 1)  # one pixel a chunk
        torch.testing.assert_close(layer(z, clip), whole, atol=1e-6, rtol=1e-5)


def test_attention_with_and_without_gradients_agrees():
    query, key, value = torch.randn(3, 5, 2, 8), torch.randn(3, 4, 2, 8), torch.randn(3, 4, 2, 8)
    with torch.no_grad():
        fast = attend(query, key, value)
    torch.testing.assert_close(attend(query, key, value), fast)


def test_a_fresh_transformer_changes_nothing_and_has_gradients():
    layer = TemporalTransformerSpec().build(CHANNELS, HEADS, CONTEXT)
    z = torch.randn(4, 6, CHANNELS)
    out = layer(z, Clip(num_frames=4, text=torch.randn(1, 7, CONTEXT)))
    assert torch.equal(out, z)
    out.square().sum().backward()
    ends = [layer.position.linear2, layer.feed_forward_in.out, layer.self_attention.out, layer.cross_attention.out]
    assert all(end.weight.grad.abs().sum() > 0 for end in [*ends, layer.feed_forward_out.out])


def test_parts_are_left_out_where_the_spec_or_the_site_has_none():
    small = TemporalTransformerSpec(feed_forward_in=0, feed_forward_out=0, text=False).build(CHANNELS, HEADS, CONTEXT)
    assert small.feed_forward_in is None
    assert small.feed_forward_out is None
    assert small.cross_attention is None
    assert TemporalTransformerSpec().build(CHANNELS, HEADS, None).cross_attention is None
    assert small(torch.randn(4, 6, CHANNELS), Clip(num_frames=2)).shape == (4, 6, CHANNELS)


def test_text_layers_without_text_say_what_they_need():
    with pytest.raises(ValueError, match="expected encoder_hidden_states"):
        awake_transformer()(torch.randn(4, 6, CHANNELS), Clip(num_frames=4))


@pytest.mark.parametrize("gradients", [False, True])
def test_frames_further_apart_than_the_distance_do_not_meet(gradients):
    layer = awake_transformer(TemporalTransformerSpec(text=False))
    z = torch.randn(7, 2, CHANNELS)
    with torch.set_grad_enabled(gradients):
        limited = layer(z, Clip(num_frames=7, distance=2))
        assert torch.equal(layer(z, Clip(num_frames=7, distance=6)), layer(z, Clip(num_frames=7)))
        assert not torch.allclose(limited, layer(z, Clip(num_frames=7)), atol=1e-4)
        for changed in range(7):
            other = z.clone()
            other[changed] = torch.randn(2, CHANNELS)  # a constant would fall to the LayerNorm
            moved = (layer(other, Clip(num_frames=7, distance=2)) - limited).flatten(1).abs().amax(1) > 1e-6
            assert moved.tolist() == [abs(frame - changed) <= 2 for frame in range(7)]


def test_relative_frames_know_their_distance_and_not_their_index():
    layer = awake_transformer(TemporalTransformerSpec(text=False, relative=True))
    assert layer.position is None
    z = torch.randn(9, 2, CHANNELS)
    clip = Clip(num_frames=9, distance=1)
    shifted = layer(z.roll(2, 0), clip)
    torch.testing.assert_close(shifted[3:8], layer(z, clip)[1:6], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(layer(z.flip(0), clip).flip(0), layer(z, clip), atol=1e-3), "before is not after"
    vectors = torch.randn(1, 1, HEADS, 8).expand(1, 6, HEADS, 8)
    products = torch.einsum("nqhd,nkhd->nhqk", attention.rotated(vectors), attention.rotated(vectors))
    for distance in range(6):
        diagonal = products.diagonal(distance, -2, -1)
        torch.testing.assert_close(diagonal, diagonal[..., :1].expand_as(diagonal), atol=1e-5, rtol=1e-5)


def test_frame_order_matters_through_the_position_embedding_alone():
    layer = awake_transformer(TemporalTransformerSpec(text=False))
    z, order = torch.randn(4, 6, CHANNELS), torch.tensor([2, 0, 3, 1])
    clip = Clip(num_frames=4)
    assert not torch.allclose(layer(z[order], clip), layer(z, clip)[order], atol=1e-3)
    nn.init.zeros_(layer.position.linear2.weight)
    nn.init.zeros_(layer.position.linear2.bias)
    torch.testing.assert_close(layer(z[order], clip), layer(z, clip)[order], atol=1e-5, rtol=1e-4)
