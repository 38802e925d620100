"""Frames out: an H.264 MP4 any player shows in the right colours, complete under its final name or not there at all.

BT.709, limited range, all tags written. The same frames give the same bytes: one encoder thread, no time of writing.
"""

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from jaxtyping import UInt8
from torch import Tensor

from latentloom.data.timing import exact_rate
from latentloom.files import printable, whole_file

_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# crf 15: about 42 dB, the codec is not seen. x264's mbtree reads uninitialised memory for frames up to 64 pixels wide
# or high (18 different files in 100 writes of 32x64; one without it): the same frames would not give the same bytes.
_OPTIONS = {"crf": "15", "preset": "medium", "threads": "1", "x264-params": "mbtree=0"}


def write_video(
    frames: UInt8[Tensor, "t h w 3"] | Iterable[UInt8[Tensor, "h w 3"] | UInt8[np.ndarray, "h w 3"]],
    path: str | Path,
    fps: float | int,
    *,
    force: bool = False,
) -> None:
    """Write uint8 frames, h w 3 each, as ``path`` (.mp4). An iterator is encoded as it comes, in constant memory.

    Even sizes become yuv420p. H.264 cannot state an odd size with halved chroma, so odd sizes become yuv444p: every
    pixel is kept, though some browsers do not play it. A failure leaves nothing under ``path``.

    Raises:
        ValueError: no frames, frames of another type, size or number of dimensions, fps out of (0, 1000], a path that
            exists (without ``force``), has no folder, or does not end in .mp4.
    """
    path = Path(path)
    rate = exact_rate(fps)
    _check_target(path, force)
    with whole_file(path) as partial:
        with partial.open("wb") as file:
            _encode(_checked(frames), file, rate)
        _check_target(path, force)


def _check_target(path: Path, force: bool) -> None:
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"{printable(path)}: videos are written as .mp4; give the output such a name")
    if not path.parent.is_dir():
        raise ValueError(f"{printable(path.parent)}: no such folder to write the video into")
    if path.is_dir():
        raise ValueError(f"{printable(path)}: a folder, where a video would be written")
    if not force and (path.exists() or path.is_symlink()):
        raise ValueError(f"{printable(path)}: exists; choose another name or overwrite it with force")


def _checked(frames: Iterable[Tensor | np.ndarray]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    shape: tuple[int, ...] | None = None
    for frame in frames:
        pixels = np.asarray(frame.detach().cpu() if isinstance(frame, Tensor) else frame)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise ValueError(f"a frame is {pixels.dtype} of shape {pixels.shape}, expected uint8 (height, width, 3)")
        if shape is not None and pixels.shape != shape:
            raise ValueError(f"a frame has shape {pixels.shape}, the ones before it {shape}")
        shape = pixels.shape
        yield np.ascontiguousarray(pixels)


def _encode(frames: Iterator[UInt8[np.ndarray, "h w 3"]], file: BinaryIO, rate: Fraction) -> None:
    first = next(frames, None)
    if first is None:
        raise ValueError("there are no frames to write")
    height, width = first.shape[:2]
    reformatter = VideoReformatter()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=_OPTIONS)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p" if height % 2 == width % 2 == 0 else "yuv444p"
        context = stream.codec_context
        context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        for index, pixels in enumerate(itertools.chain((first,), frames)):
            frame = reformatter.reformat(
                VideoFrame.from_ndarray(pixels),
                format=stream.pix_fmt,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                dst_colorspace=Colorspace.ITU709,
                interpolation=_EXACT,
            )
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
