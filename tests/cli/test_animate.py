import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tests.command import refusal
from tests.stable_diffusion import saved

from latentloom.cli import animation, training_runs, training_settings
from latentloom.cli.app import run
from latentloom.cli.training_options import Recipe, TrainingOptions
from latentloom.data.video import read_video
from latentloom.layers.layer_set import LayerSet
from latentloom.recipes import driving, text, tiny
from latentloom.stack import Stack
from latentloom.training.loop import Loop

FEW = ("--image-steps", 2, "--steps", 2, "--batch-size", 1, "--image-batch-size", 2, "--dtype", "fp32")
WEIGHTS = ("unet", "text_encoder", "temporal/keyframes", "vae")


def words(stack, films, output, *more):
    return ("animate", stack, films, "-o", output, "--caption", "a road at night", *FEW, *more)


def weights(folder):
    return {name: next((folder / name).glob("*.safetensors")).read_bytes() for name in WEIGHTS}


@pytest.fixture(scope="session")
def uninterrupted(saved_stack_folder, films, tmp_path_factory):
    """The output folder of one run that nothing disturbed."""
    output = tmp_path_factory.mktemp("animated") / "new"
    assert run([str(word) for word in words(saved_stack_folder, films, output)]) == 0
    return output


def test_footage_becomes_a_stack_with_sample_sheet_and_report(uninterrupted, saved_stack_folder):
    stack = Stack.load(uninterrupted)
    assert (stack.info.name, stack.info.num_frames, stack.info.fps) == ("new", 4, 6.0)
    assert read_video(uninterrupted / "sample.mp4").frames.shape == (4, 32, 64, 3)
    for name in ("sample.png", "sample.json", "evaluation.png"):
        assert (uninterrupted / name).is_file()
    report = json.loads((uninterrupted / "report.json").read_text())
    assert report["prompts"] == ["a road at night"]
    assert report["frame_difference"]["ratio"] > 0
    assert report["nearest_training_frame"]["mean_squared_distance"] > 0
    old, new = weights(saved_stack_folder), weights(uninterrupted)
    assert {name for name in WEIGHTS if old[name] != new[name]} == {"unet", "text_encoder", "temporal/keyframes"}


def test_the_same_command_again_finds_its_work_done(latentloom, uninterrupted, saved_stack_folder, films):
    result = latentloom(*words(saved_stack_folder, films, uninterrupted))
    assert (result.code, result.out) == (0, f"done before: {uninterrupted}\n")


def test_another_command_for_the_same_output_is_refused(latentloom, uninterrupted, saved_stack_folder, films):
    message = refusal(latentloom(*words(saved_stack_folder, films, uninterrupted, "--seed", 1)))
    assert "was made with another seed" in message


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def kill_at(monkeypatch, place, calls):
    """Raise ``Killed`` in the ``calls``-th call of a function from now on."""
    holder, name = place
    function, count = getattr(holder, name), [0]

    def dying(*arguments, **options):
        count[0] += 1
        if count[0] == calls:
            raise Killed
        return function(*arguments, **options)

    monkeypatch.setattr(holder, name, dying)


@pytest.mark.parametrize(
    ("place", "calls"),
    [
        ((Loop, "_one_step"), 2),  # the second step of the image layers
        ((Loop, "_one_step"), 4),  # the second step of the temporal layers
        ((animation, "evaluate"), 1),
    ],
)
def test_killed_anywhere_the_same_command_ends_with_the_same_weights(
    latentloom, monkeypatch, saved_stack_folder, films, tmp_path, uninterrupted, place, calls
):
    again = words(saved_stack_folder, films, tmp_path / "new")
    with monkeypatch.context() as patch:
        kill_at(patch, place, calls)
        assert latentloom(*again).code == 1
    assert not (tmp_path / "new").exists()
    assert latentloom(*again).code == 0
    assert weights(tmp_path / "new") == weights(uninterrupted)
    ours, theirs = ((folder / "sample.mp4").read_bytes() for folder in (tmp_path / "new", uninterrupted))
    assert ours == theirs


def test_an_unfinished_run_is_continued_by_the_same_settings_and_footage_only(
    latentloom, monkeypatch, saved_stack_folder, films, tmp_path
):
    shutil.copytree(films, tmp_path / "films")
    again = words(saved_stack_folder, tmp_path / "films", tmp_path / "new")
    with monkeypatch.context() as patch:
        kill_at(patch, (animation, "cached_latents"), 1)
        assert latentloom(*again).code == 1
    assert "seed (was 0, now 2)" in refusal(latentloom(*again, "--seed", 2))
    (tmp_path / "films" / "drive1.mp4").unlink()
    assert "footage" in refusal(latentloom(*again))


