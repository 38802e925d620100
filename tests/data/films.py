"""Small videos for tests: frames that carry their number as a bar code, in any codec, with any stamps and tags."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

MILLISECOND = Fraction(1, 1000)
LOSSLESS = {"qp": "0", "preset": "ultrafast"}


def bar_code(number, size=(32, 64)):
    """Eight black or white columns: the bits of ``number``."""
    bits = [255 * (number >> bit & 1) for bit in range(8)]
    row = np.repeat(np.array(bits, np.uint8), size[1] // 8)
    return np.broadcast_to(row[None, :, None], (size[0], len(row), 3)).copy()


def patches(number, size=(64, 96)):
    """Six squares of random colours, 32 pixels each."""
    colours = np.random.default_rng(number).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    return colours.repeat(32, 0).repeat(32, 1)[: size[0], : size[1]]


def numbers(frames):
    """The numbers that `bar_code` wrote."""
    height, width = frames.shape[1:3]
    bits = frames[:, height // 2, width // 16 :: width // 8].float().mean(-1) > 127
    return (bits * 2 ** torch.arange(8)).sum(-1).tolist()


def film(
    path: Path,
    count: int = 12,
    *,
    stamps: Sequence[int] | None = None,
    rate: Fraction | int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    draw: Callable[[int], np.ndarray] = bar_code,
    options: dict[str, str] | None = None,
    rotation: tuple | None = None,
    pixel_aspect: Fraction | None = None,
    tags: tuple[int, int, int, int] = (1, 1, 1, 1),  # range, matrix, transfer, primaries
) -> Path:
    """Write ``count`` frames shown at ``stamps`` (milliseconds)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        first = draw(0)
        stream.height, stream.width, stream.pix_fmt = *first.shape[:2], pix_fmt
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_trc, context.color_primaries = tags
        if stamps is not None:
            stream.time_base = context.time_base = MILLISECOND
        if rotation is not None:
            stream.set_display_rotation(*rotation)
        if pixel_aspect is not None:
            context.sample_aspect_ratio = pixel_aspect
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(draw(index), "rgba" if draw(index).shape[2] == 4 else "rgb24")
            frame = frame.reformat(format=pix_fmt, src_color_range=2, dst_color_range=tags[0], dst_colorspace=tags[1])
            frame.pts = index if stamps is None else stamps[index]
            frame.time_base = 1 / Fraction(rate) if stamps is None else MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
