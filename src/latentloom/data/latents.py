"""Latents of every frame, encoded once and kept beside the frames.

The encoder is frozen, so a frame's latent never changes: caching takes the encoder out of every training step
(1.3x, quality notes). The folder is named by a key of the encoder's weights; another encoder gets another folder.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from latentloom.data.manifest import ClipRecord, Dataset, read_rows, save_whole

Encode = Callable[[UInt8[Tensor, "t h w 3"]], Float[Tensor, "t c h w"]]


class LatentCache:
    """The cached latents of a dataset under one encoder; a file per clip, tensor "latents", float16 ``t c h w``."""

    def __init__(self, dataset: Dataset, key: str):
        self.dataset = dataset
        self.folder = dataset.root / "latents" / key

    def path(self, record: ClipRecord) -> Path:
        return self.folder / f"{record.id}.safetensors"

    def fill(self, encode: Encode, *, batch_size: int = 16, progress: Callable[[int, int], None] | None = None) -> None:
        """Encode every clip that is not cached yet; a killed run continues with the clip it was at."""
        self.folder.mkdir(parents=True, exist_ok=True)
        total, done = sum(record.num_frames for record in self.dataset.records), 0
        for record in self.dataset.records:
            if not self.path(record).is_file():
                chunks = [
                    encode(self.dataset.frames(record, range(first, min(first + batch_size, record.num_frames))))
                    for first in range(0, record.num_frames, batch_size)
                ]
                save_whole(self.path(record), {"latents": torch.cat(chunks).to(torch.float16).contiguous()})
            done += record.num_frames
            if progress is not None:
                progress(done, total)

    def latents(self, record: ClipRecord, indices: Sequence[int]) -> Float[Tensor, "t c h w"]:
        """Latents of the frames ``indices``, float32."""
        return read_rows(self.path(record), "latents", indices, record.num_frames).float()
