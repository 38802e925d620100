import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.command import refusal
from tests.tiny import tiny_stack, tiny_unet

from latentloom.data.video import read_video
from latentloom.layers.layer_set import LayerSet
from latentloom.stack import Stack
from latentloom.stack_folder import StageInfo
from latentloom.stages import prediction
from latentloom.stages.journal import Journal


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
    monkeypatch.setattr("latentloom.generation.files.write_sheet", cut_short)
    assert latentloom(*words(saved_stack_folder, tmp_path / "out.mp4", "--force")).code == 130
    assert names(tmp_path) == ["out.journal", "out.mp4"]


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


# Longer videos


@pytest.fixture(scope="module")
def long_stack(tmp_path_factory):
    """A tiny stack with prediction and interpolation."""
    stack = tiny_stack(layer_set=LayerSet.driving().with_context(), sets=("keyframes", "prediction", "interpolation"))
    stages = {
        "prediction": StageInfo(num_frames=4, fps=(6.0,), context_noise=50, context_guidance_scale=1.5),
        "interpolation": StageInfo(num_frames=9, fps=(6.0, 24.0)),
    }
    folder = tmp_path_factory.mktemp("long") / "stack"
    stack.replace(replace(stack.info, stages=stages)).save(folder)
    return folder


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (100, 50), (200, 60, 20)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("more", "noted"), [((), False), (("--interpolate", 1), False), (("--fps", 2), True)])
def test_a_rate_that_the_layers_never_saw_is_told(latentloom, long_stack, tmp_path, more, noted):
    result = latentloom(*words(long_stack, tmp_path / "out.mp4", "--frames", 2, *more))
    assert ("trained at 6: expect less" in result.out) == noted


def test_a_video_longer_than_a_clip_is_predicted_and_interpolated(latentloom, long_stack, tmp_path):
    result = latentloom(*words(long_stack, tmp_path / "out.mp4", "--seconds", 1.5, "--interpolate", 1))
    assert result.code == 0, result.err
    assert "36 frames of 32x64, 24 a second" in result.out
    assert "prediction 3 x 3 evaluations of 12 frames" in result.out and "guidance 1.5, noise 50" in result.out
    video = read_video(tmp_path / "out.mp4")
    assert (len(video.frames), video.fps) == (36, 24)
    assert names(tmp_path) == ["out.json", "out.mp4", "out.png"], "no journal is left"
    settings = json.loads((tmp_path / "out.json").read_text())["settings"]
    assert (settings["num_frames"], settings["passes"], settings["fps"]) == (36, 1, 24)


def test_futures_of_a_picture_share_its_frame_and_follow_the_steering(latentloom, long_stack, picture, tmp_path):
    more = ("--frames", 7, "--start-frame", picture, "--save-latents")
    assert latentloom(*words(long_stack, tmp_path / "out.mp4", "--rollouts", 2, *more)).code == 0
    first, second = (load_file(tmp_path / f"out-{k}.safetensors")["latents"] for k in (1, 2))
    assert first.shape[1] == 7 and torch.equal(first[:, :1], second[:, :1])
    assert not torch.equal(first[:, 1:], second[:, 1:])
    assert latentloom(*words(long_stack, tmp_path / "left.mp4", "--steer", "left:9s", *more)).code == 0
    left = load_file(tmp_path / "left.safetensors")["latents"]
    assert torch.equal(left[:, :1], first[:, :1]) and not torch.equal(left, first)
    receipt = json.loads((tmp_path / "left.json").read_text())["settings"]
    assert receipt["numbers"]["steering"] == [-0.4] * 7
    assert receipt["start_frame"] == hashlib.sha256(picture.read_bytes()).hexdigest()


