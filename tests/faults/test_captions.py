"""Captions as people write them (fault R36): each form defined, each treatment counted, each refusal named."""

import json

import pytest

from latentloom.data.captions import MAX_CHARACTERS, CaptionCounts, find_captions


def find(folder, *names, default=None):
    videos = [folder / name for name in names]
    captions, counts = find_captions(folder, videos, default)
    return {video.relative_to(folder).as_posix(): text for video, text in captions.items()}, counts


def test_a_text_beside_the_video_comes_before_the_list(tmp_path):
    (tmp_path / "a.txt").write_text("from the text")
    (tmp_path / "captions.json").write_text('{"a.mp4": "from the list", "b.mp4": "also"}')
    captions, counts = find(tmp_path, "a.mp4", "b.mp4")
    assert captions == {"a.mp4": "from the text", "b.mp4": "also"}
    assert counts == CaptionCounts(own=2)


LISTS = {
    "captions.json": '[{"file": "x/a.mp4", "caption": "one"}, {"file": "b.mp4", "caption": "two, \\u00e9", "more": 1}]',
    "captions.jsonl": '{"file": "x/a.mp4", "caption": "one"}\n\n{"file": "b.mp4", "caption": "two, \u00e9"}\n',
    "captions.csv": 'file,caption,more\r\nx/a.mp4,one,\r\nb.mp4,"two, \u00e9",3\r\n',
}


@pytest.mark.parametrize("name", LISTS)
def test_every_list_form_says_the_same(tmp_path, name):
    (tmp_path / name).write_text("\ufeff" + LISTS[name], encoding="utf-8")
    captions, counts = find(tmp_path, "x/a.mp4", "b.mp4")
    assert captions == {"x/a.mp4": "one", "b.mp4": "two, \u00e9"}
    assert counts == CaptionCounts(own=2)


def test_files_are_found_by_name_alone_only_where_that_is_unambiguous(tmp_path):
    (tmp_path / "captions.json").write_text('{"elsewhere/a.mp4": "one", "b.mp4": "which?", "gone.mp4": "no"}')
    captions, counts = find(tmp_path, "x/a.mp4", "x/b.mp4", "y/b.mp4")
    assert captions == {"x/a.mp4": "one"}
    assert counts == CaptionCounts(own=1, missing=2, unused=2)


@pytest.mark.parametrize("name", ["a.txt", "captions.json", "captions.csv"])
def test_latin_1_is_refused_with_file_byte_and_remedy(tmp_path, name):
    (tmp_path / name).write_bytes('file,caption\n"caf\u00e9"'.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"{name}: not UTF-8 \(byte 0xe9 at position 17\).*iconv"):
        find(tmp_path, "a.mp4")


@pytest.mark.parametrize(
    ("given", "kept", "cleaned"),
    [
        ("a\x00 red\x1b[31m car\x7f", "a red[31m car", 1),
        ("\u202eevil\u202c road", "evil road", 1),
        ("two\r\nlines\tand  spaces ", "two lines and spaces", 0),
        (
            "\U0001f468\u200d\U0001f469\u200d\U0001f467 and \U0001f697",
            "\U0001f468\u200d\U0001f469\u200d\U0001f467 and \U0001f697",
            0,
        ),
        ("\u05e8\u05d5\u05d7\u05d1 caf\u00e9 \u8def", "\u05e8\u05d5\u05d7\u05d1 caf\u00e9 \u8def", 0),
    ],
)
def test_invisible_codes_are_removed_and_counted_and_scripts_are_kept(tmp_path, given, kept, cleaned):
    (tmp_path / "a.txt").write_bytes(given.encode())
    captions, counts = find(tmp_path, "a.mp4")
    assert captions == {"a.mp4": kept}
    assert counts == CaptionCounts(own=1, cleaned=cleaned)


@pytest.mark.parametrize("given", ["", " \n", "\x00\x01"])
def test_an_empty_caption_becomes_the_default_or_none(tmp_path, given):
    (tmp_path / "a.txt").write_text(given)
    assert find(tmp_path, "a.mp4", default="a road")[0] == {"a.mp4": "a road"}
    captions, counts = find(tmp_path, "a.mp4")
    assert captions == {}
    assert counts.missing == 1


def test_a_very_long_caption_is_cut_at_a_word_and_counted(tmp_path):
    (tmp_path / "a.txt").write_text("word " * 2_000_000)
    captions, counts = find(tmp_path, "a.mp4")
    assert captions["a.mp4"] == ("word " * (MAX_CHARACTERS // 5)).strip()
    assert counts == CaptionCounts(own=1, shortened=1)
    (tmp_path / "a.txt").write_text("w" * 5000)
    assert find(tmp_path, "a.mp4")[0] == {"a.mp4": "w" * MAX_CHARACTERS}


def test_a_caption_file_without_end_is_not_read(tmp_path):
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(ValueError, match=r"a\.txt: 65 MiB, a caption file has at most 64"):
        find(tmp_path, "a.mp4")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("captions.json", "{not json", "not readable as json"),
        ("captions.json", "[" * 100_000, "not readable as json"),
        ("captions.json", '{"a.mp4": 3}', "expected entries"),
        ("captions.json", '["a car"]', "expected entries"),
        ("captions.json", '"a car"', "expected entries"),
        ("captions.json", '[{"file": "a.mp4"}]', "expected entries"),
        ("captions.jsonl", '{"file": "a.mp4", "caption": "x"}\nhello', "not readable as jsonl"),
        ("captions.csv", "name,text\na.mp4,x\n", "expected entries"),
        ("captions.csv", "file,caption\na.mp4\n", "expected entries"),
        ("captions.jsonl", '{"file": "a.mp4", "caption": "x"}\n' * 2, "named twice"),
    ],
)
def test_a_list_that_cannot_be_understood_is_refused_by_name(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name}: .*{message}") as caught:
        find(tmp_path, "a.mp4")
    assert str(caught.value).isprintable()


def test_two_lists_are_refused_rather_than_one_chosen(tmp_path):
    (tmp_path / "captions.json").write_text("{}")
    (tmp_path / "captions.csv").write_text("file,caption\n")
    with pytest.raises(ValueError, match=r"captions\.json and captions\.csv; keep one"):
        find(tmp_path, "a.mp4")


def test_half_a_surrogate_in_json_is_removed(tmp_path):
    (tmp_path / "captions.json").write_text(json.dumps({"a.mp4": "a \ud83d car"}))
    captions, counts = find(tmp_path, "a.mp4")
    assert captions == {"a.mp4": "a car"}
    assert counts.cleaned == 1
