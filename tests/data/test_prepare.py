"""From a folder of videos to a dataset: order, captions, rejections, resuming."""

import shutil

import pytest
import torch
from tests.data.films import film, numbers

from latentloom.data import prepare as module
from latentloom.data.manifest import Dataset
from latentloom.data.prepare import prepare
from latentloom.data.video import VideoError

SIZE = (32, 64)


def folder_of(tmp_path, count, bad=()):
    folder = tmp_path / "videos"
    folder.mkdir()
    film(folder / "v00.mp4", 10)
    for index in range(1, count):
        shutil.copy(folder / "v00.mp4", folder / f"v{index:02}.mp4")
    for index in bad:
        (folder / f"v{index:02}.mp4").write_bytes(b"not a video")
    return folder


def test_frames_times_captions_and_sources_are_stored_in_the_order_of_names(tmp_path):
    folder = tmp_path / "videos"
    (folder / "val").mkdir(parents=True)
    film(folder / "b.mp4", 10)
    film(folder / "a.mp4", 12)
    film(folder / "val" / "c.mp4", 9)
    (folder / "a.txt").write_text("a car\n")
    report = prepare(folder, tmp_path / "out", size=SIZE, licence="CC0", default_caption="a road")
    dataset = Dataset.load(tmp_path / "out")
    assert [record.source for record in dataset.records] == ["a.mp4", "b.mp4", "val/c.mp4"]
    assert [record.caption(0) for record in dataset.records] == ["a car", "a road", "a road"]
    assert [record.split for record in dataset.records] == ["train", "train", "val"]
    first = dataset.records[0]
    assert (first.licence, first.fps, first.contiguous) == ("CC0", 25, True)
    assert first.times is not None
    torch.testing.assert_close(list(first.times), [index / 25 for index in range(12)])
    assert numbers(dataset.frames(first, range(12))) == list(range(12))
    assert (report.prepared, report.num_frames) == (tuple(record.id for record in dataset.records), 31)


