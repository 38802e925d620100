"""Video and image files in: frames picked by presentation time, upright, in right colours, or a `VideoError`.

PyAV decodes; this room decides what is let in (`containers.py`, `decoding.py`), when frames are shown (`timing.py`) and
how they look (`picture.py`). Writing is `video_writer.py`, re-exported here.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from jaxtyping import Float64, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from latentloom.data.containers import VideoError, open_regular
from latentloom.data.decoding import MAX_FRAMES, MAX_PIXELS, VideoHeader, open_video
from latentloom.data.picture import fit, upright_rgb
from latentloom.data.timing import exact_rate, presentation_times, resampled
from latentloom.data.video_writer import write_video

__all__ = ["Video", "VideoError", "read_image", "read_video", "stream_video", "write_video"]

MAX_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True)
class Video:
    """A clip in memory. ``frames`` uint8 t h w 3; ``times`` seconds, the first 0; ``fps`` the mean rate."""

    frames: UInt8[Tensor, "t h w 3"]
    times: Float64[Tensor, " t"]
    fps: float


def read_video(
    path: str | Path,
    fps: float | int | None = None,
    *,
    size: tuple[int, int] | None = None,
    max_frames: int | None = None,
) -> Video:
    """Read a whole video, or its first ``max_frames`` frames.

    Args:
        fps: pick frames at this rate by nearest presentation time (``times`` is then k / fps); None keeps every frame.
        size: (height, width); frames are cropped to its aspect around the centre, then resized.

    Raises:
        VideoError: the file is no usable video; the message names it and the reason.
        ValueError: an argument out of range.
    """
    path = Path(path)
    _check_request(size, max_frames)
    with open_video(path) as (header, _):
        _check_length(path, header, max_frames)
        _check_fits(path, header, fps, size, max_frames)
        rate = header.rate
    moments, frames = list[Fraction](), list[np.ndarray]()
    for moment, frame in stream_video(path, fps, size=size, max_frames=max_frames):
        moments.append(moment)
        frames.append(frame)
        if len(frames) * frame.nbytes > MAX_BYTES:  # a header may promise less than comes
            raise VideoError(path, f"more than {MAX_BYTES >> 30} GiB of frames; pass max_frames, a lower fps or a size")
    if fps is None and len(moments) > 1:
        rate = (len(moments) - 1) / (moments[-1] - moments[0])
    return Video(
        frames=torch.from_numpy(np.stack(frames)),
        times=torch.tensor([float(moment) for moment in moments], dtype=torch.float64),
        fps=float(fps if fps is not None else rate),
    )


def stream_video(
    path: str | Path,
    fps: float | int | None = None,
    *,
    size: tuple[int, int] | None = None,
    max_frames: int | None = None,
) -> Iterator[tuple[Fraction, UInt8[np.ndarray, "h w 3"]]]:
    """The frames of `read_video` one at a time, each with its time in seconds; memory does not grow with length."""
    path = Path(path)
    rate = None if fps is None else exact_rate(fps)
    _check_request(size, max_frames)
    with open_video(path) as (header, stamped):
        _check_length(path, header, max_frames)
        step = 1 / header.rate
        timed = presentation_times(stamped, step)
        picked = timed if rate is None else resampled(timed, rate, step)
        reformatter = VideoReformatter()
        count = 0
        try:
            for moment, frame in itertools.islice(picked, max_frames or MAX_FRAMES):
                count += 1
                yield moment, fit(upright_rgb(frame, reformatter), size, header.pixel_aspect)
        except VideoError:
            raise
        except ValueError as error:
            raise VideoError(path, str(error)) from None
        if not count:
            raise VideoError(path, "the video stream holds no frames")


def read_image(path: str | Path, size: tuple[int, int] | None = None) -> UInt8[Tensor, "h w 3"]:
    """Read a PNG, JPEG, WebP or BMP picture upright; ``size`` as for `read_video`.

    Grey of 16 bits is scaled, CMYK converted; of an animation the first frame is read.

    Raises:
        VideoError: not such a picture, damaged, larger than the pixel limit, or with transparent pixels.
    """
    path = Path(path)
    _check_request(size, None)
    with open_regular(path) as file:
        try:
            image = Image.open(file, formats=("PNG", "JPEG", "WEBP", "BMP"))
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} is beyond the limit of {MAX_PIXELS} pixels")
            rgb = _opaque_rgb(ImageOps.exif_transpose(image))
        except UnidentifiedImageError:
            raise VideoError(path, "not a picture in PNG, JPEG, WebP or BMP; convert it") from None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise VideoError(path, f"not a readable picture: {error}") from None
    return torch.from_numpy(fit(np.array(rgb), size).copy())


def _opaque_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            raise ValueError("it has transparent pixels; put it on a background first")
    if image.mode.startswith("I;16"):  # Pillow clips 16-bit grey instead of scaling it
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _check_request(size: tuple[int, int] | None, max_frames: int | None) -> None:
    if size is not None and not (min(size) >= 1 and size[0] * size[1] <= MAX_PIXELS):
        raise ValueError(f"size is {size}, expected (height, width), each at least 1, at most {MAX_PIXELS} pixels")
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames is {max_frames}, expected at least 1")


def _check_length(path: Path, header: VideoHeader, max_frames: int | None) -> None:
    if max_frames is None and (header.num_frames or 0) > MAX_FRAMES:
        raise VideoError(path, f"{header.num_frames} frames are beyond the limit of {MAX_FRAMES}; pass max_frames")


def _check_fits(
    path: Path, header: VideoHeader, fps: float | int | None, size: tuple[int, int] | None, max_frames: int | None
) -> None:
    height, width = size or (header.height, header.width)
    num_frames = header.num_frames or 0
    if fps is not None and exact_rate(fps) < header.rate:
        num_frames = int(num_frames * exact_rate(fps) / header.rate)
    needed = min(num_frames, max_frames or num_frames) * height * width * 3
    if needed > MAX_BYTES:
        raise VideoError(
            path,
            f"{num_frames} frames of {width}x{height} need {needed / 2**30:.0f} GiB of memory, the limit is "
            f"{MAX_BYTES >> 30}; pass max_frames, a lower fps or a size",
        )