def test_an_image_model_without_temporal_layers_gets_new_ones(latentloom, stack, films, tmp_path):
    image_only = Stack(
        stack.info,
        unet=stack.unet,
        vae=stack.vae,
        text_encoder=stack.text_encoder,
        tokenizer=stack.tokenizer,
        scheduler=stack.scheduler,
    )
    image_only.save(tmp_path / "image")
    more = ("--frames", 3, "--image-steps", 0)
    result = latentloom(*words(tmp_path / "image", films, tmp_path / "new", *more))
    assert result.code == 0, result.err
    assert "temporal layers: new" in result.out
    made = Stack.load(tmp_path / "new")
    assert made.info.num_frames == 3
    assert made.keyframe_layers is not None and made.keyframe_layers.number_names == ("fps",)
    assert weights(tmp_path / "new")["unet"] == next((tmp_path / "image" / "unet").glob("*.safetensors")).read_bytes()


def test_refused_footage_and_numbers_leave_nothing_behind(latentloom, saved_stack_folder, films, tmp_path):
    (tmp_path / "empty").mkdir()
    output = tmp_path / "out" / "new"
    output.parent.mkdir()
    for asked, said in (
        (words(saved_stack_folder, tmp_path / "nowhere", output), "no such folder"),
        (words(saved_stack_folder, tmp_path / "empty", output), "no videos"),
        (words("nowhere", films, output), "no known stack"),
        (words(saved_stack_folder, films, output, "--steps", 0), "steps is 0"),
        (words(saved_stack_folder, films, output, "--image-steps", -1), "image_steps is -1"),
        (words(saved_stack_folder, films, output, "--frames", -1), "frames is -1"),
        (words(saved_stack_folder, films, output / "deep" / "er"), "is no folder to write"),
    ):
        assert said in refusal(latentloom(*asked))
    assert list(output.parent.iterdir()) == []


def test_a_folder_of_someone_else_is_not_touched(latentloom, saved_stack_folder, films, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert "was not made by this command" in refusal(latentloom(*words(saved_stack_folder, films, tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_kill_9_three_times_and_the_same_weights(saved_stack_folder, films, tmp_path, uninterrupted):
    call = [sys.executable, "-u", "-c", "from latentloom.cli import main; main()"]
    call += [str(word) for word in words(saved_stack_folder, films, tmp_path / "new")]
    for sign in ("latents:", "image layers: 1/2", "temporal layers: 1/2"):
        process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        while not process.stdout.readline().startswith(sign):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert not (tmp_path / "new").exists()
        time.sleep(0.1)
    assert subprocess.run(call, stdout=subprocess.DEVNULL).returncode == 0
    assert weights(tmp_path / "new") == weights(uninterrupted)


def test_both_trainings_take_their_numbers_from_the_request_and_the_stack(stack):
    request = animation.AnimateRequest(
        caption=None,
        image_steps=7,
        steps=9,
        num_frames=None,
        fps=None,
        batch_size=1,
        image_batch_size=2,
        seed=4,
        dtype="fp32",
    )
    image, temporal = animation.training_settings(stack, request)
    assert image is not None
    assert (image.loop.steps, image.loop.batch_size, image.loop.seed) == (7, 2, 4)
    assert (temporal.loop.steps, temporal.loop.batch_size, temporal.loop.dtype) == (9, 1, "fp32")
    assert (temporal.num_frames, temporal.fps) == (stack.info.num_frames, stack.info.fps)
    assert training_runs.starting_layers(stack, "keyframes", LayerSet.driving(), 0) is stack.keyframe_layers


def test_stable_diffusion_gets_the_papers_layers_at_the_size_asked_for(latentloom, films, tmp_path):
    saved("2.1", tmp_path / "sd")
    more = ("--size", "32x128", "--frames", 3, "--fps", 6)
    result = latentloom(*words(tmp_path / "sd", films, tmp_path / "new", *more))
    assert result.code == 2 and "nearest: 64x128" in result.err, "four levels over eightfold latents"
    result = latentloom(*words(tmp_path / "sd", films, tmp_path / "new", *more, "--size", "64x128"))
    assert result.code == 0, result.err
    made = Stack.load(tmp_path / "new")
    assert made.info.size == (64, 128) and made.info.num_frames == 3
    assert made.temporal["keyframes"].layer_set == LayerSet.text()
    assert read_video(tmp_path / "new" / "sample.mp4").frames.shape == (3, 64, 128, 3)


def test_the_recipe_is_that_of_the_model(tmp_path, saved_stack_folder):
    saved("1.5", tmp_path / "sd")
    options = TrainingOptions()
    assert training_settings.recipe_of(options, str(tmp_path / "sd")) is text
    assert training_settings.recipe_of(options, str(saved_stack_folder)) is driving
    assert training_settings.recipe_of(options, None) is driving
    config = training_settings.dreambooth_config(options, str(tmp_path / "sd"))
    assert (config.optimizer.kind, config.optimizer.learning_rate, config.loop.steps) == ("adamw", 1e-6, 800)
    asked = TrainingOptions(recipe=Recipe.TINY)
    assert training_settings.recipe_of(asked, str(tmp_path / "sd")) is tiny
    rate = training_settings.dreambooth_config(options, str(tmp_path / "sd"), lora_rank=4).optimizer.learning_rate
    assert rate == pytest.approx(1e-4), "that of diffusers' own example"
