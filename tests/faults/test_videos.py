"""Files that are not what they say: each refused in one line with the file and the reason (faults R19 to R29)."""

import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests.data.films import LOSSLESS, film, numbers

from latentloom.data import containers, decoding
from latentloom.data.video import VideoError, read_image, read_video


def noise(number):
    return np.random.default_rng(number).integers(0, 256, (32, 64, 3), dtype=np.uint8)


def refusal(path, **keywords):
    """The message of the refusal: one printable line, beginning with the file."""
    with pytest.raises(VideoError) as caught:
        read_video(path, **keywords)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(containers.printable(path))
    return message[len(containers.printable(path)) + 2 :]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"these are words\n" * 50, "not an MP4"),
        (np.random.default_rng(0).bytes(5000), "not an MP4"),
        (b"\0\0\0\x18ftypmp42" + bytes(8), "truncated"),
        (b"\0\0\0\x18ftypmp42" + bytes(12) + b"\0\0\0\x08moov", "no video stream"),
        (b"\x1a\x45\xdf\xa3" + np.random.default_rng(0).bytes(500), "truncated|not a readable"),
        (b"GIF89a", "truncated"),
        (b"RIFF\x04\0\0\0AVI ", "not a readable avi|no video stream"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, content, reason):
    (tmp_path / "a.mp4").write_bytes(content)
    given = refusal(tmp_path / "a.mp4")
    assert any(word in given for word in reason.split("|")), given


def test_folders_links_to_nothing_devices_and_pipes_are_refused_unopened(tmp_path):
    assert "a folder" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "missing.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nothing")
    assert "a link to nothing" in refusal(tmp_path / "link.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "not an ordinary file" in refusal(tmp_path / "pipe.mp4")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.gif", "gif", "bgr8"),
    ],
)
def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path, name, codec, pix_fmt, part):
    path = film(tmp_path / name, 12, codec=codec, pix_fmt=pix_fmt)
    assert len(read_video(path).frames) == 12
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    reason = refusal(path)
    assert "truncated" in reason or "not an MP4" in reason


