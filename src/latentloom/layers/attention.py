"""The temporal transformer: attention along time at each pixel (paper, section 3.1 and Fig. 4).

``x + emb_t``, then residually: feed-forward, self-attention over t, cross-attention to the clip's text, feed-forward,
each behind a LayerNorm. Tokens arrive as ``(b t) n c`` and are worked on in chunks of pixels, because pixels never
meet: buffers stay small and the result is the same. Not here: spatial attention, which belongs to the image model.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentloom.layers.base import Clip
from latentloom.layers.mixing import Mixing
from latentloom.layers.position import NumberEmbedding, sinusoid

# The largest buffer of a chunk (the feed-forward's hidden state) on a CPU; above it caches and page faults cost more.
CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class TemporalTransformerSpec:
    """A temporal transformer; the defaults are the paper's text-to-video layer.

    Attributes:
        feed_forward_in: hidden width over channels of the feed-forward before the attention; 0 leaves it out.
        feed_forward_out: the same after the attention.
        position: hidden width over channels of the frame-position MLP, >= 1.
        text: whether the layer attends to the clip's text where the network has text at all.
        relative: frames are told apart by their distance (rotary) instead of their index: shifted in time the same.
    """

    feed_forward_in: int = 4
    feed_forward_out: int = 4
    position: int = 4
    text: bool = True
    relative: bool = False

    def build(self, channels: int, num_heads: int, context_width: int | None) -> "TemporalTransformer":
        """The layer for tokens of ``channels``; ``context_width`` None where the site has no text."""
        return TemporalTransformer(self, channels, num_heads, context_width)


class FeedForward(nn.Module):
    """GEGLU feed-forward with its LayerNorm, residual: ``x + W_o (W_v y * gelu(W_g y))``, y = LN(x)."""

    def __init__(self, channels: int, multiple: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.proj = nn.Linear(channels, 2 * multiple * channels)
        self.out = zeroed(nn.Linear(multiple * channels, channels))

    def forward(self, x: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        """Any leading shape, each token alone."""
        y = self.norm(x)
        # Two products instead of one of twice the width: no strided halves, and the halves can be overwritten.
        # Read past the module, whose hooks would bring weights stored in float8 to the dtype of the features.
        value_weight, gate_weight = self.proj.weight.to(y.dtype).chunk(2)
        value_bias, gate_bias = self.proj.bias.to(y.dtype).chunk(2)
        gate, value = F.linear(y, gate_weight, gate_bias), F.linear(y, value_weight, value_bias)
        hidden = F.gelu(gate) * value if torch.is_grad_enabled() else value.mul_(torch.ops.aten.gelu_(gate))
        return x + self.out(hidden)


class SelfAttention(nn.Module):
    """Attention over t with its LayerNorm, residual. Any t; frames may be limited in how far they see."""

    def __init__(self, channels: int, num_heads: int, *, relative: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative = relative
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Float[Tensor, "n t c"], distance: int | None = None) -> Float[Tensor, "n t c"]:
        """Each of n pixels attends over its t frames, those at most ``distance`` away; None is all."""
        query, key, value = self.qkv(self.norm(x)).unflatten(-1, (3, self.num_heads, -1)).unbind(2)  # n t heads d
        if self.relative:
            query, key = rotated(query), rotated(key)
        seen = None
        if distance is not None and distance < x.shape[1] - 1:
            frames = torch.arange(x.shape[1], device=x.device)
            seen = (frames[:, None] - frames).abs() <= distance
        return x + self.out(attend(query, key, value, seen).flatten(2))


class CrossAttention(nn.Module):
    """Attention to the text with its LayerNorm, residual; keys and values are computed once per clip."""

    def __init__(self, channels: int, num_heads: int, context_width: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(context_width, 2 * channels, bias=False)
        self.out = zeroed(nn.Linear(channels, channels))

    def keys_values(self, text: Float[Tensor, "b l d"]) -> Float[Tensor, "b l 2 heads e"]:
        """The text's keys and values, one row per token and clip."""
        return self.key_value(text).unflatten(-1, (2, self.num_heads, -1))

    def forward(
        self, x: Float[Tensor, "b n t c"], keys_values: Float[Tensor, "b l 2 heads e"]
    ) -> Float[Tensor, "b n t c"]:
        """All pixels and frames of a clip are one row of queries."""
        query = self.query(self.norm(x)).flatten(1, 2).unflatten(-1, (self.num_heads, -1))  # b (n t) heads e
        key, value = keys_values.unbind(2)
        return x + self.out(attend(query, key, value).flatten(2)).view_as(x)


