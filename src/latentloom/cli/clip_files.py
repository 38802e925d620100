"""One clip, from request to files: sampling with progress, decoding as it streams to disk, sheet, receipt last.

What ``generate``, ``demo`` and ``animate`` share. Imported by commands when they run: it imports torch and diffusers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from latentloom.cli.progress import progress
from latentloom.data.clips import spread
from latentloom.data.sheets import contact_sheet
from latentloom.data.video import write_video
from latentloom.diffusion.sampler import num_evaluations
from latentloom.files import save_tensors
from latentloom.receipt import make_receipt, write_receipt
from latentloom.stack import Stack
from latentloom.stages.decoding import stream_frames
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import ClipRequest, seeded_generator

DECODED_AT_ONCE = 8
SHEET_FRAMES = 16
SHEET_SIDE = 512  # larger frames are averaged down for the sheet


@dataclass(frozen=True, kw_only=True)
class ClipFiles:
    """Where a clip goes; ``latents`` is None where they are not kept."""

    video: Path
    sheet: Path
    receipt: Path
    latents: Path | None = None

    @classmethod
    def beside(cls, video: Path, *, save_latents: bool = False) -> "ClipFiles":
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


def sample(
    stack: Stack,
    request: ClipRequest,
    *,
    seed: int = 0,
    noise: Float[Tensor, "1 t c h w"] | None = None,
    title: str = "sampling",
) -> Float[Tensor, "1 t c h w"]:
    """The latents of one clip, with progress shown.

    Raises:
        ValueError: what ``generate_keyframes`` refuses.
    """
    total = num_evaluations(stack.scheduler, request.num_inference_steps)
    with progress(title) as advance:

        def callback(step: int, timestep: Tensor, latents: Tensor) -> None:
            advance(step + 1, total)

        advance(0, total)
        return generate_keyframes(
            stack,
            request,
            generator=seeded_generator(seed),
            latents=noise,
            callback_on_step_end=callback,
        )


def write_clip(stack: Stack, request: ClipRequest, latents: Tensor, files: ClipFiles, *, seed: int) -> None:
    """One clip to its files, decoded a few frames at a time, with progress shown."""
    with progress("decoding") as advance:
        pieces = _counted(latents.split(DECODED_AT_ONCE, 1), request.num_frames, advance)
        write_video_files(stack, request, pieces, files, seed=seed, fps=request.fps or stack.info.fps)


def write_video_files(
    stack: Stack,
    request: ClipRequest,
    latents: Iterable[Float[Tensor, "1 _ c h w"]],
    files: ClipFiles,
    *,
    seed: int,
    fps: float,
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
    frames = stream_frames(stack.autoencoder, watched)
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
        checksums=stack.checksums,
        outputs=[path for path in files.paths if path != files.receipt],
        settings={"decoded_at_once": DECODED_AT_ONCE, "fps": fps, **(settings or {})},
    )
    write_receipt(receipt, files.receipt)


def write_sheet(frames: UInt8[Tensor, "t h w 3"], path: Path, *, columns: int | None = None) -> None:
    """A contact sheet, of frames averaged down where they are large."""
    contact_sheet(_small(frames), path, columns=columns)


class _SheetFrames:
    """At most ``2 * SHEET_FRAMES`` frames of a stream of unknown length, evenly spaced: the sheet's are among them."""

    def __init__(self) -> None:
        self.kept: list[Tensor] = []
        self.step, self.count = 1, 0

    def seen(self, frame: Tensor) -> Tensor:
        """Note a frame and hand it on."""
        if self.count % self.step == 0:
            self.kept.append(frame)
            if len(self.kept) > 2 * SHEET_FRAMES:
                self.kept, self.step = self.kept[::2], 2 * self.step
        self.count += 1
        return frame

    @property
    def frames(self) -> list[Tensor]:
        """At most ``SHEET_FRAMES`` of them, spread over the stream."""
        return [self.kept[index] for index in spread(len(self.kept), SHEET_FRAMES)]


def _counted(pieces: Iterable[Tensor], total: int, advance: Callable[[int, int], None]) -> Iterator[Tensor]:
    done = 0
    for piece in pieces:
        yield piece
        done += piece.shape[1]
        advance(done, total)


def _small(frames: Tensor) -> Tensor:
    factor = -(-max(frames.shape[1:3]) // SHEET_SIDE)
    if factor == 1:
        return frames
    pixels = F.avg_pool2d(frames.movedim(-1, 1).float(), factor, ceil_mode=True)
    return pixels.round().to(torch.uint8).movedim(1, -1).contiguous()
