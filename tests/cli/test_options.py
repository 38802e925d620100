import errno
import os
import tempfile

import pytest

from latentloom.cli.options import check_output_folder, check_outputs, parsed_bytes, parsed_size, parsed_weights


def test_a_size_is_height_by_width():
    assert parsed_size("128x256") == (128, 256)
    assert parsed_size("8X16") == (8, 16)
    assert parsed_size(None) is None


@pytest.mark.parametrize("text", ["", "128", "128x", "x", "1x2x3", "-1x8", "1.5x8", "128,256", "٣x٣", "axb"])
def test_anything_else_is_no_size(text):
    with pytest.raises(ValueError, match="expected HEIGHTxWIDTH"):
        parsed_size(text)


def test_weights_are_names_and_fractions():
    assert parsed_weights(["world=0.3", "a=b=1"]) == {"world": 0.3, "a=b": 1.0}
    assert parsed_weights([]) == {}


@pytest.mark.parametrize("texts", [["world"], ["=0.5"], ["world=much"], ["world=-0.1"], ["world=2"], ["world=nan"]])
def test_anything_else_is_no_weight(texts):
    with pytest.raises(ValueError, match="expected NAME=FRACTION"):
        parsed_weights(texts)


def test_a_name_has_one_weight():
    with pytest.raises(ValueError, match="each name once"):
        parsed_weights(["world=0.3", "world=0.4"])


def test_outputs_must_be_new_unless_forced_and_have_a_folder(tmp_path):
    there = tmp_path / "there"
    there.touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    check_outputs([tmp_path / "new"], force=False)
    check_outputs([there], force=True)
    for path, force, said in (
        (there, False, "exists"),
        (tmp_path / "link", False, "exists"),
        (tmp_path, True, "is a folder"),
        (tmp_path / "absent" / "new", True, "is no folder"),
    ):
        with pytest.raises(ValueError, match=said):
            check_outputs([path], force=force)


def test_an_output_folder_is_no_file(tmp_path):
    check_output_folder(tmp_path)
    check_output_folder(tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        check_output_folder(tmp_path / "file")


def test_a_folder_that_takes_no_files_is_refused_before_any_work(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    check_outputs([tmp_path / "a.mp4"], force=False)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(ValueError, match=r"takes no files \(Read-only file system\)"):
        check_outputs([tmp_path / "a.mp4"], force=False)


@pytest.mark.parametrize(("text", "size"), [("6GB", 6e9), ("1.5 gb", 1.5e9), ("800MB", 8e8), ("2G", 2e9)])
def test_sizes_of_memory_are_read(text, size):
    assert parsed_bytes(text) == size


@pytest.mark.parametrize("text", ["", "6", "GB", "-1GB", "0GB", "6TB", "1e3MB", "٣GB"])
def test_what_is_no_size_of_memory_is_refused(text):
    with pytest.raises(ValueError, match="such as 6GB"):
        parsed_bytes(text)
