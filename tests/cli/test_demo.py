import json

import pytest
from tests.command import refusal

from latentloom.cli.demo import NAMES, PROMPT, STACK
from latentloom.data.video import read_video
from latentloom.stack_folder import ASSETS

embedded = pytest.mark.skipif(not (ASSETS / "drive_small").is_dir(), reason="the embedded stack is not trained yet")


@pytest.fixture
def tiny_demo(monkeypatch, saved_stack_folder):
    """The demo with the tiny stack in the place of the embedded one."""
    monkeypatch.setattr("latentloom.cli.demo.STACK", str(saved_stack_folder))


def test_the_demo_writes_clip_sheet_receipt_and_comparison_and_may_be_repeated(latentloom, tiny_demo, tmp_path):
    for _ in range(2):
        result = latentloom("demo", "-o", tmp_path / "demo")
        assert result.code == 0, result.err
        assert {path.name for path in (tmp_path / "demo").iterdir()} == set(NAMES)
    assert str(tmp_path / "demo" / NAMES[0]) in result.out


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

    assert unknown_words(Stack.load(STACK).tokenizer, PROMPT) == []


@embedded
@pytest.mark.slow
def test_the_demo_shows_at_least_16_frames_of_128x256_that_move(latentloom, tmp_path):
    from latentloom.evaluation.motion import frame_difference

    assert latentloom("demo", "-o", tmp_path).code == 0
    frames = read_video(tmp_path / NAMES[0]).frames
    assert frames.shape[0] >= 16
    assert tuple(frames.shape[1:3]) == (128, 256)
    assert 0.5 < frame_difference(frames) < 30
    assert json.loads((tmp_path / NAMES[2]).read_text())["request"]["prompt"] == PROMPT
