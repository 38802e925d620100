"""Colours against a float reference computed here from the standards, or a refusal that names the rule."""

from fractions import Fraction

import av
import numpy as np
import pytest
from tests.data.films import LOSSLESS, film, patches

from latentloom.data.video import VideoError, read_video

WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
X265 = {"x265-params": "lossless=1:log-level=none"}


def to_planes(rgb, matrix, full, bits):
    """Y, Cb, Cr of ``rgb`` as integers (ITU-T H.273)."""
    red, blue = WEIGHTS[matrix]
    value, scale = rgb / 255, 1 << (bits - 8)
    luma = value @ [red, 1 - red - blue, blue]
    chroma = (value[..., 2] - luma) / (2 - 2 * blue), (value[..., 0] - luma) / (2 - 2 * red)
    top = (1 << bits) - 1
    if full:
        planes = [luma * top, *(c * top + 128 * scale for c in chroma)]
    else:
        planes = [luma * 219 * scale + 16 * scale, *(c * 224 * scale + 128 * scale for c in chroma)]
    return [np.rint(plane).astype(np.uint16 if bits > 8 else np.uint8) for plane in planes]


def raw_film(path, pix_fmt, codec, *, matrix, full, tags=None, bits=8, options=None, draw=patches, alpha=255):
    """A film whose planes are computed here, so that no converter is trusted (``tags`` as for `film`)."""
    tags = tags or (2 if full else 1, matrix, 1, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt = 64, 96, pix_fmt
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_trc, context.color_primaries = tags
        for index in range(3):
            frame = av.VideoFrame(96, 64, pix_fmt)
            planes = to_planes(draw(index), matrix, full, bits)
            for target, plane in zip(frame.planes, planes, strict=False):
                picture = plane[:: 64 // target.height, :: 96 // target.width]
                padded = np.zeros((target.height, target.line_size // picture.itemsize), picture.dtype)
                padded[:, : target.width] = picture
                target.update(padded.tobytes())
            if len(frame.planes) == 4:
                frame.planes[3].update(bytes([alpha]) * frame.planes[3].buffer_size)
            frame.color_range, frame.colorspace = tags[:2]
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def largest_error(path, draw=patches):
    """At the centres of the patches, where chroma is not mixed between neighbours."""
    frames = read_video(path).frames.numpy().astype(int)
    return max(np.abs(frame - draw(index))[16::32, 16::32].max() for index, frame in enumerate(frames))


def grey(number):
    return patches(number)[..., :1].repeat(3, -1)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 6, 7])
def test_matrix_and_range_follow_the_tags(tmp_path, matrix, full, pix_fmt):
    path = raw_film(tmp_path / "a.mp4", pix_fmt, "libx264", matrix=matrix, full=full, options=LOSSLESS)
    assert largest_error(path) <= 2


def test_a_wrong_matrix_would_be_noticed(tmp_path):
    path = raw_film(tmp_path / "a.mp4", "yuv444p", "libx264", matrix=1, full=False, tags=(1, 5, 1, 1), options=LOSSLESS)
    assert largest_error(path) > 8


def test_small_untagged_video_is_taken_as_bt601_limited(tmp_path):
    path = raw_film(tmp_path / "a.mp4", "yuv420p", "libx264", matrix=5, full=False, tags=(0, 2, 2, 2), options=LOSSLESS)
    assert largest_error(path) <= 2


def test_large_untagged_video_is_taken_as_bt709(tmp_path):
    def tall(number):
        return np.broadcast_to(np.array([200, 30, 60], np.uint8), (640, 96, 3)).copy()

    path = film(tmp_path / "a.mkv", 1, draw=tall, options=LOSSLESS, pix_fmt="yuv444p")
    tagged = read_video(path).frames[0, 300, 40].tolist()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.colorspace == 1
        frame = next(container.decode(stream))
    assert isinstance(frame, av.VideoFrame)
    untagged = tmp_path / "b.mkv"
    with av.open(str(untagged), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 640, 96, "yuv444p"
        frame.colorspace, frame.color_range = 2, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert read_video(untagged).frames[0, 300, 40].tolist() == tagged


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "matrix", "full"),
    [("yuv420p10le", "libx264", 1, False), ("yuv422p10le", "ffv1", 1, True), ("yuv444p10le", "ffv1", 5, False)],
)
def test_ten_bits_are_rounded_to_eight(tmp_path, pix_fmt, codec, matrix, full):
    options = LOSSLESS if codec == "libx264" else {}
    path = raw_film(tmp_path / "a.mkv", pix_fmt, codec, matrix=matrix, full=full, bits=10, options=options)
    assert largest_error(path) <= 2


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("pix_fmt", "bits"), [("gray", 8), ("gray10le", 10)])
def test_grey_keeps_its_range(tmp_path, pix_fmt, bits, full):
    path = raw_film(tmp_path / "a.mkv", pix_fmt, "ffv1", matrix=1, full=full, bits=bits, draw=grey)
    assert largest_error(path, grey) <= 2


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.mp4", "libx264rgb", "rgb24"), ("a.mkv", "ffv1", "bgra"), ("a.mov", "png", "rgb24"), ("a.mov", "png", "rgba")],
)
def test_rgb_is_read_unchanged(tmp_path, name, codec, pix_fmt):
    options = LOSSLESS if codec == "libx264rgb" else {}
    path = film(tmp_path / name, 3, codec=codec, pix_fmt=pix_fmt, draw=patches, options=options, tags=(2, 0, 1, 1))
    assert largest_error(path) == 0


def test_motion_jpeg_is_full_range(tmp_path):
    path = raw_film(tmp_path / "a.avi", "yuvj420p", "mjpeg", matrix=5, full=True, options={"qmin": "1", "qscale": "1"})
    assert largest_error(path) <= 2


def test_an_opaque_alpha_plane_is_dropped_and_a_transparent_one_refused(tmp_path):
    opaque = raw_film(tmp_path / "a.mkv", "yuva420p", "ffv1", matrix=1, full=False)
    assert largest_error(opaque) <= 2
    glass = raw_film(tmp_path / "b.mkv", "yuva420p", "ffv1", matrix=1, full=False, alpha=254)
    with pytest.raises(VideoError, match="transparent pixels"):
        read_video(glass)


@pytest.mark.parametrize(
    ("tags", "rule"),
    [((1, 9, 16, 9), r"HDR video \(PQ\)"), ((1, 9, 18, 9), r"HDR video \(HLG\)"), ((1, 9, 14, 9), "wide-gamut")],
)
def test_hdr_and_wide_gamut_are_refused_by_name(tmp_path, tags, rule):
    path = raw_film(
        tmp_path / "a.mkv", "yuv420p10le", "libx265", matrix=9, full=False, tags=tags, bits=10, options=X265
    )
    with pytest.raises(VideoError, match=rule):
        read_video(path)


def test_interlaced_video_is_refused_by_name(tmp_path):
    path = film(tmp_path / "a.mp4", 3, draw=patches, options={"x264-params": "interlaced=1"})
    with pytest.raises(VideoError, match="interlaced"):
        read_video(path)


def test_a_tilted_video_is_refused_by_name(tmp_path):
    with pytest.raises(VideoError, match="multiple of 90"):
        read_video(film(tmp_path / "a.mp4", 3, rotation=(45,)))
