"""Boxes as tokens for cross-attention: Fourier features of the corners and a class embedding (spec, section 8).

Layers that attend to them sit on the image UNet as temporal layers do (``LayerSet.boxes``): the image model stays as it
is, and without boxes nothing of this is there. Only the start frame is made with boxes (paper, Sec. 4.1).
"""

import math

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float, Int64
from torch import Tensor, nn


class BoxEncoder(ModelMixin, ConfigMixin):
    """``b n`` slots to ``b n d`` tokens; an empty slot is a learned token of its own."""

    @register_to_config
    def __init__(self, width: int, num_labels: int, frequencies: int = 8) -> None:
        super().__init__()
        self.labels = nn.Embedding(num_labels + 1, width)  # the last one is the empty slot
        self.project = nn.Sequential(nn.Linear(8 * frequencies, width), nn.SiLU(), nn.Linear(width, width))

    @property
    def width(self) -> int:
        """Numbers per token."""
        return self.config["width"]

    def forward(self, corners: Float[Tensor, "b n 4"], labels: Int64[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """Tokens of boxes given by corners in fractions and labels, -1 for empty slots."""
        # float32 whatever the weights are: bfloat16 has no digits for the fast octaves
        octaves = math.pi * 2.0 ** torch.arange(self.config["frequencies"], device=corners.device)
        angles = corners.float().unsqueeze(-1) * octaves
        features = torch.cat([angles.sin(), angles.cos()], -1).flatten(2).to(self.labels.weight.dtype)
        empty = labels < 0
        known = self.labels(labels.where(~empty, self.labels.num_embeddings - 1))
        return known + self.project(features) * (~empty).unsqueeze(-1)
