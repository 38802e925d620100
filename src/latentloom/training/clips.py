"""Training clips as items: windows of cached latents with captions and numbers, and captions encoded once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from latentloom.data.clips import Window, clip_windows
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.models.image_ldm import ImageLDM
from latentloom.models.text import encode_text
from latentloom.training.order import Draw

EGO = ("steering", "speed")
"""Labels of a dataset that are told per frame: -1 full left to 1 full right, and metres a second."""


class LatentClips:
    """Windows of cached latents at one or several rates.

    An item holds ``latents`` (``t c h w``), ``caption``, ``id`` and ``numbers``: ``fps`` and, with ``labels_rate``,
    ``rate`` (the index of the window's) of the clip, ``steering`` and ``speed`` of each frame (``t``), NaN where
    the dataset does not know them. Captions and ego numbers are dropped at random. Of several rates a window serves
    the one nearest to its own: footage of 7 frames a second is no example of 26.

    Raises:
        ValueError: a rate that no clip of the split serves.
    """

    def __init__(
        self,
        dataset: Dataset,
        cache: LatentCache,
        *,
        num_frames: int,
        rates: Sequence[float],
        caption_dropout: float,
        number_dropout: float,
        labels_rate: bool = False,
        split: str = "train",
    ) -> None:
        self.dataset, self.cache, self.labels_rate = dataset, cache, labels_rate
        self.caption_dropout, self.number_dropout = caption_dropout, number_dropout
        self.places = list[tuple[Window, int]]()
        for rate, fps in enumerate(rates):
            windows = clip_windows(dataset, num_frames, fps, split=split)
            serving = [window for window in windows if _nearest(rates, window.fps) == fps]
            if not serving:
                raise ValueError(
                    f"no clip of split {split!r} in {dataset.root} is nearest to {fps:g} fps; add faster ones"
                )
            self.places += [(window, rate) for window in serving]

    @property
    def windows(self) -> list[Window]:
        """The windows of all rates, in the order of the items."""
        return [window for window, _ in self.places]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        window, rate = self.places[draw.item]
        record = self.dataset.records[window.record]
        chance = torch.rand(1 + len(EGO), generator=torch.Generator().manual_seed(draw.seed)).tolist()
        numbers = {"fps": torch.tensor(window.fps, dtype=torch.float32)}
        if self.labels_rate:
            numbers["rate"] = torch.tensor(float(rate))
        for name, luck in zip(EGO, chance[1:], strict=True):
            values = record.labels.get(name) if luck >= self.number_dropout else None
            known = [torch.nan] * window.num_frames if values is None else [values[i] for i in window.indices]
            numbers[name] = torch.tensor(known, dtype=torch.float32)
        return {
            "latents": self.cache.latents(record, window.indices),
            "caption": "" if chance[0] < self.caption_dropout else window.caption,
            "numbers": numbers,
            "id": f"{record.id}:{window.first}",
        }


def _nearest(rates: Sequence[float], fps: float) -> float:
    """The rate nearest in ratio."""
    return min(rates, key=lambda rate: max(rate / fps, fps / rate))


class TextTable:
    """Captions encoded once, each by itself: the bits do not depend on which others came before a kill."""

    def __init__(self, model: ImageLDM):
        self.model = model
        self.known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> Tensor:
        """Text states ``b n d``, one row per caption."""
        for caption in captions:
            if caption not in self.known:
                self.known[caption] = encode_text(self.model.tokenizer, self.model.text_encoder, [caption])[0]
        return torch.stack([self.known[caption] for caption in captions])
