import csv
import json

import pytest
import torch
from tests.command import files_under, refusal

from latentloom.data.video import write_video

METHODS = ("our_method", "their_method")
COLUMNS = ["study", "pair", "left", "right", "answer", "seconds", "rater"]


@pytest.fixture(scope="module")
def methods(tmp_path_factory):
    """Two methods, four videos each, of which three have equal names."""
    folder = tmp_path_factory.mktemp("methods")
    for number, method in enumerate(METHODS):
        (folder / method).mkdir()
        for video in range(number, number + 4):
            frames = torch.full((4, 32, 64, 3), 60 * number + 10 * video, dtype=torch.uint8)
            write_video(frames, folder / method / f"drive{video}.mp4", 6)
    return folder


@pytest.fixture
def study(latentloom, methods, tmp_path):
    """A study of four pairs."""
    made = latentloom("study", "make", *(methods / name for name in METHODS), "-o", tmp_path / "study", "--pairs", 4)
    assert made.code == 0, made.err
    return tmp_path / "study"


def key_of(study):
    return json.loads((study / "key.json").read_text())


def rated(study, rater, answer=lambda place, videos: "left", *, name=None, turned=False):
    """The CSV of a rater who answers as ``answer(place, (left, right))`` says; their sides turned."""
    key = key_of(study)
    rows = []
    for place, pair in enumerate(key["pairs"]):
        left, right = pair["videos"][::-1] if turned else pair["videos"]
        rows.append([key["id"], pair["id"], left["id"], right["id"], answer(place, (left, right)), "2.50", rater])
    return written(study.parent / (name or f"answers-{rater}.csv"), rows)


def written(path, rows, columns=COLUMNS):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def rows_of(path):
    return list(csv.reader(path.open(newline="")))[1:]


def prefer(method):
    return lambda place, videos: "left" if videos[0]["method"] == method else "right"


def test_two_names_that_are_nearly_one_are_told(latentloom, study):
    files = [rated(study, "anna"), rated(study, "Anna ", name="other.csv")]
    with pytest.warns(UserWarning, match="raters 'Anna ?' and 'anna' count as two"):
        assert latentloom("study", "result", study, *files).code == 0


def test_answers_lead_to_the_figures(latentloom, study, tmp_path):
    def mostly(place, videos):
        return "tie" if place == 0 else prefer("our_method")(place, videos)

    files = [
        rated(study, "anna", prefer("our_method")),
        rated(study, "boris", prefer("our_method"), turned=True),
        rated(study, "chen", mostly),
        rated(study, "dora", prefer("their_method")),
    ]
    result = latentloom("study", "result", study, *files, "-o", tmp_path / "result.json")
    assert result.code == 0, result.err
    for said in ("our_method over their_method", "71.9 %", "11 / 1 / 4", "4 / 0 / 0", "Fleiss' kappa", "anna", "2.5 s"):
        assert said in result.out
    report = json.loads((tmp_path / "result.json").read_text())
    (comparison,) = report["comparisons"]
    assert comparison["share"] == pytest.approx(11.5 / 16)
    assert comparison["p_value"] == pytest.approx(2 / 16)
    assert [rater["rater"] for rater in report["raters"]] == ["anna", "boris", "chen", "dora"]
    assert report["study"] == key_of(study)["id"]
    again = latentloom("study", "result", study, *reversed(files), "-o", tmp_path / "again.json")
    assert again.out == result.out
    assert (tmp_path / "again.json").read_text() == (tmp_path / "result.json").read_text()


def test_the_page_tells_no_method_and_holds_every_video(study, methods):
    page = study / "page"
    names = {path.name for path in page.iterdir()}
    videos = [video for pair in key_of(study)["pairs"] for video in pair["videos"]]
    assert names == {"index.html", *(f"{video['id']}.mp4" for video in videos)}
    text = (page / "index.html").read_text()
    assert "Which video looks more real?" in text
    for path in page.iterdir():
        content = path.read_bytes()
        for told in (*METHODS, "drive", str(methods)):
            assert told.encode() not in content, path
    assert {video["method"] for video in videos} == set(METHODS)


def test_equal_names_are_paired_and_the_rest_at_random(latentloom, methods, tmp_path):
    folders = [methods / name for name in METHODS]
    made = latentloom("study", "make", *folders, "-o", tmp_path / "study", "--pairs", 4)
    assert "4 pairs, 3 matched by name" in made.out
    sources = [{video["source"] for video in pair["videos"]} for pair in key_of(tmp_path / "study")["pairs"]]
    assert sorted(map(len, sources)) == [1, 1, 1, 2]
    again = latentloom("study", "make", *folders, "-o", tmp_path / "again", "--pairs", 4)
    assert again.code == 0
    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "study", tmp_path / "again")
    )
    assert first == second


def test_what_raters_could_know_methods_by_is_told(latentloom, methods, tmp_path):
    (tmp_path / "large").mkdir()
    write_video(torch.zeros(6, 64, 64, 3, dtype=torch.uint8), tmp_path / "large" / "a.mp4", 6)
    folders = (methods / METHODS[0], tmp_path / "large")
    made = latentloom("study", "make", *folders, "-o", tmp_path / "study", "--pairs", 1)
    assert "differ in size (our_method: 32x64; large: 64x64)" in made.out
    assert "differ in number of frames" in made.out and "frame rate" not in made.out


def test_three_methods_are_compared_two_by_two(latentloom, methods, tmp_path):
    (tmp_path / "third").mkdir()
    for number in range(2):
        write_video(torch.zeros(4, 32, 64, 3, dtype=torch.uint8), tmp_path / "third" / f"drive{number}.mp4", 6)
    folders = (*(methods / name for name in METHODS), tmp_path / "third")
    assert latentloom("study", "make", *folders, "-o", tmp_path / "study", "--pairs", 2).code == 0
    result = latentloom("study", "result", tmp_path / "study", rated(tmp_path / "study", "anna"))
    assert result.code == 0, result.err
    for said in ("our_method over third", "their_method over third", "not corrected", "1 raters; the paper has 4"):
        assert said in result.out


