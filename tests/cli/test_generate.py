import hashlib
import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.command import refusal

from latentloom.data.video import read_video


def words(folder, output, *more):
    return ("generate", folder, "a road at night", "-o", output, "--dtype", "fp32", *more)


def test_a_sentence_becomes_a_video_a_sheet_and_a_receipt(latentloom, saved_stack_folder, tmp_path):
    result = latentloom(*words(saved_stack_folder, tmp_path / "out.mp4", "--frames", 5, "--fps", 4, "--seed", 3))
    assert result.code == 0, result.err
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out.png", "out.json"}
    video = read_video(tmp_path / "out.mp4")
    assert (tuple(video.frames.shape), video.fps) == ((5, 32, 64, 3), 4)
    assert Image.open(tmp_path / "out.png").width > 64
    receipt = json.loads((tmp_path / "out.json").read_text())
    assert receipt["seed"] == 3
    assert receipt["request"]["num_frames"] == 5
    digest = hashlib.sha256((tmp_path / "out.mp4").read_bytes()).hexdigest()
    assert digest in json.dumps(receipt)


def test_the_plan_comes_before_the_work(latentloom, saved_stack_folder, tmp_path):
    lines = latentloom(*words(saved_stack_folder, tmp_path / "out.mp4", "--save-latents")).out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("sampling:"))
    plan = "\n".join(lines[:first])
    for said in ("a road at night", "4 frames of 32x64, 6 a second", "3 evaluations of 8 frames", "cpu, float32"):
        assert said in plan
    for name in ("out.mp4", "out.png", "out.json", "out.safetensors"):
        assert name in plan
        assert (tmp_path / name).is_file()


def test_the_same_seed_gives_the_same_file_and_another_seed_another(latentloom, saved_stack_folder, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert latentloom(*words(saved_stack_folder, tmp_path / f"{name}.mp4", "--seed", seed)).code == 0
    a, b, c = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_every_setting_reaches_the_latents(latentloom, saved_stack_folder, tmp_path):
    def latents(name, *more):
        assert latentloom(*words(saved_stack_folder, tmp_path / f"{name}.mp4", "--save-latents", *more)).code == 0
        return load_file(tmp_path / f"{name}.safetensors")["latents"]

    plain = latents("plain")
    assert plain.shape == (1, 4, 8, 4, 8)
    for number, more in enumerate(
        (
            ("--steps", 2),
            ("--guidance", 1),
            ("--negative-prompt", "a lake by day"),
            ("--temporal-strength", 0),
            ("--seed", 9),
        )
    ):
        assert not torch.equal(latents(f"other{number}", *more), plain), more
    assert latents("size", "--size", "48x32").shape == (1, 4, 8, 6, 4)
    assert latents("seconds", "--seconds", 0.5).shape[1] == 3  # at 6 frames a second
    assert latents("faster", "--seconds", 0.5, "--fps", 12).shape[1] == 6


def test_existing_files_are_kept_unless_forced(latentloom, saved_stack_folder, tmp_path):
    (tmp_path / "out.json").write_text("mine")
    assert "out.json exists" in refusal(latentloom(*words(saved_stack_folder, tmp_path / "out.mp4")))
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert latentloom(*words(saved_stack_folder, tmp_path / "out.mp4", "--force")).code == 0
    assert (tmp_path / "out.json").read_text() != "mine"


def test_a_generation_that_is_cut_short_leaves_no_receipt_of_another(
    latentloom, saved_stack_folder, tmp_path, monkeypatch
):
    def cut_short(*_, **__):
        raise KeyboardInterrupt

    (tmp_path / "out.json").write_text("how another video was made")
    monkeypatch.setattr("latentloom.cli.clip_files.write_sheet", cut_short)
    assert latentloom(*words(saved_stack_folder, tmp_path / "out.mp4", "--force")).code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_long_clip_is_shown_on_a_sheet_of_sixteen_frames(latentloom, saved_stack_folder, tmp_path):
    result = latentloom(*words(saved_stack_folder, tmp_path / "out.mp4", "--frames", 20, "--steps", 1))
    assert result.code == 0
    width, height = Image.open(tmp_path / "out.png").size
    assert round(width / 66) * round(height / 34) in range(16, 20)


def test_an_unknown_word_is_told(latentloom, saved_stack_folder, tmp_path, caplog):
    result = latentloom("generate", saved_stack_folder, "a zebra", "-o", tmp_path / "out.mp4", "--dtype", "fp32")
    assert result.code == 0
    assert "zebra" in caplog.text


@pytest.mark.parametrize("threads", [0, 5000])
def test_threads_are_counted_sensibly(latentloom, saved_stack_folder, tmp_path, threads):
    message = refusal(latentloom(*words(saved_stack_folder, tmp_path / "out.mp4", "--threads", threads)))
    assert "from 1 to 1024" in message
