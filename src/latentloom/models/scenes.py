"""A scene as tokens for cross-attention: boxes, light, number of vehicles (spec, section 8).

A box is Fourier features of its corners and a class embedding, and behind these the corners themselves, from which the
layers see which pixels it covers (``layers.scene``). Those layers sit on the image UNet as temporal layers do
(``LayerSet.scene``): the image model stays as it is, and without a scene nothing of this is there. Only the start frame
is made with one (paper, Sec. 4.1).
"""

import math

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float, Int64
from torch import Tensor, nn

from latentloom.layers.position import NUMBER_WIDTH, NumberEmbedding
from latentloom.layers.scene import PLACE
from latentloom.scenes import NUMBERS, UNTOLD, SceneTensors

_SCALES = {"night": 100.0, "vehicles": 10.0}
"""Bring each number to a range that the sinusoid of ``NumberEmbedding`` resolves."""


class SceneEncoder(ModelMixin, ConfigMixin):
    """Scenes to ``b n+k d+5`` tokens, one for each slot and each number; empty and untold have tokens of their own."""

    _skip_layerwise_casting_patterns = ("^numbers",)  # an embedding of numbers has the dtype its weights are stored in

    @register_to_config
    def __init__(self, width: int, num_labels: int, frequencies: int = 8) -> None:
        super().__init__()
        self.labels = nn.Embedding(num_labels + 2, width)  # the last two: an empty slot, boxes that were not told
        self.project = nn.Sequential(nn.Linear(8 * frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.names = nn.Embedding(2 * len(NUMBERS), width)  # each number told, each number not told
        self.numbers = nn.ModuleList(NumberEmbedding(NUMBER_WIDTH, width, width) for _ in NUMBERS)

    @property
    def width(self) -> int:
        """Numbers per token, without those of its place."""
        return self.config["width"]

    def forward(self, scenes: SceneTensors) -> Float[Tensor, "b m d_plus_5"]:
        """The tokens, slots first; at the end of each its place (``layers.scene.PLACE``)."""
        boxed = (scenes.labels >= 0).unsqueeze(-1)
        places = torch.cat([scenes.corners * boxed, boxed], -1)
        slots, numbers = self._slots(scenes.corners, scenes.labels), self._numbers(scenes.numbers)
        nowhere = numbers.new_zeros(*numbers.shape[:2], PLACE)
        return torch.cat([torch.cat([slots, places.to(slots.dtype)], -1), torch.cat([numbers, nowhere], -1)], 1)

    def _slots(self, corners: Float[Tensor, "b n 4"], labels: Int64[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        # float32 whatever the weights are: bfloat16 has no digits for the fast octaves
        octaves = math.pi * 2.0 ** torch.arange(self.config["frequencies"], device=corners.device)
        angles = corners.float().unsqueeze(-1) * octaves
        boxed = labels >= 0
        special = self.config["num_labels"] + (labels == UNTOLD).long()
        known = self.labels(labels.where(boxed, special))
        features = torch.cat([angles.sin(), angles.cos()], -1).flatten(2).to(known.dtype)
        return known + self.project(features) * boxed.unsqueeze(-1)

    def _numbers(self, numbers: Float[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
        told = numbers.isfinite()
        rows = torch.arange(len(NUMBERS), device=numbers.device)
        tokens = self.names(rows + len(NUMBERS) * (~told).long())
        values = [
            embedding(value.where(known, 0.0) * _SCALES[name])
            for name, embedding, value, known in zip(
                NUMBERS, self.numbers, numbers.unbind(1), told.unbind(1), strict=True
            )
        ]
        return tokens + torch.stack(values, 1) * told.unsqueeze(-1)
