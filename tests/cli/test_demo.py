import json

import pytest
from tests.command import refusal

from latentloom.cli.demo import PAIRS, ROAD, STACK, VIDEO
from latentloom.data.video import read_video
from latentloom.stack_folder import ASSETS

embedded = pytest.mark.skipif(not (ASSETS / "drive_small").is_dir(), reason="the embedded stack is not trained yet")


@pytest.fixture
def tiny_demo(monkeypatch, saved_stack_folder):
    """The demo with the tiny stack, which has key frames alone, in the place of the embedded one."""
    monkeypatch.setattr("latentloom.cli.demo.STACK", str(saved_stack_folder))


def test_the_demo_shows_what_the_stack_has_and_may_be_repeated(latentloom, tiny_demo, tmp_path):
    for _ in range(2):
        result = latentloom("demo", "-o", tmp_path / "demo")
        assert result.code == 0, result.err
        made = {path.name for path in (tmp_path / "demo").iterdir()}
        assert made == {"index.html", "drive.mp4", "drive.png", "drive.json", "comparison.png", "prompts.png"}
    assert str(tmp_path / "demo" / "index.html") in result.out


def test_the_demo_leaves_other_files_of_its_folder_alone(latentloom, tiny_demo, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert latentloom("demo", "-o", tmp_path).code == 0
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_demo_wants_a_folder(latentloom, tmp_path):
    (tmp_path / "file").touch()
    assert "is a file" in refusal(latentloom("demo", "-o", tmp_path / "file"))


@embedded
def test_the_embedded_stack_knows_every_word_of_the_demo():
    from latentloom.models.text import unknown_words
    from latentloom.stack import Stack

    tokenizer = Stack.load(STACK).tokenizer
    assert [unknown_words(tokenizer, text) for text in (VIDEO, ROAD, *PAIRS[0], *PAIRS[1])] == [[]] * 6


@embedded
@pytest.mark.slow
def test_the_demo_shows_at_least_16_frames_that_move(latentloom, tmp_path):
    from latentloom.evaluation.motion import frame_difference

    assert latentloom("demo", "-o", tmp_path).code == 0
    frames = read_video(tmp_path / "drive.mp4").frames
    assert frames.shape[0] >= 16
    assert 0.5 < frame_difference(frames) < 30
    assert json.loads((tmp_path / "drive.json").read_text())["request"]["prompt"] == VIDEO
