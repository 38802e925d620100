from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from tests.data.films import film, patches

from latentloom.data.containers import VideoError
from latentloom.data.copying import copy_for_browsers
from latentloom.data.video import read_video


def test_pictures_and_their_times_stay_as_they_are_and_what_is_said_of_them_goes(tmp_path):
    path = film(tmp_path / "a.mp4", 9, stamps=[0, 40, 90, 120, 200, 210, 300, 320, 400])
    told = tmp_path / "told.mp4"
    with av.open(str(path)) as read, av.open(str(told), "w") as written:
        written.metadata.update(comment="made by our_method", title="our_method")
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        copy.metadata.update(handler_name="our_method", language="deu")
        sound = written.add_stream("aac", rate=44100)
        for packet in read.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                written.mux(packet)
        tone = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        tone.sample_rate = 44100
        written.mux(sound.encode(tone))
        written.mux(sound.encode())
    assert b"our_method" in told.read_bytes()
    header = copy_for_browsers(told, tmp_path / "copy.mp4")
    assert header.num_frames == 9
    assert b"our_method" not in (tmp_path / "copy.mp4").read_bytes()
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    ours, theirs = read_video(tmp_path / "copy.mp4"), read_video(path)
    assert torch.equal(ours.frames, theirs.frames) and torch.equal(ours.times, theirs.times)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", {"rotation": (90,)}),
        ("a.mp4", {"pixel_aspect": Fraction(4, 3)}),
        ("a.webm", {"codec": "libvpx-vp9"}),
    ],
)
def test_videos_are_shown_as_before(tmp_path, name, how):
    path = film(tmp_path / name, 3, draw=patches, **how)
    copy = tmp_path / f"copy{path.suffix}"
    copy_for_browsers(path, copy)
    assert torch.equal(read_video(copy).frames, read_video(path).frames)


def test_what_browsers_do_not_show_is_refused(tmp_path):
    film(tmp_path / "old.mp4", 3, codec="mpeg4")
    with pytest.raises(VideoError, match=r"coded as mpeg4.*convert it to H.264"):
        copy_for_browsers(tmp_path / "old.mp4", tmp_path / "copy.mp4")
    with pytest.raises(ValueError, match="choose such a name"):
        copy_for_browsers(tmp_path / "old.mp4", tmp_path / "copy.avi")
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(VideoError):
        copy_for_browsers(tmp_path / "empty.mp4", tmp_path / "copy.mp4")
    whole = film(tmp_path / "a.mp4", 12).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError):
        copy_for_browsers(tmp_path / "cut.mp4", tmp_path / "copy.mp4")