def test_raters_who_did_not_finish_count_only_when_asked_for(latentloom, study):
    whole = rated(study, "anna")
    some = written(study.parent / "answers-boris.csv", rows_of(rated(study, "boris"))[:2])
    assert "boris answered 2 of 4 pairs" in refusal(latentloom("study", "result", study, whole, some))
    result = latentloom("study", "result", study, whole, some, "--partial")
    assert result.code == 0 and "Krippendorff's alpha" in result.out


def test_a_file_saved_by_a_spreadsheet_is_read(latentloom, study):
    path = rated(study, "Zoë Müller")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    result = latentloom("study", "result", study, path)
    assert result.code == 0 and "Zoë Müller" in result.out


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (0, "0123456789ab", "line 2: of another study (0123456789ab"),
        (1, "0123456789ab", "pair '0123456789ab' is not in this study"),
        (2, "0123456789ab", "has other videos than the study"),
        (4, "both", "the answer is 'both', expected left, right or tie"),
        (5, "nan", "seconds are 'nan'"),
        (5, "-1", "seconds are '-1'"),
        (6, "", "is no name of 1 to 40 characters"),
        (6, "x" * 41, "is no name of 1 to 40 characters"),
        (6, "a\x1b[31m", "is no name of 1 to 40 characters"),
    ],
)
def test_changed_answers_are_refused(latentloom, study, column, value, said):
    rows = rows_of(rated(study, "anna"))
    rows[0][column] = value
    path = written(study.parent / "answers-changed.csv", rows)
    assert said in refusal(latentloom("study", "result", study, path))


def test_answers_given_twice_are_refused(latentloom, study):
    anna, other = rated(study, "anna"), rated(study, "anna", name="answers-other.csv")
    said = refusal(latentloom("study", "result", study, anna, other))
    assert "anna answered pair" in said and "also in answers-anna.csv" in said and "leave one file out" in said
    rows = rows_of(anna)
    twice = written(study.parent / "answers-twice.csv", [*rows, rows[0]])
    assert "twice" in refusal(latentloom("study", "result", study, twice))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no answers of a study, expected the columns study,pair"),
        (b"a;b;c\n1;2;3\n", "no answers of a study"),
        (b"study,pair,left,right,answer,seconds,rater\n", "holds no answers"),
        (b"study,pair,left,right,answer,seconds,rater\n1,2\n", "2 values, expected 7"),
        (b'study,pair,left,right,answer,seconds,rater\n"1,2\n', "no CSV"),
        (b"\xff\xfe\x00", "no UTF-8 text"),
    ],
)
def test_files_that_are_no_answers_are_refused(latentloom, study, tmp_path, content, said):
    (tmp_path / "bad.csv").write_bytes(content)
    assert said in refusal(latentloom("study", "result", study, tmp_path / "bad.csv"))


def test_studies_that_are_none_are_refused(latentloom, study, tmp_path):
    answers = rated(study, "anna")
    assert "no such file" in refusal(latentloom("study", "result", study, tmp_path / "nothing.csv"))
    assert "no study, it has no key.json" in refusal(latentloom("study", "result", tmp_path, answers))
    (tmp_path / "there.json").write_text("{}")
    assert "exists" in refusal(latentloom("study", "result", study, answers, "-o", tmp_path / "there.json"))
    key = key_of(study)
    for damage, said in (
        ({"version": 2}, "version"),
        ({"question": ""}, "question"),
        ({"methods": ["our_method", "else"]}, "is not of two of the methods"),
        ({"pairs": [key["pairs"][0]] * 2}, "an opaque name occurs twice"),
        ({"pairs": []}, "pairs"),
        ({"id": "../x"}, "id"),
    ):
        (study / "key.json").write_text(json.dumps(key | damage))
        said_of_it = refusal(latentloom("study", "result", study, answers))
        assert "damaged" in said_of_it and said in said_of_it
    (study / "key.json").write_text("[" * 100_000)
    assert "damaged" in refusal(latentloom("study", "result", study, answers))


def test_what_cannot_be_a_study_is_refused_before_anything_is_written(latentloom, methods, tmp_path):
    ours, theirs = (methods / name for name in METHODS)
    (tmp_path / "our_method").mkdir()
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "a.avi").write_bytes(b"RIFF")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.mp4").write_bytes(b"no video")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    before = files_under(tmp_path)
    for arguments, said in (
        ((ours,), "two methods or more"),
        ((ours, theirs), "has 4 videos, 50 pairs need as many"),
        ((ours, theirs, "--pairs", 0), "--pairs is 0"),
        ((ours, tmp_path / "our_method"), "two folders are called our_method"),
        ((ours, tmp_path / "nothing"), "no such folder"),
        ((ours, tmp_path / "full"), "no videos in this folder"),
        ((ours, tmp_path / "film"), "browsers show .mp4 and .webm"),
        ((ours, tmp_path / "damaged", "--pairs", 1), "a.mp4"),
        ((ours, theirs, "--question", "a\nb"), "--question is no single line"),
        ((ours, theirs, "-o", tmp_path / "full"), "is not empty"),
        ((ours, theirs, "-o", tmp_path / "no" / "study"), "make it first"),
    ):
        output = () if "-o" in arguments else ("-o", tmp_path / "study")
        assert said in refusal(latentloom("study", "make", *arguments, *output)), said
    assert files_under(tmp_path) == before
