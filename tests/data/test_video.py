"""Reading: the right frames at the right times, upright, cropped, in right colours."""

import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.films import LOSSLESS, bar_code, film, numbers, patches

from latentloom.data.video import VideoError, read_image, read_video, stream_video

UNEVEN = [0]
for _gap in random.Random(0).choices([10, 33, 40, 41, 100, 250], k=39):
    UNEVEN.append(UNEVEN[-1] + _gap)


def brute_force(stamps, fps):
    """The frame nearest to every k / fps, the earlier of two; the last one ends a mean spacing after its start."""
    stamps = [Fraction(stamp, 1000) for stamp in stamps]
    stamps = [stamp - stamps[0] for stamp in stamps]
    spacing = stamps[-1] / (len(stamps) - 1)
    chosen, index = [], 0
    while True:
        moment = index / Fraction(fps)
        distances = [abs(moment - stamp) for stamp in [*stamps, stamps[-1] + spacing]]
        nearest = distances.index(min(distances))
        if nearest == len(stamps):
            return chosen
        chosen.append(nearest)
        index += 1


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("a.mp4", "libx264", "yuv420p", {"bf": "3"}),
        ("a.mkv", "libx264", "yuv420p", {"bf": "0"}),
        ("a.webm", "libvpx-vp9", "yuv420p", {"cpu-used": "8"}),
        ("a.mov", "prores_ks", "yuv422p10le", {}),
        ("a.mkv", "ffv1", "yuv444p", {}),
    ],
)
def test_every_frame_is_read_once_in_order_with_its_own_time(tmp_path, name, codec, pix_fmt, options):
    video = read_video(film(tmp_path / name, 40, stamps=UNEVEN, codec=codec, pix_fmt=pix_fmt, options=options))
    assert numbers(video.frames) == list(range(40))
    torch.testing.assert_close(video.times, torch.tensor(UNEVEN, dtype=torch.float64) / 1000)
    assert video.fps == pytest.approx(39 / (UNEVEN[-1] / 1000))


@pytest.mark.parametrize("fps", [1, 3.7, 6, 10, 24, 30])
def test_uneven_frames_are_resampled_to_the_nearest_in_time(tmp_path, fps):
    path = film(tmp_path / "a.mp4", 40, stamps=UNEVEN, options={"bf": "3"})
    video = read_video(path, fps)
    assert numbers(video.frames) == brute_force(UNEVEN, Fraction(str(fps)))
    torch.testing.assert_close(video.times, torch.arange(len(video.times), dtype=torch.float64) / fps)
    assert video.fps == fps


def test_film_rate_of_23_976_keeps_every_frame_at_its_own_rate_and_half_of_them_at_half(tmp_path):
    path = film(tmp_path / "a.mp4", 48, rate=Fraction(24000, 1001))
    assert read_video(path).fps == pytest.approx(24000 / 1001)
    assert numbers(read_video(path, 23.976).frames) == list(range(48))
    assert numbers(read_video(path, 24000 / 1001 / 2).frames) == list(range(0, 48, 2))


def test_the_first_frames_alone_can_be_read(tmp_path):
    path = film(tmp_path / "a.mp4", 30)
    assert numbers(read_video(path, 12.5, max_frames=4).frames) == [0, 2, 4, 6]


def test_streaming_yields_what_reading_returns(tmp_path):
    path = film(tmp_path / "a.mp4", 30)
    video = read_video(path, 10, size=(16, 32))
    streamed = list(stream_video(path, 10, size=(16, 32)))
    assert [float(moment) for moment, _ in streamed] == video.times.tolist()
    assert all((frame == kept.numpy()).all() for (_, frame), kept in zip(streamed, video.frames, strict=True))


@pytest.mark.parametrize(
    ("rotation", "upright"),
    [
        ((90,), lambda a: np.rot90(a)),
        ((180,), lambda a: np.rot90(a, 2)),
        ((270,), lambda a: np.rot90(a, 3)),
        ((0, True), lambda a: a[:, ::-1]),
        ((0, False, True), lambda a: a[::-1]),
        ((90, True), lambda a: np.rot90(a)[:, ::-1]),
    ],
)
def test_rotation_and_mirror_are_applied(tmp_path, rotation, upright):
    path = film(tmp_path / "a.mp4", 2, draw=patches, options=LOSSLESS, rotation=rotation)
    expected = upright(patches(1)).astype(int)
    frame = read_video(path).frames[1].numpy().astype(int)
    assert frame.shape == expected.shape
    assert np.abs(frame - expected)[8::16, 8::16].max() <= 3


