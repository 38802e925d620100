"""Attention to a scene: every pixel looks at its boxes, and is shown where it lies in each (spec, section 8).

A token is what a thing is, and in its last five numbers where: corners x0, y0, x1, y1 in fractions of the picture and a
1, or five zeros for what has no place (light, traffic). From corner numbers alone attention learns only slowly which
pixels a box covers; so each pair of pixel and box gets a few plain features of its geometry, which move the attention
and are read out with it. Tokens change nothing at start. Not here: scenes as tokens (``models.scenes``).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentloom.layers.attention import zeroed
from latentloom.layers.base import Clip
from latentloom.layers.mixing import Mixing

PLACE = 5
"""Numbers at the end of a token that say where: four corners, and 1 where there is a place at all."""
_FEATURES = 7


@dataclass(frozen=True, kw_only=True)
class SceneAttentionSpec:
    """Attention to the tokens of a scene.

    Attributes:
        width: of the tokens, without the ``PLACE`` numbers at their end.
        geometry: width of the features of a pair of pixel and box.
        num_heads: of the attention; must divide the channels of every site.
    """

    width: int = 128
    geometry: int = 32
    num_heads: int = 4

    def build(self, channels: int, num_groups: int) -> "SceneAttention":
        """The layer for feature maps of ``channels``."""
        return SceneAttention(self, channels, num_groups)


class SceneAttention(nn.Module):
    """Behind a spatial ResBlock: GroupNorm, attention of pixels to tokens, two linear maps, mixed into the features."""

    def __init__(self, spec: SceneAttentionSpec, channels: int, num_groups: int) -> None:
        super().__init__()
        self.num_heads, self.width = spec.num_heads, spec.width
        self.norm = nn.GroupNorm(num_groups, channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(spec.width, 2 * channels, bias=False)
        self.geometry = nn.Sequential(
            nn.Linear(_FEATURES, spec.geometry), nn.SiLU(), nn.Linear(spec.geometry, spec.geometry)
        )
        self.preference = nn.Linear(spec.geometry, spec.num_heads)
        self.hidden = nn.Linear(channels + spec.num_heads * spec.geometry, channels)
        self.out = zeroed(nn.Linear(channels, channels))
        self.mixing = Mixing()

    def forward(
        self,
        z: Float[Tensor, "bt c h w"],
        clip: Clip,
        time_embedding: Float[Tensor, "bt d"] | None = None,
    ) -> Float[Tensor, "bt c h w"]:
        """Bring the scene of each clip into its frames.

        Args:
            z: the spatial block's output.
            clip: mixing, and in ``text`` the tokens, ``b m width + PLACE``.
            time_embedding: not used; diffusion time is in the features.

        Raises:
            ValueError: no tokens, or tokens of another width.
        """
        if clip.text is None or clip.text.shape[-1] != self.width + PLACE:
            given = None if clip.text is None else clip.text.shape[-1]
            raise ValueError(f"these layers attend to scenes: expected tokens of {self.width + PLACE}, given {given}")
        tokens = clip.per_frame(clip.text)
        pairs = geometry(tokens[..., -PLACE:], z.shape[2], z.shape[3]).to(z.dtype)
        pairs = self.geometry(pairs)  # bt n m f
        x = self.norm(z).flatten(2).transpose(1, 2)  # bt n c
        query = self.query(x).unflatten(-1, (self.num_heads, -1))
        key, value = self.key_value(tokens[..., : self.width]).unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        scores = torch.einsum("bnhd,bmhd->bhnm", query, key) * query.shape[-1] ** -0.5
        weights = (scores + self.preference(pairs).movedim(-1, 1)).softmax(-1)
        things = torch.einsum("bhnm,bmhd->bnhd", weights, value).flatten(2)
        places = torch.einsum("bhnm,bnmf->bnhf", weights, pairs).flatten(2)
        change = self.out(F.silu(self.hidden(torch.cat([things, places], -1))))
        change = change.transpose(1, 2).unflatten(2, z.shape[2:])
        return z + (self.mixing.temporal_share(clip)[..., None, None] * change).to(z.dtype)


def geometry(places: Float[Tensor, "b m 5"], rows: int, columns: int) -> Float[Tensor, "b n m 7"]:
    """How each cell of a grid over the picture lies to each box: float32, zeros for what has no place.

    The share of the cell that the box covers; the cell's centre in the box (-1 to 1 from side to side, cut at 2); its
    distances to the four sides in cells (cut at 2), so that sides between two cells are seen.
    """
    corners, known = places[..., :4].float(), places[..., 4:].float()
    sides = [_along(corners[..., axis::2], count) for axis, count in ((1, rows), (0, columns))]  # b m n' 4
    down = sides[0][:, :, :, None].expand(-1, -1, -1, columns, -1)
    across = sides[1][:, :, None].expand(-1, -1, rows, -1, -1)
    covered = down[..., :1] * across[..., :1]
    features = torch.cat([covered, down[..., 1:], across[..., 1:]], -1).flatten(2, 3)  # b m n 7
    return (features * known[:, :, None]).transpose(1, 2)


def _along(sides: Float[Tensor, "b m 2"], count: int) -> Float[Tensor, "b m n 4"]:
    """Along one axis of ``count`` cells: share covered, place in the box, distances to both sides in cells."""
    low, high = sides[..., None].unbind(2)  # b m 1
    edges = torch.arange(count + 1, device=sides.device) / count
    first, last = edges[:-1], edges[1:]
    centre = (first + last) / 2
    covered = count * (torch.minimum(last, high) - torch.maximum(first, low)).clamp(min=0)
    within = (2 * centre - low - high) / (high - low).clamp(min=1e-4)
    distances = [(centre - side) * count for side in (low, high)]
    return torch.stack([covered, *(x.clamp(-2, 2) for x in (within, *distances))], -1)