def with_index_first(path, codec="libx264"):
    """A film whose index stands before its frames, so that a cut takes only frames away."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=25, options=LOSSLESS if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for index in range(20):
            frame = av.VideoFrame.from_ndarray(noise(index))
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video"])
def test_a_cut_that_the_boxes_hide_is_found_by_decoding(tmp_path, codec):
    content = with_index_first(tmp_path / "a.mp4", codec)
    start = content.index(b"mdat") - 4
    cut = content[: int(len(content) * 0.7)]
    cut = cut[:start] + (len(cut) - start).to_bytes(4, "big") + cut[start + 4 :]
    (tmp_path / "a.mp4").write_bytes(cut)
    assert "truncated" in refusal(tmp_path / "a.mp4")


def test_a_cut_between_two_frames_is_found_by_the_length_in_the_index(tmp_path):
    content = with_index_first(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(content)
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        end = packets[8].pos
    start = content.index(b"mdat") - 4
    cut = content[:start] + (end - start).to_bytes(4, "big") + content[start + 4 : end]
    (tmp_path / "a.mp4").write_bytes(cut)
    assert "truncated" in refusal(tmp_path / "a.mp4")


def test_damage_in_the_middle_is_an_error_not_a_guess(tmp_path):
    content = bytearray(with_index_first(tmp_path / "a.mp4"))
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    (tmp_path / "a.mp4").write_bytes(content)
    assert "damaged" in refusal(tmp_path / "a.mp4")


def test_frames_of_8192_by_8192_are_refused_from_the_header(tmp_path, monkeypatch):
    frame = np.zeros((8192, 8192, 3), np.uint8)
    path = film(tmp_path / "a.mp4", 1, draw=lambda number: frame, options={"preset": "ultrafast"})
    monkeypatch.setattr(decoding, "_frames", lambda *_: pytest.fail("frames were asked for"))
    assert "8192x8192 are beyond the limit" in refusal(path)


def test_a_picture_of_8192_by_8192_is_refused_from_the_header(tmp_path):
    Image.new("1", (8192, 8192)).save(tmp_path / "a.png")
    with pytest.raises(VideoError, match=r"a\.png: .*8192x8192 is beyond the limit"):
        read_image(tmp_path / "a.png")


def test_a_million_frames_are_refused_from_the_header(tmp_path):
    path = film(tmp_path / "a.mp4", 2)
    content = bytearray(path.read_bytes())
    count = content.index(b"stts") + 12
    assert struct.unpack(">I", content[count : count + 4]) == (2,)
    content[count : count + 4] = struct.pack(">I", 1_000_000)
    path.write_bytes(content)
    assert "1000000 frames are beyond the limit" in refusal(path)


def test_what_would_not_fit_into_memory_is_refused_from_the_header(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", 12)
    monkeypatch.setattr("latentloom.data.video.MAX_BYTES", 12 * 32 * 64 * 3 - 1)
    assert "12 frames of 64x32 need" in refusal(path)
    assert len(read_video(path, max_frames=11).frames) == 11
    assert len(read_video(path, 5).frames) == 3


def test_a_file_that_gives_more_than_its_header_promises_is_stopped(tmp_path, monkeypatch):
    path = film(tmp_path / "a.gif", 12, codec="gif", pix_fmt="bgr8")
    monkeypatch.setattr("latentloom.data.video.MAX_BYTES", 5 * 32 * 64 * 3)
    monkeypatch.setattr("latentloom.data.video._check_fits", lambda *_: None)
    assert "GiB of frames" in refusal(path)


def test_sound_without_pictures_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert refusal(tmp_path / "a.mp4") == "no video stream"


def test_a_frame_size_that_changes_on_the_way_is_refused(tmp_path):
    parts = [
        film(tmp_path / f"{size}.h264", 3, draw=lambda n, s=size: np.zeros((s, 64, 3), np.uint8)) for size in (32, 48)
    ]
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with av.open(str(joined)) as source, av.open(str(tmp_path / "a.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            packet.pts = packet.dts = index * 40
            packet.time_base = Fraction(1, 1000)
            packet.stream = stream
            target.mux(packet)
    assert "size changes" in refusal(tmp_path / "a.mkv")


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>',
    "images": "P6 1 1 255 {target}",
}


@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "sdp"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_is_refused_before_any_decoder_sees_it(tmp_path, monkeypatch, kind, suffix):
    monkeypatch.setattr(av, "open", lambda *_, **__: pytest.fail("a decoder was asked to open the playlist"))
    path = tmp_path / f"playlist.{suffix}"
    path.write_text(PLAYLISTS[kind].format(target=film_target(tmp_path)))
    assert "not an MP4" in refusal(path)


def film_target(folder):
    (folder / "target.mp4").write_bytes(b"what the playlist names")
    return folder / "target.mp4"


def test_a_video_that_points_at_another_file_for_its_frames_does_not_get_it(tmp_path):
    """QuickTime may keep frames in another file; the reference is refused and reads as damage."""
    path = film(tmp_path / "a.mp4", 3)
    content = path.read_bytes()
    inside = content.index(b"url \0\0\0\1")
    outside = content[:inside] + b"url \0\0\0\0" + content[inside + 8 :]
    path.write_bytes(outside)
    try:
        frames = read_video(path).frames
    except VideoError:
        return
    assert numbers(frames) == [0, 1, 2]  # read from the file itself: the reference was ignored


def test_whatever_a_decoder_asks_to_open_is_refused(tmp_path, monkeypatch):
    path, given, really_open = film(tmp_path / "a.mp4", 3), {}, av.open
    monkeypatch.setattr(av, "open", lambda file, **keywords: given.update(keywords) or really_open(file, **keywords))
    read_video(path)
    with pytest.raises(PermissionError, match="asks to open"):
        given["io_open"]("http://127.0.0.1/", 0, {})


NAMES = [
    b"with space.mp4",
    b"quote\"s and 'more'.mp4",
    b"new\nline\t.mp4",
    "\u202eright to left \u05d0\u05d1.mp4".encode(),
    b"not utf-8 \xff\xfe.mp4",
    b"percent %d %s.mp4",
    b"-option.mp4",
    b"http:..colon.mp4",
    "\U0001f697.mp4".encode(),
]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_is_read_and_shown_on_one_line(tmp_path, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    film(tmp_path / "plain.mp4", 3).rename(path)
    assert numbers(read_video(path).frames) == [0, 1, 2]
    path.write_bytes(b"no video")
    refusal(path)


def test_impossible_names_are_refused_like_missing_files():
    for name in ("a\0b.mp4", "a" * 300 + ".mp4"):
        with pytest.raises(VideoError):
            read_video(name)


def test_a_refused_file_is_closed(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"text")
    open_files = Path("/proc/self/fd")
    if not open_files.is_dir():
        pytest.skip("open files are listed on Linux only")
    before = len(list(open_files.iterdir()))
    for _ in range(5):
        refusal(tmp_path / "a.mp4")
    assert len(list(open_files.iterdir())) == before


def test_fuzzed_files_are_read_or_refused_but_never_crash(tmp_path):
    """300 damaged copies in a process of their own, so that a crash by signal would be seen."""
    for suffix, codec, pix_fmt in (
        ("mp4", "libx264", "yuv420p"),
        ("webm", "libvpx-vp9", "yuv420p"),
        ("gif", "gif", "bgr8"),
    ):
        film(tmp_path / f"a.{suffix}", 4, codec=codec, pix_fmt=pix_fmt)
    program = (
        "import random, sys, pathlib\n"
        "from latentloom.data.video import VideoError, read_video\n"
        "folder, draw = pathlib.Path(sys.argv[1]), random.Random(0)\n"
        "for path in sorted(folder.glob('a.*')):\n"
        "    content = path.read_bytes()\n"
        "    for _ in range(100):\n"
        "        damaged = bytearray(content)\n"
        "        for _ in range(draw.choice([1, 3, 30])):\n"
        "            damaged[draw.randrange(len(damaged))] = draw.randrange(256)\n"
        "        (folder / 'b').write_bytes(damaged)\n"
        "        try:\n"
        "            read_video(folder / 'b', max_frames=50)\n"
        "        except VideoError:\n"
        "            pass\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
