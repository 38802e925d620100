"""Writing: what was asked for is in the file, in right colours; or there is no file."""

import av
import numpy as np
import pytest
import torch
from tests.data.films import bar_code, numbers, patches

from latentloom.data.video import read_video, write_video


def clip(count=10, size=(32, 64)):
    return torch.from_numpy(np.stack([bar_code(number, size) for number in range(count)]))


@pytest.mark.parametrize("fps", [8, 12.5, 23.976, 30000 / 1001, 14.24])
def test_the_file_reads_back_with_exact_count_size_and_rate(tmp_path, fps):
    write_video(clip(), tmp_path / "a.mp4", fps)
    video = read_video(tmp_path / "a.mp4")
    assert video.frames.shape == (10, 32, 64, 3)
    assert numbers(video.frames) == list(range(10))
    assert video.fps == pytest.approx(fps, rel=1e-9)


def test_one_frame_is_a_video(tmp_path):
    write_video(clip(1), tmp_path / "a.mp4", 8)
    video = read_video(tmp_path / "a.mp4")
    assert (len(video.frames), video.fps) == (1, 8)


def test_colours_are_kept_and_tagged(tmp_path):
    frames = torch.from_numpy(np.stack([patches(number) for number in range(4)]))
    write_video(frames, tmp_path / "a.mp4", 8)
    error = (read_video(tmp_path / "a.mp4").frames.int() - frames.int()).abs()[:, 16::32, 16::32]
    assert error.float().mean() < 2
    assert error.max() <= 6
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        tags = context.color_range, context.colorspace, context.color_trc, context.color_primaries
        assert tags == (1, 1, 1, 1)


@pytest.mark.parametrize("size", [(31, 64), (32, 56 + 7), (31, 57)])
def test_odd_sizes_are_kept_to_the_pixel(tmp_path, size):
    frames = torch.full((3, *size, 3), 90, dtype=torch.uint8)
    write_video(frames, tmp_path / "a.mp4", 8)
    back = read_video(tmp_path / "a.mp4").frames
    assert back.shape == frames.shape
    assert (back.int() - 90).abs().max() <= 2


def test_the_same_frames_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_video(clip(), tmp_path / f"{name}.mp4", 8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_an_iterator_of_arrays_or_tensors_is_written_as_it_comes(tmp_path):
    write_video(iter(clip().numpy()), tmp_path / "a.mp4", 8)
    write_video((frame for frame in clip()), tmp_path / "b.mp4", 8)
    write_video(clip(), tmp_path / "c.mp4", 8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes() == (tmp_path / "c.mp4").read_bytes()


def test_an_existing_file_is_replaced_only_when_forced(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"a\.mp4: exists"):
        write_video(clip(), tmp_path / "a.mp4", 8)
    assert (tmp_path / "a.mp4").read_bytes() == b"mine"
    write_video(clip(), tmp_path / "a.mp4", 8, force=True)
    assert len(read_video(tmp_path / "a.mp4").frames) == 10


def test_a_failure_on_the_way_leaves_the_folder_as_it_was(tmp_path):
    def frames():
        yield from clip(5)
        raise RuntimeError("the model stopped")

    (tmp_path / "a.mp4").write_bytes(b"mine")
    with pytest.raises(RuntimeError, match="the model stopped"):
        write_video(frames(), tmp_path / "a.mp4", 8, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames"),
        ([np.zeros((8, 8, 4), np.uint8)], "expected uint8"),
        ([np.zeros((8, 8, 3), np.float32)], "expected uint8"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], "has shape"),
    ],
)
def test_frames_that_are_no_video_are_refused_and_nothing_is_left(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        write_video(iter(frames), tmp_path / "a.mp4", 8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.gif", "missing/a.mp4", "a"])
def test_targets_that_cannot_be_written_are_refused_first(tmp_path, name):
    def frames():
        raise AssertionError("asked for frames before the target was checked")
        yield

    with pytest.raises(ValueError, match=r"written as .mp4|no such folder"):
        write_video(frames(), tmp_path / name, 8)


def test_any_file_name_can_be_written(tmp_path):
    path = tmp_path / "a 'b' \"c\"\n%d \u202e:d.mp4"
    write_video(clip(2), path, 8)
    assert len(read_video(path).frames) == 2
