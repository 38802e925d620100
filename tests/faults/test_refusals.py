"""What the command line refuses: exit code 2, exactly one line that names the file or number, nothing written."""

import pickle
import subprocess
import sys

import pytest
import torch
from tests.command import Command, files_under, refusal

from latentloom.data.video import write_video

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def latentloom(capfd):
    """The command line, called in this process."""
    return Command(capfd)


@pytest.fixture
def refused(latentloom, tmp_path):
    """Run a command that must be refused, leaving every file as it was; its one line."""

    def run(*words):
        before = files_under(tmp_path)
        message = refusal(latentloom(*words))
        assert files_under(tmp_path) == before
        return message

    return run


def short_video(path, num_frames):
    frames = torch.arange(num_frames, dtype=torch.uint8)[:, None, None, None].expand(num_frames, 32, 64, 3) * 20
    write_video(frames, path, 6)


@pytest.mark.parametrize("command", ["prepare", "animate"])
def test_missing_footage_is_refused(refused, tmp_path, saved_stack_folder, command):
    before = (saved_stack_folder,) if command == "animate" else ()
    missing = tmp_path / "no such\x1b[31m folder"
    message = refused(command, *before, missing, "-o", tmp_path / "out")
    assert "no such\\x1b[31m folder" in message


@pytest.mark.parametrize("command", ["prepare", "animate"])
def test_an_empty_folder_is_refused(refused, tmp_path, saved_stack_folder, command):
    (tmp_path / "empty").mkdir()
    before = (saved_stack_folder,) if command == "animate" else ()
    assert "no videos in this folder" in refused(command, *before, tmp_path / "empty", "-o", tmp_path / "out")


@pytest.mark.parametrize("command", ["prepare", "animate"])
def test_a_text_file_that_says_it_is_a_video_is_refused(refused, tmp_path, saved_stack_folder, command):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "drive.mp4").write_text("I am a film, believe me.\n" * 9)
    before = (saved_stack_folder,) if command == "animate" else ()
    message = refused(command, *before, tmp_path / "films", "-o", tmp_path / "out")
    assert "drive.mp4" in message
    assert "not an MP4" in message


def test_a_video_of_three_frames_is_refused(refused, tmp_path):
    (tmp_path / "films").mkdir()
    short_video(tmp_path / "films" / "short.mp4", 3)
    message = refused("prepare", tmp_path / "films", "-o", tmp_path / "out", "--size", "32x64")
    assert "short.mp4" in message
    assert "3 frames < 8" in message


def test_an_animation_of_three_frames_is_refused_before_anything_is_trained(latentloom, tmp_path, saved_stack_folder):
    (tmp_path / "films").mkdir()
    short_video(tmp_path / "films" / "short.mp4", 3)
    message = refusal(latentloom("animate", saved_stack_folder, tmp_path / "films", "-o", tmp_path / "out"))
    assert "3 frames" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["prepare", "animate"])
def test_captions_in_latin_1_are_refused_with_their_file_and_byte(refused, tmp_path, saved_stack_folder, command):
    (tmp_path / "films").mkdir()
    short_video(tmp_path / "films" / "drive.mp4", 12)
    (tmp_path / "films" / "drive.txt").write_bytes("eine Straße".encode("latin-1"))
    before = (saved_stack_folder,) if command == "animate" else ()
    message = refused(command, *before, tmp_path / "films", "-o", tmp_path / "out")
    assert "drive.txt" in message
    assert "0xdf" in message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--frames", "0"), "num_frames is 0, expected a whole number from 1 to 1000000"),
        (("--frames", "-1"), "num_frames is -1"),
        (("--frames", "1000000000"), "num_frames is 1000000000"),
        (("--frames", "1e9"), "'--frames'"),
        (("--steps", "0"), "num_inference_steps is 0"),
        (("--steps", "1000000000"), "num_inference_steps"),
        (("--guidance", "nan"), "guidance_scale is nan"),
        (("--fps", "0"), "fps is 0"),
        (("--seconds", "-2"), "seconds is -2"),
        (("--seconds", "1", "--frames", "2"), "give one"),
        (("--temporal-strength", "1.5"), "temporal_strength is 1.5"),
        (("--seed", "-1"), "seed is -1"),
        (("--size", "0x64"), "height is 0"),
        (("--size", "32x1000000000"), "width is"),
        (("--size", "4096x4096", "--frames", "1000"), "the limit is"),
        (("--size", "32"), "HEIGHTxWIDTH"),
        (("--size", "36x64"), "multiple of 16 pixels, which this model needs; nearest: 32x64"),
    ],
)
def test_numbers_out_of_range_are_refused_with_the_range(refused, tmp_path, saved_stack_folder, words, said):
    message = refused("generate", saved_stack_folder, "a road", "-o", tmp_path / "out.mp4", *words)
    assert said in message