def test_videos_are_resampled_but_slow_ones_keep_their_frames(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    film(folder / "fast.mp4", 30, rate=30)
    film(folder / "slow.mp4", 10, rate=5)
    prepare(folder, tmp_path / "out", size=SIZE, fps=10)
    dataset = Dataset.load(tmp_path / "out")
    assert [(record.num_frames, record.fps) for record in dataset.records] == [(10, 10), (10, 5)]
    assert numbers(dataset.frames(dataset.records[0], range(10))) == list(range(0, 30, 3))
    assert numbers(dataset.frames(dataset.records[1], range(10))) == list(range(10))


def test_one_bad_video_in_a_hundred_is_rejected_and_the_others_keep_their_order(tmp_path):
    folder = folder_of(tmp_path, 100, bad=[37])
    report = prepare(folder, tmp_path / "out", size=(8, 16))
    assert [(error.path.name, "not an MP4" in error.reason) for error in report.rejected] == [("v37.mp4", True)]
    names = [record.source for record in Dataset.load(tmp_path / "out").records]
    assert names == [f"v{index:02}.mp4" for index in range(100) if index != 37]


def test_too_many_bad_videos_stop_the_run_before_anything_is_written(tmp_path):
    folder = folder_of(tmp_path, 20, bad=[3, 8])
    with pytest.raises(ValueError, match=r"2 of 20 videos are bad, 1 are allowed: .*v03\.mp4.*v08\.mp4"):
        prepare(folder, tmp_path / "out", size=SIZE)
    assert not (tmp_path / "out").exists()
    report = prepare(folder, tmp_path / "out", size=SIZE, max_bad_fraction=0.1)
    assert (len(report.prepared), len(report.rejected)) == (18, 2)


def test_among_few_videos_none_may_be_bad(tmp_path):
    with pytest.raises(ValueError, match="1 of 19 videos are bad, 0 are allowed"):
        prepare(folder_of(tmp_path, 19, bad=[0]), tmp_path / "out", size=SIZE)


def test_a_file_given_by_name_may_not_be_bad_and_is_named(tmp_path):
    folder = folder_of(tmp_path, 2, bad=[1])
    with pytest.raises(VideoError, match=r"v01\.mp4: not an MP4"):
        prepare(folder / "v01.mp4", tmp_path / "out", size=SIZE)
    with pytest.raises(ValueError, match="1 of 2 videos are bad, 0 are allowed"):
        prepare([folder / "v00.mp4", folder / "v01.mp4"], tmp_path / "out", size=SIZE, max_bad_fraction=1)
    assert not (tmp_path / "out").exists()
    assert prepare([folder / "v00.mp4"], tmp_path / "out", size=SIZE).prepared == ("v00",)


def test_damage_that_only_decoding_finds_counts_too(tmp_path):
    folder = folder_of(tmp_path, 20)
    film(folder / "v05.mp4", 40)
    content = bytearray((folder / "v05.mp4").read_bytes())
    start = content.index(b"mdat") + 4
    content[start + 200 : start + 900] = bytes(700)
    (folder / "v05.mp4").write_bytes(content)
    report = prepare(folder, tmp_path / "out", size=SIZE)
    assert [(error.path.name, "damaged" in error.reason) for error in report.rejected] == [("v05.mp4", True)]
    assert len(Dataset.load(tmp_path / "out").records) == 19


@pytest.mark.parametrize(("count", "fps"), [(3, None), (20, 2)])
def test_a_short_video_is_bad_before_anything_is_written(tmp_path, count, fps):
    film(tmp_path / "a.mp4", count)
    with pytest.raises(VideoError, match=r"a\.mp4: [23] frames < 8"):
        prepare(tmp_path / "a.mp4", tmp_path / "out", size=SIZE, fps=fps)
    assert not (tmp_path / "out").exists()


def test_the_same_command_again_decodes_nothing(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, 3)
    first = prepare(folder, tmp_path / "out", size=SIZE)
    manifest = (tmp_path / "out" / "manifest.jsonl").read_bytes()
    monkeypatch.setattr(module, "read_video", lambda *_, **__: pytest.fail("decoded again"))
    again = prepare(folder, tmp_path / "out", size=SIZE)
    assert (again.prepared, again.already_there) == ((), first.prepared)
    assert (tmp_path / "out" / "manifest.jsonl").read_bytes() == manifest


def test_an_interrupted_run_continues_where_it_was(tmp_path, monkeypatch):
    folder, calls = folder_of(tmp_path, 4), []

    def stop_at_the_third(path, *rest, **keywords):
        calls.append(path.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(path, *rest, **keywords)

    read = module.read_video
    monkeypatch.setattr(module, "read_video", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "out", size=SIZE)
    report = prepare(folder, tmp_path / "out", size=SIZE)
    assert calls == ["v00.mp4", "v01.mp4", "v02.mp4", "v02.mp4", "v03.mp4"]
    assert (report.already_there, report.prepared) == (("v00", "v01"), ("v02", "v03"))
    assert len(Dataset.load(tmp_path / "out").records) == 4


def test_a_changed_video_or_caption_is_prepared_again(tmp_path):
    folder = folder_of(tmp_path, 3)
    prepare(folder, tmp_path / "out", size=SIZE)
    film(folder / "v00.mp4", 11)
    (folder / "v01.txt").write_text("a lorry")
    assert prepare(folder, tmp_path / "out", size=SIZE).prepared == ("v00", "v01")
    records = {record.id: record for record in Dataset.load(tmp_path / "out").records}
    assert records["v00"].num_frames == 11
    assert records["v01"].caption(0) == "a lorry"


def test_other_settings_need_another_folder(tmp_path):
    folder = folder_of(tmp_path, 2)
    prepare(folder, tmp_path / "out", size=SIZE)
    with pytest.raises(ValueError, match="other settings"):
        prepare(folder, tmp_path / "out", size=(16, 32))


def test_videos_whose_names_become_alike_stay_apart(tmp_path):
    folder = tmp_path / "videos"
    (folder / "a").mkdir(parents=True)
    names = ["a b.mp4", "a-b.mp4", "a_b.mp4", "a/b.mp4", "a-b.mkv", "\u00e4.mp4", "\u00f6.mp4"]
    for name in names:
        film(folder / name, 8)
    prepare(folder, tmp_path / "out", size=SIZE)
    records = Dataset.load(tmp_path / "out").records
    assert {record.source for record in records} == set(names)
    assert len({record.id for record in records}) == len(names)
    assert {"a-b", "a_b"} <= {record.id for record in records}


def test_a_link_out_of_the_folder_is_bad(tmp_path):
    folder = folder_of(tmp_path, 20)
    film(tmp_path / "outside.mp4", 8)
    (folder / "v99.mp4").symlink_to(tmp_path / "outside.mp4")
    (folder / "v98.mp4").symlink_to(folder / "v00.mp4")
    report = prepare(folder, tmp_path / "out", size=SIZE)
    assert [(error.path.name, error.reason) for error in report.rejected] == [
        ("v99.mp4", "a link out of the folder; copy the video into it")
    ]
    assert "v98" in report.prepared


def test_progress_names_each_video_and_ends(tmp_path):
    seen = []
    prepare(folder_of(tmp_path, 2), tmp_path / "out", size=SIZE, progress=lambda *state: seen.append(state))
    assert seen == [(0, 2, "v00.mp4"), (1, 2, "v01.mp4"), (2, 2, "")]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"size": (0, 64)}, "size is"),
        ({"size": SIZE, "fps": 0}, "fps is 0"),
        ({"size": SIZE, "min_frames": 0}, "min_frames is 0"),
        ({"size": SIZE, "max_bad_fraction": 2.0}, "max_bad_fraction is 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused_first(tmp_path, keywords, message):
    with pytest.raises(ValueError, match=message):
        prepare(folder_of(tmp_path, 1), tmp_path / "out", **keywords)
    assert not (tmp_path / "out").exists()


def test_missing_and_empty_folders_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match="missing: no such folder"):
        prepare(tmp_path / "missing", tmp_path / "out", size=SIZE)
    with pytest.raises(ValueError, match="empty: no videos in this folder"):
        prepare(tmp_path / "empty", tmp_path / "out", size=SIZE)
    with pytest.raises(ValueError, match="no videos were given"):
        prepare([], tmp_path / "out", size=SIZE)
    assert not (tmp_path / "out").exists()


def test_when_every_video_turns_out_bad_the_run_fails(tmp_path):
    folder = folder_of(tmp_path, 2, bad=[0, 1])
    with pytest.raises(ValueError, match="2 of 2 videos are bad"):
        prepare(folder, tmp_path / "out", size=SIZE, max_bad_fraction=1)
