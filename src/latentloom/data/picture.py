"""One decoded frame as upright RGB of the wanted size: colour, orientation, crop, resize.

Colour follows the file's tags; where a file has none, the convention of players is used (BT.709 for more than 576
lines, BT.601 below, limited range; grey is full range). What cannot be shown truthfully in 8-bit BT.709 RGB (HDR, wide
gamut, transparency, interlacing) is refused by name, never shown wrong.
"""

from fractions import Fraction

import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from jaxtyping import Int32, UInt8
from PIL import Image

# Exact rounding and chroma interpolated at full width: without these flags swscale is off by up to several levels.
_EXACT = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
_SD_LINES = 576
_UNTAGGED = 2
_ITU601 = Colorspace.ITU601
_MATRICES = {1: Colorspace.ITU709, 4: Colorspace.FCC, 5: _ITU601, 6: _ITU601, 7: Colorspace.SMPTE240M}
_HDR = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}
# Standard-definition primaries differ from BT.709 by less than an eye sees; players do not convert them either.
_PRIMARIES = {0, _UNTAGGED, ColorPrimaries.BT709, ColorPrimaries.BT470M, ColorPrimaries.BT470BG}
_PRIMARIES |= {ColorPrimaries.SMPTE170M, ColorPrimaries.SMPTE240M, ColorPrimaries.EBU3213}


def upright_rgb(frame: VideoFrame, reformatter: VideoReformatter) -> UInt8[np.ndarray, "h w 3"]:
    """RGB as a viewer sees it: matrix and range of the file, display rotation and mirror applied.

    Raises:
        ValueError: names the rule by which the frame cannot be shown truthfully.
    """
    _check_colour(frame)
    grey = frame.format.name.startswith("gray")
    is_rgb = frame.format.is_rgb or frame.format.has_palette
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj") or is_rgb
    full = full or (grey and frame.color_range != ColorRange.MPEG)
    _check_opaque(frame)
    rgb = reformatter.reformat(
        frame,
        format="rgb24",
        src_colorspace=None if is_rgb else _matrix(frame),
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=_EXACT,
    )
    pixels = np.asarray(rgb.to_ndarray(), dtype=np.uint8)
    if grey and not full:  # swscale takes grey as full range whatever it is told
        table = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
        pixels = table[pixels]
    return np.ascontiguousarray(_oriented(pixels, _display_matrix(frame)))


def _check_colour(frame: VideoFrame) -> None:
    if frame.interlaced_frame:
        raise ValueError("interlaced video is not read; deinterlace it first (ffmpeg -vf bwdif)")
    if frame.color_trc in _HDR:
        raise ValueError(f"HDR video ({_HDR[frame.color_trc]}) is not read; tone-map it to BT.709 first")
    if frame.color_primaries not in _PRIMARIES:
        raise ValueError(f"wide-gamut video (primaries {frame.color_primaries}) is not read; convert it to BT.709")
    if not frame.format.is_rgb and frame.colorspace not in {*_MATRICES, 0, _UNTAGGED}:
        raise ValueError(f"colour matrix {frame.colorspace} is not read; convert the video to BT.709")


def _matrix(frame: VideoFrame) -> Colorspace:
    untagged = Colorspace.ITU601 if frame.height <= _SD_LINES else Colorspace.ITU709
    return _MATRICES.get(frame.colorspace, untagged)


def _check_opaque(frame: VideoFrame) -> None:
    components = frame.format.components
    if not any(component.is_alpha for component in components) and not frame.format.has_palette:
        return
    if frame.reformat(format="rgba").to_ndarray()[..., 3].min() < 255:
        raise ValueError("the video has transparent pixels; put it on a background first")


def _display_matrix(frame: VideoFrame) -> Int32[np.ndarray, "3 3"] | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(bytes(data), dtype=np.int32).reshape(3, 3)


def _oriented(
    pixels: UInt8[np.ndarray, "h w 3"], matrix: Int32[np.ndarray, "3 3"] | None
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Apply a display matrix: pixel (x, y) is shown at (a x + c y, b x + d y), y pointing down."""
    if matrix is None:
        return pixels
    (a, b), (c, d) = np.sign(matrix[:2, :2]).tolist()
    if (a and b) or (c and d) or not (a or b) or not (c or d):
        raise ValueError("the video is rotated by an angle that is not a multiple of 90 degrees")
    if b:
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def fit(
    pixels: UInt8[np.ndarray, "h w 3"], size: tuple[int, int] | None, pixel_aspect: Fraction = Fraction(1)
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Centre crop to the aspect of ``size`` (h, w), then resize to it: area averages down, Lanczos up.

    ``pixel_aspect`` is the width of a pixel over its height. Without a size, frames of non-square pixels are widened.
    """
    height, width = pixels.shape[:2]
    if size is None:
        size = (height, max(1, round(width * pixel_aspect)))
    if (height, width) == size and pixel_aspect == 1:
        return pixels
    aspect = size[1] / size[0] / float(pixel_aspect)
    crop_width, crop_height = min(width, height * aspect), min(height, width / aspect)
    left, top = (width - crop_width) / 2, (height - crop_height) / 2
    box = (left, top, left + crop_width, top + crop_height)
    enlarging = crop_width * crop_height < size[0] * size[1]
    method = Image.Resampling.LANCZOS if enlarging else Image.Resampling.BOX
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), method, box=box))
