import shutil

from tests.command import refusal

from latentloom.data.manifest import Dataset


def test_a_folder_of_videos_becomes_a_dataset_and_the_same_command_adds_nothing(latentloom, films, tmp_path):
    words = ("prepare", films, "-o", tmp_path / "data", "--size", "16x32", "--caption", "a road", "--licence", "MIT")
    result = latentloom(*words)
    assert (result.code, result.err) == (0, "")
    assert "2 new of 24 frames" in result.out
    dataset = Dataset.load(tmp_path / "data")
    assert dataset.size == (16, 32)
    assert [record.caption(0) for record in dataset.records] == ["a road", "a road"]
    assert {record.licence for record in dataset.records} == {"MIT"}
    assert "0 new of 0 frames, 2 there before" in latentloom(*words).out


def test_bad_videos_are_named_and_counted_where_some_are_allowed(latentloom, films, tmp_path):
    shutil.copytree(films, tmp_path / "films")
    (tmp_path / "films" / "notes.mp4").write_text("no video")
    words = ("prepare", tmp_path / "films", "-o", tmp_path / "data", "--size", "16x32")
    assert "1 of 3 videos are bad" in refusal(latentloom(*words))
    assert not (tmp_path / "data").exists()
    result = latentloom(*words, "--max-bad-fraction", 0.5)
    assert result.code == 0
    assert "rejected: " in result.out
    assert "notes.mp4" in result.out


def test_too_short_videos_are_bad_by_the_number_given(latentloom, films, tmp_path):
    words = ("prepare", films, "-o", tmp_path / "data", "--size", "16x32", "--min-frames", 13)
    assert "12 frames < 13" in refusal(latentloom(*words))