class TemporalTransformer(nn.Module):
    """The whole layer, with position embedding and mix."""

    def __init__(self, spec: TemporalTransformerSpec, channels: int, num_heads: int, context_width: int | None) -> None:
        super().__init__()
        self.position = None if spec.relative else NumberEmbedding(channels, spec.position * channels, channels)
        self.feed_forward_in = FeedForward(channels, spec.feed_forward_in) if spec.feed_forward_in else None
        self.self_attention = SelfAttention(channels, num_heads, relative=spec.relative)
        self.cross_attention = None
        if spec.text and context_width is not None:
            self.cross_attention = CrossAttention(channels, num_heads, context_width)
        self.feed_forward_out = FeedForward(channels, spec.feed_forward_out) if spec.feed_forward_out else None
        self.mixing = Mixing()
        self.token_width = max(2 * spec.feed_forward_in, 2 * spec.feed_forward_out, 4) * channels

    def forward(
        self,
        z: Float[Tensor, "bt n c"],
        clip: Clip,
        time_embedding: Float[Tensor, "bt d"] | None = None,
    ) -> Float[Tensor, "bt n c"]:
        """Align the tokens of each clip's frames.

        Args:
            z: the spatial transformer block's output, n pixels a frame.
            clip: frames per clip, text, mixing. ``text`` is needed where the layer attends to text.
            time_embedding: not used; diffusion time reaches these features through the res blocks.
        """
        pixels = z.unflatten(0, (-1, clip.num_frames)).transpose(1, 2)  # b n t c, a view
        positions = self._positions(pixels)
        text = self._keys_values(clip)
        # under autocast weights and features differ in dtype
        share = self.mixing.temporal_share(clip).to(z.dtype)
        size = self._chunk_size(pixels)
        chunks = [
            torch.lerp(chunk, self._align(chunk, place, text, clip.distance).to(z.dtype), share).transpose(1, 2)
            for chunk, place in zip(pixels.split(size, dim=1), positions.split(size), strict=True)
        ]  # b t n c
        return (chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=2)).reshape(z.shape)

    def _positions(self, pixels: Float[Tensor, "b n t c"]) -> Float[Tensor, "n t c"]:
        """What is added to the tokens: where they lie in time."""
        _, num_pixels, num_frames, channels = pixels.shape
        positions = pixels.new_zeros(num_frames, channels)
        if self.position is not None:
            positions = self.position(torch.arange(num_frames, device=pixels.device, dtype=torch.float32))
        return positions.expand(num_pixels, -1, -1)

    def _align(self, pixels: Tensor, positions: Tensor, keys_values: Tensor | None, distance: int | None) -> Tensor:
        x = (pixels.contiguous() + positions).flatten(0, 1)  # (b n) t c
        if self.feed_forward_in is not None:
            x = self.feed_forward_in(x)
        x = self.self_attention(x, distance)
        if self.cross_attention is not None:
            assert keys_values is not None
            x = self.cross_attention(x.view(pixels.shape), keys_values).flatten(0, 1)
        if self.feed_forward_out is not None:
            x = self.feed_forward_out(x)
        return x.view(pixels.shape)

    def _keys_values(self, clip: Clip) -> Tensor | None:
        if self.cross_attention is None:
            return None
        if clip.text is None:
            raise ValueError("temporal layers attend to text: expected encoder_hidden_states of b n d, given None")
        return self.cross_attention.keys_values(clip.text)

    def _chunk_size(self, pixels: Tensor) -> int:
        """Pixels a chunk. GPUs take the whole: their caches do not decide here."""
        batch, num_pixels, num_frames, _ = pixels.shape
        if pixels.device.type != "cpu":
            return num_pixels
        return max(1, min(num_pixels, CHUNK_BYTES // (batch * num_frames * self.token_width * pixels.element_size())))


def attend(
    query: Float[Tensor, "n q heads d"],
    key: Float[Tensor, "n k heads d"],
    value: Float[Tensor, "n k heads d"],
    seen: Bool[Tensor, "q k"] | None = None,
) -> Float[Tensor, "n q heads d"]:
    """``softmax(q k^T / sqrt(d)) v`` per head; ``seen`` says which keys a query may attend to, None is all.

    Strided SDPA where nothing is differentiated; einsum where a CPU must differentiate, because there the backward of
    SDPA at small t is several times slower than the products themselves (benchmarks/results).
    """
    if torch.is_grad_enabled() and query.device.type == "cpu":
        scores = torch.einsum("nqhd,nkhd->nhqk", query, key) * query.shape[-1] ** -0.5
        scores = scores if seen is None else scores.masked_fill(~seen, -torch.inf)
        return torch.einsum("nhqk,nkhd->nqhd", scores.softmax(-1), value)
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)


def rotated(x: Float[Tensor, "n t heads d"]) -> Float[Tensor, "n t heads d"]:
    """Rotary embedding of the frame index: products of two rotated vectors depend on their distance alone."""
    index = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
    cos, sin = (part.to(x.dtype)[:, None] for part in sinusoid(index, x.shape[-1], max_period=1000.0).chunk(2, -1))
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


def zeroed(linear: nn.Linear) -> nn.Linear:
    """The same map, now to zero: what ends in it changes nothing at start."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
