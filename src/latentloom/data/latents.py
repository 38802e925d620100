"""Latents of every frame, encoded once and kept beside the frames.

The encoder is frozen, so a frame's latent never changes: caching takes the encoder out of every training step
(1.3x, quality notes). The folder is named by a key of the encoder's weights; another encoder gets another folder. A
file says which frames it was made from, so that latents of a video that was changed are not taken for its own.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentloom.data.manifest import ClipRecord, Dataset, read_rows
from latentloom.files import digest_of, remove_debris, save_tensors

_MADE_FROM = "frames_sha256"  # in the file's metadata; absent in caches from before it was kept
Encode = Callable[[UInt8[Tensor, "t h w 3"]], Float[Tensor, "t c h w"]]


class LatentCache:
    """The cached latents of a dataset under one encoder; a file per clip, tensor "latents", float16 ``t c h w``."""

    def __init__(self, dataset: Dataset, key: str):
        self.dataset, self.key = dataset, key
        self.folder = dataset.root / "latents" / key

    def path(self, record: ClipRecord) -> Path:
        return self.folder / f"{record.id}.safetensors"

    def fill(self, encode: Encode, *, batch_size: int = 16, progress: Callable[[int, int], None] | None = None) -> None:
        """Encode every clip that is not cached as it is now; a killed run continues with the clip it was at."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_debris(self.folder)
        total, done = sum(record.num_frames for record in self.dataset.records), 0
        for record in self.dataset.records:
            if not self._is_current(record):
                chunks = [
                    encode(self.dataset.frames(record, range(first, min(first + batch_size, record.num_frames))))
                    for first in range(0, record.num_frames, batch_size)
                ]
                made_from = record.frames_digest or digest_of(self.dataset.root / record.file)
                latents = torch.cat(chunks).to(torch.float16).contiguous()
                save_tensors(self.path(record), {"latents": latents}, {_MADE_FROM: made_from})
            done += record.num_frames
            if progress is not None:
                progress(done, total)

    def _is_current(self, record: ClipRecord) -> bool:
        """Whether the latents of these very frames are there; where nobody kept a digest, those of as many frames."""
        try:
            with safe_open(self.path(record), framework="pt") as file:
                made_from = (file.metadata() or {}).get(_MADE_FROM)
                num_rows = file.get_slice("latents").get_shape()[0]
        except (OSError, SafetensorError):
            return False
        same = made_from is None or record.frames_digest is None or made_from == record.frames_digest
        return same and num_rows == record.num_frames

    def latents(self, record: ClipRecord, indices: Sequence[int]) -> Float[Tensor, "t c h w"]:
        """Latents of the frames ``indices``, float32."""
        return read_rows(self.path(record), "latents", indices, record.num_frames).float()
