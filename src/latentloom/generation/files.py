"""A video and what lies beside it: decoded as it streams to disk, then the contact sheet and, last, the receipt."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from latentloom.data.clips import spread
from latentloom.data.sheets import contact_sheet
from latentloom.data.video import write_video
from latentloom.files import save_tensors
from latentloom.receipt import make_receipt, write_receipt
from latentloom.stack import Stack
from latentloom.stages.decoding import stream_frames
from latentloom.stages.request import ClipRequest

DECODED_AT_ONCE = 8
SHEET_FRAMES = 16
SHEET_SIDE = 512  # larger frames are averaged down for the sheet


@dataclass(frozen=True, kw_only=True)
class VideoFiles:
    """Where a video goes; ``latents`` is None where they are not kept."""

    video: Path
    sheet: Path
    receipt: Path
    latents: Path | None = None

    @classmethod
    def beside(cls, video: Path, *, save_latents: bool = False) -> "VideoFiles":
        """``out.mp4`` with ``out.png``, ``out.json`` and perhaps ``out.safetensors``."""
        latents = video.with_suffix(".safetensors") if save_latents else None
        return cls(video=video, sheet=video.with_suffix(".png"), receipt=video.with_suffix(".json"), latents=latents)

    @property
    def journal(self) -> Path:
        """The folder in which a long generation keeps what is finished."""
        return self.video.with_suffix(".journal")

    @property
    def paths(self) -> list[Path]:
        """All of them, in the order in which they are written."""
        return [path for path in (self.latents, self.video, self.sheet, self.receipt) if path is not None]


def write_video_files(
    stack: Stack,
    request: ClipRequest,
    latents: Iterable[Float[Tensor, "1 _ c h w"]],
    files: VideoFiles,
    *,
    seed: int,
    fps: float,
    decoded_at_once: int = DECODED_AT_ONCE,
    enlarge: Callable[[Iterator[Tensor]], Iterator[Tensor]] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Decode pieces of latents as they come into the video; then the sheet and, last, the receipt.

    Existing files are replaced: whoever calls has asked (``check_outputs``). An old receipt goes first: it never lies
    beside a new video. ``enlarge`` takes the decoded frames and gives those of the video; ``settings`` are what the
    receipt says beside request and seed.
    """
    files.receipt.unlink(missing_ok=True)
    kept, sheet = list[Tensor](), _SheetFrames()
    watched = (kept.append(piece.float().cpu()) or piece for piece in latents) if files.latents else latents
    autoencoder = stack.autoencoder
    parts = (part.to(stack.execution_device) for piece in watched for part in piece.split(decoded_at_once, 1))
    frames = stream_frames(autoencoder, parts, partial(stack.bring, autoencoder))
    frames = frames if enlarge is None else enlarge(frames)
    write_video(map(sheet.seen, frames), files.video, fps, force=True)
    if files.latents is not None:
        save_tensors(files.latents, {"latents": torch.cat(kept, 1).contiguous()})
    write_sheet(torch.stack(sheet.frames), files.sheet)
    receipt = make_receipt(
        request=request,
        seed=seed,
        dtype=stack.unet.dtype,
        device=stack.execution_device,
        stack=stack.info.name,
        checksums=stack.digests,
        outputs=[path for path in files.paths if path != files.receipt],
        settings={"fps": fps, **(settings or {})},
    )
    write_receipt(receipt, files.receipt)


def write_sheet(frames: UInt8[Tensor, "t h w 3"], path: Path, *, columns: int | None = None) -> None:
    """A contact sheet, of frames averaged down where they are large."""
    contact_sheet(_small(frames), path, columns=columns)


class _SheetFrames:
    """At most ``2 * SHEET_FRAMES`` frames of a stream of unknown length, small: the sheet's are among them."""

    def __init__(self) -> None:
        self.kept: list[Tensor] = []
        self.step, self.count = 1, 0

    def seen(self, frame: Tensor) -> Tensor:
        """Note a frame and hand it on."""
        if self.count % self.step == 0:
            self.kept.append(_small(frame[None])[0].clone())  # a frame may be a view of all that were made with it
            if len(self.kept) > 2 * SHEET_FRAMES:
                self.kept, self.step = self.kept[::2], 2 * self.step
        self.count += 1
        return frame

    @property
    def frames(self) -> list[Tensor]:
        """At most ``SHEET_FRAMES`` of them, spread over the stream."""
        return [self.kept[index] for index in spread(len(self.kept), SHEET_FRAMES)]


def _small(frames: Tensor) -> Tensor:
    factor = -(-max(frames.shape[1:3]) // SHEET_SIDE)
    if factor == 1:
        return frames
    pixels = F.avg_pool2d(frames.movedim(-1, 1).float(), factor, ceil_mode=True)
    return pixels.round().to(torch.uint8).movedim(1, -1).contiguous()
