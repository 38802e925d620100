"""``evaluate explain``: what two results were measured with differently, and files that are no results."""

import json

import pytest
from tests.cli.evaluation_films import QUICK, worse_films
from tests.command import files_under, refusal

from latentloom.cli.explain import SCHEMA

pytestmark = pytest.mark.filterwarnings("ignore:a Frechet distance of")


@pytest.fixture(scope="module")
def worse(films, tmp_path_factory):
    return worse_films(films, tmp_path_factory.mktemp("explain") / "worse")


def test_it_names_what_differs_and_what_usually_matters(latentloom, films, worse, tmp_path):
    settings = {"a": (), "b": ("--size", "16x32", "--videos", 1, "--seed", 1, "--batch-size", 2)}
    for name, options in settings.items():
        assert latentloom("evaluate", films, worse, *QUICK, *options, "-o", tmp_path / f"{name}.json").code == 0
    result = latentloom("evaluate", "explain", tmp_path / "a.json", tmp_path / "b.json")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    heads = [line for line in lines if line.endswith("matters:")]
    assert heads == ["usually matters:", "sometimes matters:", "rarely matters:"]
    words = [line.split()[0] for line in lines if line.startswith("  ")]
    fields = [word for word in words if word.startswith(("settings.", "inputs."))]
    assert fields[0] == "settings.size"
    assert fields.index("inputs.fake.videos") < fields.index("inputs.fake.digest") < fields.index("settings.batch_size")
    for said in ("frame difference, generated over real", "Frechet distance, own features", "flicker power, pixels"):
        assert said in result.out
    (tmp_path / "c.json").write_text((tmp_path / "a.json").read_text())
    result = latentloom("evaluate", "explain", tmp_path / "a.json", tmp_path / "c.json")
    assert result.code == 0 and "agree in every field" in result.out


def result_of(**values):
    return json.dumps({"schema": SCHEMA, "receipt": {"seed": 0}, **values})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "holds no receipt of an evaluation"),
        ("[", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"receipt": 1}', "holds no receipt of an evaluation"),
        ('{"stack": {"name": "x"}, "seed": 1}', "holds no receipt of an evaluation"),
        (result_of(schema=SCHEMA + 1), "newer version"),
        (result_of(schema="x"), "newer version"),
        ('{"receipt": {}, "receipt": {}}', "occurs twice"),
    ],
)
def test_what_is_no_result_is_refused(latentloom, tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "good.json").write_text(result_of())
    before = files_under(tmp_path)
    for pair in (("a.json", "good.json"), ("good.json", "a.json")):
        message = refusal(latentloom("evaluate", "explain", *(tmp_path / name for name in pair)))
        assert "a.json" in message and said in message
    assert files_under(tmp_path) == before


def test_a_missing_file_is_named_with_what_writes_one(latentloom, tmp_path):
    (tmp_path / "good.json").write_text(result_of())
    message = refusal(latentloom("evaluate", "explain", tmp_path / "good.json", tmp_path / "x.json"))
    assert "x.json: no such file" in message and "evaluate REAL FAKE -o FILE" in message
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{")
    assert "is no JSON" in refusal(latentloom("evaluate", "explain", tmp_path / "good.json", tmp_path / "bytes.json"))


def test_results_of_an_older_version_are_explained_with_a_word_of_caution(latentloom, tmp_path):
    (tmp_path / "old.json").write_text('{"receipt": {"seed": 1}, "frechet_distance": 0.5}')
    (tmp_path / "new.json").write_text(result_of())
    result = latentloom("evaluate", "explain", tmp_path / "old.json", tmp_path / "new.json")
    assert result.code == 0 and "written by different versions of evaluate" in result.out and "seed" in result.out