def test_a_phone_held_upright_is_read_as_its_matrix_says(tmp_path):
    """The matrix is written by hand: (x, y) is shown at (-y, x), a quarter turn clockwise, as phones write it."""
    path = film(tmp_path / "a.mp4", 2, draw=patches, options=LOSSLESS)
    content = path.read_bytes()
    one = (1 << 16).to_bytes(4, "big")
    identity = one + bytes(12) + one + bytes(12) + (1 << 30).to_bytes(4, "big")
    turned = bytes(4) + one + bytes(4) + (-(1 << 16)).to_bytes(4, "big", signed=True) + bytes(16)
    turned += (1 << 30).to_bytes(4, "big")
    track = content.index(b"tkhd")
    at = content.index(identity, track)
    path.write_bytes(content[:at] + turned + content[at + len(identity) :])
    frame, expected = read_video(path).frames[1].numpy().astype(int), np.rot90(patches(1), -1).astype(int)
    assert frame.shape == expected.shape
    assert np.abs(frame - expected)[8::16, 8::16].max() <= 3


def test_pixels_that_are_not_square_are_shown_square(tmp_path):
    path = film(tmp_path / "a.mp4", 2, draw=patches, pixel_aspect=Fraction(4, 3))
    assert read_video(path).frames.shape == (2, 64, 128, 3)


def test_a_size_crops_the_centre_to_its_aspect_and_averages_areas(tmp_path):
    path = film(tmp_path / "a.mp4", 1, draw=patches, options=LOSSLESS, pix_fmt="yuv444p")
    whole = read_video(path).frames.double()
    frame = read_video(path, size=(16, 16)).frames.double()
    expected = whole[:, :, 16:80].unfold(1, 4, 4).unfold(2, 4, 4).mean((-1, -2))
    torch.testing.assert_close(frame, expected, atol=0.51, rtol=0)


def test_an_enlarged_frame_keeps_its_size_and_flat_colours(tmp_path):
    path = film(tmp_path / "a.mp4", 1, draw=patches, options=LOSSLESS)
    frame = read_video(path, size=(128, 192)).frames[0]
    assert frame.shape == (128, 192, 3)
    assert (frame[32, 32].int() - torch.from_numpy(patches(0))[16, 16].int()).abs().max() <= 3


@pytest.mark.parametrize("size", [(33, 65), (31, 64), (32, 63)])
def test_odd_sizes_are_read_whole(tmp_path, size):
    def draw(number):
        return np.full((*size, 3), 10 * number, np.uint8)

    frames = read_video(film(tmp_path / "a.webm", 3, codec="libvpx-vp9", draw=draw)).frames
    assert frames.shape == (3, *size, 3)
    assert [round(float(frame.float().mean()) / 10) for frame in frames] == [0, 1, 2]


@pytest.mark.parametrize(("keywords", "message"), [({"fps": 0}, "fps is 0"), ({"fps": float("nan")}, "fps is nan")])
def test_rates_that_make_no_sense_are_refused(tmp_path, keywords, message):
    with pytest.raises(ValueError, match=message):
        read_video(film(tmp_path / "a.mp4"), **keywords)


@pytest.mark.parametrize("keywords", [{"size": (0, 8)}, {"max_frames": 0}, {"size": (10**6, 10**6)}])
def test_sizes_and_counts_out_of_range_are_refused(tmp_path, keywords):
    with pytest.raises(ValueError, match=r"is .*, expected"):
        read_video(film(tmp_path / "a.mp4"), **keywords)


def test_pictures_are_read_upright_and_at_the_wanted_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(patches(3)).save(tmp_path / "a.png", exif=exif)
    expected = torch.from_numpy(np.rot90(patches(3), -1).copy())
    assert torch.equal(read_image(tmp_path / "a.png"), expected)
    assert read_image(tmp_path / "a.png", (48, 32)).shape == (48, 32, 3)


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_of_an_animation_the_first_frame_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (31, 17), colour) for colour in ((200, 10, 10), (10, 200, 10))]
    frames[0].save(tmp_path / f"moving.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    picture = read_image(tmp_path / f"moving.{suffix}")
    assert tuple(picture.shape) == (17, 31, 3) and picture[..., 0].min() > 190 and picture[..., 1].max() < 20


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_pictures_of_every_mode_become_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.new("RGB", (16, 8), (255, 255, 255)).convert(mode).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}").float().mean() > 253


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    Image.fromarray(np.full((4, 4), 128 * 257, np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").unique().tolist() == [128]


def test_a_picture_with_transparent_pixels_is_refused(tmp_path):
    Image.new("RGBA", (8, 8), (1, 2, 3, 0)).save(tmp_path / "a.png")
    with pytest.raises(VideoError, match=r"a\.png: .*transparent"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_what_is_no_picture_is_refused_with_its_name(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def test_half_a_picture_is_refused(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match="truncated"):
        read_image(tmp_path / "a.jpg")


def test_the_bar_code_of_the_tests_is_read_back():
    frames = torch.from_numpy(np.stack([bar_code(number) for number in (0, 5, 255)]))
    assert numbers(frames) == [0, 5, 255]
