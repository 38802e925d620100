"""One clip, from request to files: sampling with progress, decoding as it streams to disk, sheet, receipt last.

What ``generate``, ``demo`` and ``animate`` share. Imported by commands when they run: it imports torch and diffusers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
from latentloom.stages.decoding import decode_frames
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
    """Decode ``latents`` a few frames at a time into the video; then the sheet and, last, the receipt.

    Existing files are replaced: whoever calls has asked (``check_outputs``). An old receipt goes first: it never lies
    beside a new video.
    """
    files.receipt.unlink(missing_ok=True)
    if files.latents is not None:
        save_tensors(files.latents, {"latents": latents.float().cpu().contiguous()})
    kept: list[Tensor] = []
    decoded = decode_frames(stack.autoencoder, latents, DECODED_AT_ONCE)
    with progress("decoding") as advance:
        frames = _watched(decoded, request.num_frames, kept.append, advance)
        write_video(frames, files.video, request.fps or stack.info.fps, force=True)
    write_sheet(torch.stack(kept), files.sheet)
    receipt = make_receipt(
        request=request,
        seed=seed,
        dtype=stack.unet.dtype,
        device=stack.execution_device,
        stack=stack.info.name,
        checksums=stack.checksums,
        outputs=[path for path in files.paths if path != files.receipt],
        settings={"decoded_at_once": DECODED_AT_ONCE},
    )
    write_receipt(receipt, files.receipt)


def write_sheet(frames: UInt8[Tensor, "t h w 3"], path: Path, *, columns: int | None = None) -> None:
    """A contact sheet, of frames averaged down where they are large."""
    contact_sheet(_small(frames), path, columns=columns)


def _watched(
    frames: Iterator[Tensor], total: int, keep: Callable[[Tensor], None], advance: Callable[[int, int], None]
) -> Iterator[Tensor]:
    wanted = set(spread(total, SHEET_FRAMES))
    for index, frame in enumerate(frames):
        if index in wanted:
            keep(frame)
        yield frame
        advance(index + 1, total)


def _small(frames: Tensor) -> Tensor:
    factor = -(-max(frames.shape[1:3]) // SHEET_SIDE)
    if factor == 1:
        return frames
    pixels = F.avg_pool2d(frames.movedim(-1, 1).float(), factor, ceil_mode=True)
    return pixels.round().to(torch.uint8).movedim(1, -1).contiguous()