def test_a_killed_generation_goes_on_and_another_is_refused(latentloom, long_stack, tmp_path, monkeypatch):
    command = words(long_stack, tmp_path / "out.mp4", "--frames", 16)
    assert latentloom(*words(long_stack, tmp_path / "whole.mp4", "--frames", 16)).code == 0
    made = []

    def killed(*arguments, **options):
        made.append(1)
        if len(made) == 4:
            raise KeyboardInterrupt
        return predict(*arguments, **options)

    predict = prediction.predict_frames
    monkeypatch.setattr(prediction, "predict_frames", killed)
    assert latentloom(*command).code == 130
    assert "out.journal" in names(tmp_path) and "out.mp4" not in names(tmp_path)
    assert "another seed: give the same command" in refusal(latentloom(*command, "--seed", 1))
    made.append(-10)
    assert latentloom(*command).code == 0
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert made.count(1) == 4 + 3, "the three finished windows were not made again"
    assert "out.journal" not in names(tmp_path)


def test_of_several_futures_the_finished_ones_are_kept(latentloom, long_stack, tmp_path):
    command = words(long_stack, tmp_path / "out.mp4", "--frames", 6, "--rollouts", 3)
    assert latentloom(*command).code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for path in tmp_path.glob("out-2.*"):
        path.unlink()
    result = latentloom(*command)
    assert result.code == 0, result.err
    assert result.out.count("done before") == 2
    again = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(again) == sorted(before)
    assert all(again[name] == before[name] for name in before if not name.endswith(".json"))
    assert "was made with another seed" in refusal(latentloom(*command, "--seed", 5))
    assert latentloom(*command, "--save-latents").out.count("done before") == 0, "no future has its latents yet"
    again = {path.name: path.read_bytes() for path in tmp_path.glob("*.mp4")}
    assert all(again[name] == before[name] for name in again)
    Stack.load(long_stack).replace(unet=tiny_unet(seed=1)).save(tmp_path / "retrained")
    assert "was made with another stack" in refusal(latentloom("generate", tmp_path / "retrained", *command[2:]))


def test_killed_behind_the_receipt_the_same_command_clears_up(latentloom, long_stack, tmp_path, monkeypatch):
    command = words(long_stack, tmp_path / "out.mp4", "--frames", 6)

    def killed(journal):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_remove", killed)
        assert latentloom(*command).code == 130
    assert {"out.json", "out.journal"} <= set(names(tmp_path))
    video = (tmp_path / "out.mp4").read_bytes()
    assert "was made with another seed" in refusal(latentloom(*command, "--seed", 5))
    assert "done before" in latentloom(*command).out
    assert "out.journal" not in names(tmp_path) and (tmp_path / "out.mp4").read_bytes() == video
    assert "exists" in refusal(latentloom(*command))


def test_a_refusal_within_the_work_leaves_no_journal(latentloom, long_stack, tmp_path):
    plain = tiny_stack(layer_set=LayerSet.driving(), sets=("keyframes", "prediction"))
    plain.replace(Stack.load(long_stack).info).save(tmp_path / "plain")
    command = words(tmp_path / "plain", tmp_path / "out.mp4", "--steer", "left:9s", "--frames", 9)
    assert "take no steering" in refusal(latentloom(*command))
    assert names(tmp_path) == ["plain"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--interpolate", 3), "interpolate is 3, expected a number from 0 to 2"),
        (("--steer", "up:2s"), "expected DIRECTION:SECONDS"),
        (("--rollouts", 0), "rollouts is 0"),
        (("--start-frame", "nothing.png"), "no such picture"),
        (("--context-noise", 1000), "context_noise is 1000"),
        (("--frames", 0), "num_frames is 0"),
    ],
)
def test_longer_videos_that_cannot_be_made_are_refused(latentloom, long_stack, tmp_path, more, message):
    assert message in refusal(latentloom(*words(long_stack, tmp_path / "out.mp4", *more)))
    assert names(tmp_path) == []