def test_a_prompt_of_a_million_characters_is_refused(refused, tmp_path, saved_stack_folder):
    message = refused("generate", saved_stack_folder, "road " * 200_000, "-o", tmp_path / "out.mp4")
    assert "1000000 characters" in message


@pytest.mark.parametrize("suffix", [".mp4", ".png", ".json"])
def test_an_output_that_exists_is_refused(refused, tmp_path, saved_stack_folder, suffix):
    (tmp_path / "out").with_suffix(suffix).write_text("mine")
    assert "--force" in refused("generate", saved_stack_folder, "a road", "-o", tmp_path / "out.mp4")


def test_an_output_that_is_no_video_name_or_has_no_folder_is_refused(refused, tmp_path, saved_stack_folder):
    assert ".mp4" in refused("generate", saved_stack_folder, "a road", "-o", tmp_path / "out.avi")
    assert "no folder" in refused("generate", saved_stack_folder, "a road", "-o", tmp_path / "deep" / "out.mp4")


def test_an_unknown_stack_is_refused(refused, tmp_path):
    message = refused("generate", "drive-enormous", "a road", "-o", tmp_path / "out.mp4")
    assert "drive-enormous is no folder and no known stack" in message


@pytest.mark.parametrize("member", ["unet", "vae", "temporal/keyframes"])
def test_truncated_safetensors_are_refused(refused, tmp_path, stack_folder, member):
    weights = stack_folder / member / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    message = refused("generate", stack_folder, "a road", "-o", tmp_path / "out.mp4")
    assert f"{member}/{WEIGHTS}" in message
    assert "truncated" in message


class Trap:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", [WEIGHTS, "diffusion_pytorch_model.bin"])
def test_a_pickle_is_refused_and_never_opened(refused, tmp_path, stack_folder, name):
    unet = stack_folder / "unet"
    (unet / WEIGHTS).unlink()
    (unet / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    message = refused("generate", stack_folder, "a road", "-o", tmp_path / "out.mp4")
    assert "unet" in message
    assert not (tmp_path / "sprung").exists()


def test_an_image_model_is_not_generated_from_but_told_how_to_become_a_video_model(refused, tmp_path, stack_folder):
    import json
    import shutil

    shutil.rmtree(stack_folder / "temporal")
    listed = json.loads((stack_folder / "stack.json").read_text())
    listed["members"] = {name: digest for name, digest in listed["members"].items() if "temporal" not in name}
    (stack_folder / "stack.json").write_text(json.dumps(listed))
    message = refused("generate", stack_folder, "a road", "-o", tmp_path / "out.mp4")
    assert "latentloom animate" in message


def test_a_new_process_refuses_with_the_same_code_and_nothing_else_on_stderr(tmp_path, stack_folder):
    (stack_folder / "unet" / WEIGHTS).write_bytes(b"short")
    code = "from latentloom.cli import main; main()"
    words = ["generate", str(stack_folder), "a road", "-o", str(tmp_path / "out.mp4")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert WEIGHTS in done.stderr
    assert not (tmp_path / "out.mp4").exists()
