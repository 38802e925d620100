"""Attention of a decoder's middle block to positions nearby only, for frames much larger than those of its training.

The middle of an autoencoder attends from every position to every other one, which grows with the square of the frame:
two thirds of the operations at 1280x2048 (f = 4, 163,840 positions). The weights were trained on frames of a few
thousand positions. ``attending_nearby`` cuts queries into tiles that see what lies within ``reach`` of them; with a
reach of the whole frame the result is the stock one. What it changes is measured in docs/log.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from torch import Tensor, nn

TILE = 64  # positions along each side of a tile of queries


class NearbyAttention:
    """A processor for self-attention over a picture, ``b c h w``: a tile of queries sees ``reach`` beyond itself."""

    def __init__(self, reach: int, tile: int = TILE) -> None:
        """Both in positions of the picture, at least 1.

        Raises:
            ValueError: below that.
        """
        if reach < 1 or tile < 1:
            raise ValueError(f"a reach of {reach} and tiles of {tile} positions: expected at least 1 of each")
        self.reach, self.tile = reach, tile

    def __call__(
        self, attn: Attention, hidden_states: Float[Tensor, "b c h w"], *_: Any, temb: Tensor | None = None, **__: Any
    ) -> Float[Tensor, "b c h w"]:
        """As diffusers calls processors. Not for cross-attention: anything else it may pass is None there."""
        batch, channels, height, width = hidden_states.shape
        tokens = hidden_states.flatten(2)
        if attn.group_norm is not None:
            tokens = attn.group_norm(tokens)
        tokens = tokens.transpose(1, 2)
        projections = cast(tuple[nn.Module, ...], (attn.to_q, attn.to_k, attn.to_v))
        query, key, value = (project(tokens).view(batch, height, width, attn.heads, -1) for project in projections)
        seen = self._attended(query, key, value).reshape(batch, height * width, -1)
        for layer in cast(nn.ModuleList, attn.to_out):
            seen = layer(seen)
        out = seen.transpose(1, 2).reshape(batch, channels, height, width)
        if attn.residual_connection:
            out = out + hidden_states
        return out / attn.rescale_output_factor

    def _attended(self, query: Tensor, key: Tensor, value: Tensor) -> Float[Tensor, "b h w heads d"]:
        result = torch.empty_like(query)
        height, width = query.shape[1:3]
        for top in range(0, height, self.tile):
            for left in range(0, width, self.tile):
                bottom, right = min(top + self.tile, height), min(left + self.tile, width)
                rows = slice(max(0, top - self.reach), bottom + self.reach)
                columns = slice(max(0, left - self.reach), right + self.reach)
                tile = query[:, top:bottom, left:right]
                keys, values = (part[:, rows, columns].flatten(1, 2).transpose(1, 2) for part in (key, value))
                made = F.scaled_dot_product_attention(tile.flatten(1, 2).transpose(1, 2), keys, values)
                result[:, top:bottom, left:right] = made.transpose(1, 2).unflatten(1, tile.shape[1:3])
        return result


@contextmanager
def attending_nearby(vae: AutoencoderKL, reach: int | None) -> Iterator[None]:
    """Within the block the decoder's middle sees ``reach`` latent positions around a tile; None leaves it as it is.

    Raises:
        ValueError: ``reach`` is below 1.
    """
    if reach is None:
        yield
        return
    before, nearby = vae.attn_processors, NearbyAttention(reach)
    setter = cast(Any, vae).set_attn_processor  # diffusers lists its own processors, one by one
    setter({name: nearby if name.startswith("decoder.") else x for name, x in before.items()})
    try:
        yield
    finally:
        setter(dict(before))