def test_a_stack_without_the_layers_says_how_to_get_them(latentloom, saved_stack_folder, tmp_path, picture):
    command = words(saved_stack_folder, tmp_path / "out.mp4")
    assert "latentloom train prediction" in refusal(latentloom(*command, "--start-frame", picture))
    assert "latentloom train interpolation" in refusal(latentloom(*command, "--interpolate", 1))


def test_a_plan_has_a_line_for_each_stage_and_makes_nothing(latentloom, long_stack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = latentloom("plan", long_stack, "--frames", 40, "--interpolate", 1, "--rollouts", 2, "--dtype", "fp32")
    assert result.code == 0, result.err
    for stage in ("start frame", "prediction", "interpolation-1", "decoding", "writing", "all"):
        assert any(line.strip().startswith(stage) for line in result.out.splitlines())
    assert names(tmp_path) == []
    told = json.loads(latentloom("plan", long_stack, "--frames", 40, "--dtype", "fp32", "--json").out)
    assert told["memory"] > told["resident"] > 0 and told["stages"][0]["stage"] == "keyframes"
    assert "no upsampler" in refusal(latentloom("plan", long_stack, "--upsample"))
    assert "add --upsample" in refusal(latentloom("plan", long_stack, "--tile", "64x64"))
    message = refusal(latentloom("plan", long_stack, "--frames", 40, "--dtype", "fp32", "--start-frame", __file__))
    assert "not a picture" in message


def test_a_finished_video_is_never_overwritten_without_force(latentloom, long_stack, tmp_path, monkeypatch):
    """Not by a generation whose journal lies there, nor by one that does not see the journal of another."""
    long, short = (words(long_stack, tmp_path / "r.mp4", "--frames", count) for count in (12, 2))

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prediction, "predict_frames", killed)
        assert latentloom(*long).code == 130
    assert "begun with another" in refusal(latentloom(*short)) and "r.mp4" not in names(tmp_path)
    assert latentloom(*short, "--force").code == 0
    video = (tmp_path / "r.mp4").read_bytes()
    assert "r.journal" not in names(tmp_path)
    (tmp_path / "r.journal").mkdir()
    assert "was made with another" in refusal(latentloom(*long, "--save-latents"))
    (tmp_path / "r.journal").rmdir()
    assert "exists" in refusal(latentloom(*long))
    assert (tmp_path / "r.mp4").read_bytes() == video


def test_of_several_futures_none_is_made_where_one_is_refused(latentloom, long_stack, tmp_path):
    command = words(long_stack, tmp_path / "out.mp4", "--frames", 3, "--rollouts", 2)
    assert latentloom(*command).code == 0
    for path in tmp_path.glob("out-1.*"):
        path.unlink()
    assert "was made with another seed" in refusal(latentloom(*command, "--seed", 5))
    assert not list(tmp_path.glob("out-1*"))


def test_one_process_at_a_time_makes_a_video(latentloom, long_stack, tmp_path):
    command = words(long_stack, tmp_path / "out.mp4", "--frames", 2)
    assert latentloom(*command).code == 0
    for path in tmp_path.glob("out.*"):
        path.unlink()
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out.journal")], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert held.stdout is not None and held.stdout.readline()
    assert "is in use by process" in refusal(latentloom(*command))
    held.communicate(b"\n")
    assert latentloom(*command).code == 0


HOLD = """
import sys
from pathlib import Path
from latentloom.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_drive_in_words_says_how_long_the_video_is(latentloom, long_stack, picture, tmp_path):
    steered = ("--start-frame", picture, "--steer", "left:1s,straight:0.5s")
    assert latentloom(*words(long_stack, tmp_path / "out.mp4", *steered)).code == 0
    assert len(read_video(tmp_path / "out.mp4").frames) == 9, "one and a half seconds at 6 a second"
    assert latentloom(*words(long_stack, tmp_path / "two.mp4", *steered, "--frames", 2)).code == 0
    assert len(read_video(tmp_path / "two.mp4").frames) == 2
