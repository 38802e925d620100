import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests.command import Command, refusal
from tests.stable_diffusion import upscaler
from tests.tiny import tiny_stack

from latentloom.align import TemporalLayers
from latentloom.cli.app import run
from latentloom.cli.training_runs import starting_layers
from latentloom.data.manifest import Caption, DatasetWriter
from latentloom.data.video import read_video
from latentloom.layers.context import ContextSpec
from latentloom.layers.layer_set import LayerSet
from latentloom.recipes import tiny
from latentloom.stack import Stack
from latentloom.stages.prediction import predict_frames
from latentloom.training.loop import Loop

TINY, FEW = ("--recipe", "tiny"), ("--steps", 3, "--seed", 5)
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="session")
def dataset(films, tmp_path_factory):
    folder = tmp_path_factory.mktemp("train") / "data"
    with DatasetWriter(folder, {"size": [32, 64]}) as writer:
        for path in sorted(films.iterdir()):
            captions = [Caption(start=0, stop=12, text=f"a road, {path.stem}")]
            writer.add(path.stem, read_video(path).frames, fps=6.0, captions=captions)
    return folder


@pytest.fixture(scope="session")
def chain(dataset, tmp_path_factory):
    """Run folders of all three trainings of the tiny recipe; tests leave them as they are."""
    folder = tmp_path_factory.mktemp("chain")
    for words in (
        ("autoencoder", dataset, "-o", folder / "autoencoder"),
        ("image", dataset, "--autoencoder", folder / "autoencoder", "-o", folder / "image"),
        ("temporal", dataset, "--stack", folder / "image" / "stack", "-o", folder / "temporal", "--fps", 6),
    ):
        assert run([str(word) for word in ("train", *words, *TINY, *FEW)]) == 0
    return folder


def test_three_commands_make_a_stack_that_generates(latentloom, chain, tmp_path):
    stack = Stack.load(chain / "temporal" / "stack")
    assert (stack.info.name, stack.info.num_frames, stack.info.fps) == ("temporal", 4, 6.0)
    assert stack.info.size == (32, 64)
    words = ("generate", chain / "temporal" / "stack", "a road", "-o", tmp_path / "out.mp4", "--steps", 2)
    assert latentloom(*words, "--dtype", "fp32").code == 0


def test_stages_hand_on_what_the_ones_before_made(chain, dataset):
    made = (chain / "autoencoder" / "final" / WEIGHTS).read_bytes()
    for stage in ("image", "temporal"):
        assert (chain / stage / "stack" / "vae" / WEIGHTS).read_bytes() == made
    spatial = [load_file(chain / stage / "stack" / "unet" / WEIGHTS) for stage in ("image", "temporal")]
    assert all(tensor.equal(spatial[1][name]) for name, tensor in spatial[0].items())
    alone = TemporalLayers.from_pretrained(chain / "temporal" / "final").state_dict()
    assert all(
        tensor.equal(alone[name])
        for name, tensor in Stack.load(chain / "temporal" / "stack").temporal["keyframes"].state_dict().items()
    )
    assert len(list((dataset / "latents").iterdir())) == 1, "latents were encoded once for both stages"


def test_the_same_command_after_the_end_changes_nothing_and_other_settings_are_refused(latentloom, chain, dataset):
    stack = chain / "image" / "stack"
    before = {path: path.stat().st_mtime_ns for path in stack.rglob("*")}
    words = ("train", "image", dataset, "--autoencoder", chain / "autoencoder", "-o", chain / "image", *TINY)
    assert latentloom(*words, *FEW).code == 0
    assert {path: path.stat().st_mtime_ns for path in stack.rglob("*")} == before
    assert "loop.steps (was 3, now 4)" in refusal(latentloom(*words, "--steps", 4, "--seed", 5))


def test_prediction_and_interpolation_join_the_stack_whose_image_model_they_share(latentloom, chain, dataset, tmp_path):
    stack, layers = chain / "temporal" / "stack", {}
    for stage in ("prediction", "interpolation"):
        result = latentloom("train", stage, dataset, "--stack", stack, "-o", tmp_path / stage, *TINY, "--steps", 2)
        assert result.code == 0, result.err
        stack = tmp_path / stage / "stack"
        layers[stage] = load_file(tmp_path / stage / "final" / WEIGHTS)
    made = Stack.load(stack)
    assert [name for name in made.members if name.startswith("temporal")] == [
        "temporal/interpolation",
        "temporal/keyframes",
        "temporal/prediction",
    ]
    assert (made.info.num_frames, made.info.fps) == (4, 6.0), "those of the key frames"
    for stage, tensors in layers.items():
        assert all(tensor.equal(tensors[name]) for name, tensor in made.temporal_layers(stage).state_dict().items())
    unets = [(folder / "unet" / WEIGHTS).read_bytes() for folder in (chain / "temporal" / "stack", stack)]
    assert unets[0] == unets[1]
    start = predict_frames(made, made.info.request("a road"), torch.zeros(1, 1, 4, 4, 8))
    assert start.shape[1] == 4


def test_given_frames_may_enter_as_in_the_paper_and_at_two_rates(latentloom, chain, dataset, tmp_path):
    command = ("train", "prediction", dataset, "--stack", chain / "temporal" / "stack", "-o", tmp_path / "maps", *TINY)
    assert latentloom(*command, "--given", "maps", "--fps", 3, "--fine-fps", 6, "--steps", 1).code == 0
    stack = Stack.load(tmp_path / "maps" / "stack")
    layers = stack.temporal_layers("prediction")
    assert layers.guess is None and not layers.shows_given_frames and layers.context is not None
    assert stack.info.stages["prediction"].fps == (3.0, 6.0)
    again = ("train", "prediction", dataset, "--stack", tmp_path / "maps" / "stack", "-o", tmp_path / "more", *TINY)
    assert "another way" in refusal(latentloom(*again, "--given", "frames"))
    assert latentloom(*again, "--steps", 1).code == 0
    assert not Stack.load(tmp_path / "more" / "stack").temporal_layers("prediction").shows_given_frames


def test_a_decoder_with_temporal_layers_joins_the_stack_and_decodes(latentloom, chain, dataset, tmp_path):
    words = ("train", "decoder", dataset, "--stack", chain / "temporal" / "stack", "-o", tmp_path / "run", *TINY)
    result = latentloom(*words, "--steps", 2, "--fps", 6)
    assert result.code == 0, result.err
    made, before = Stack.load(tmp_path / "run" / "stack"), Stack.load(chain / "temporal" / "stack")
    assert "decoder_temporal" in made.members and "decoder_temporal" not in before.members
    assert made.autoencoder.decoder_layers is not None and before.autoencoder.decoder_layers is None
    latents = torch.randn(1, 5, 4, 4, 8)
    video, alone = made.autoencoder.decode(latents), before.autoencoder.decode(latents)
    assert not torch.equal(video, alone)
    torch.testing.assert_close(made.autoencoder.decode(latents, chunk_size=2), video, atol=1e-4, rtol=1e-4)
    words = ("generate", tmp_path / "run" / "stack", "a road", "-o", tmp_path / "out.mp4", "--steps", 2)
    assert latentloom(*words, "--dtype", "fp32").code == 0
    assert "decoder_temporal" in latentloom("inspect", tmp_path / "run" / "stack").out


def test_layers_for_stable_diffusions_upscaler_are_trained_and_enlarge(latentloom, chain, dataset, tmp_path):
    upscaler().save_pretrained(tmp_path / "x4")
    words = ("train", "upsampler", dataset, *TINY, "--steps", 2, "--stack", chain / "temporal" / "stack")
    words = (*words, "--upsampler", tmp_path / "x4", "-o", tmp_path / "run")
    assert "add --temporal" in refusal(latentloom(*words))
    result = latentloom(*words, "--temporal")
    assert result.code == 0, result.err
    made = Stack.load(tmp_path / "run" / "stack")
    assert {"upsampler/unet", "upsampler/low_res_scheduler", "upsampler_temporal"} <= set(made.members)
    spatial = [folder / "unet" / WEIGHTS for folder in (tmp_path / "x4", tmp_path / "run" / "stack" / "upsampler")]
    assert spatial[0].read_bytes() == spatial[1].read_bytes()
    words = ("generate", tmp_path / "run" / "stack", "a road", "--frames", 3, "--steps", 2, "--dtype", "fp32")
    words = (*words, "-o", tmp_path / "out.mp4", "--upsample", "--upsample-steps", 2, "--upsample-guidance", 2)
    result = latentloom(*words, "--tile", "16x32")
    assert result.code == 0, result.err
    assert read_video(tmp_path / "out.mp4").frames.shape == (3, 128, 256, 3)
    receipt = json.loads((tmp_path / "out.json").read_text())
    assert receipt["settings"]["upsampling"]["noise_level"] == 20, "the upscaler's own, where nothing is said"
    assert receipt["settings"]["upsampling"]["prompt"] == "a road"
    assert "upsampler/vae/config.json" in receipt["stack"]["members"]
    plan = latentloom("plan", tmp_path / "run" / "stack", "--upsample", "--json")
    stages = {stage["stage"]: stage for stage in json.loads(plan.out)["stages"]}
    assert stages["upsampling"]["calls"] and stages["enlarged frames"]["calls"]


def test_an_upsampler_and_its_layers_join_the_stack_and_enlarge(latentloom, chain, dataset, tmp_path):
    first, then = tmp_path / "image", tmp_path / "video"
    words = ("train", "upsampler", dataset, *TINY, "--steps", 2)
    assert "has no upsampler" in refusal(
        latentloom(*words, "--stack", chain / "temporal" / "stack", "-o", then, "--temporal")
    )
    assert latentloom(*words, "--stack", chain / "temporal" / "stack", "-o", first).code == 0
    result = latentloom(*words, "--stack", first / "stack", "-o", then, "--temporal", "--fps", 6)
    assert result.code == 0, result.err
    words = (*words, "--stack", then / "stack")
    assert "enlarges 2 times, 4 was asked for" in refusal(latentloom(*words, "-o", tmp_path / "no", "--factor", 4))
    result = latentloom(*words, "-o", tmp_path / "further")
    assert "left out: the upsampler's temporal layers" in result.out
    assert "upsampler_temporal" not in Stack.load(tmp_path / "further" / "stack").members
    made = Stack.load(then / "stack")
    assert {"upsampler", "upsampler_temporal"} <= set(made.members)
    assert Stack.load(first / "stack").upsampler_layers is None and made.upsampler_layers is not None
    spatial = [(run / "stack" / "upsampler" / WEIGHTS).read_bytes() for run in (first, then)]
    assert spatial[0] == spatial[1]
    words = ("generate", then / "stack", "a road", "--steps", 2, "--dtype", "fp32", "--frames", 11)
    result = latentloom(*words, "-o", tmp_path / "out.mp4", "--upsample")
    assert result.code == 0, result.err
    assert tuple(read_video(tmp_path / "out.mp4").frames.shape) == (11, 64, 128, 3)
    assert "has no upsampler" in refusal(
        latentloom("generate", chain / "temporal" / "stack", "a road", "-o", tmp_path / "no.mp4", "--upsample")
    )


def test_interpolation_of_clips_that_do_not_end_on_given_frames_is_refused(latentloom, chain, dataset, tmp_path):
    words = ("train", "interpolation", dataset, "--stack", chain / "temporal" / "stack", "-o", tmp_path / "run", *TINY)
    assert "interpolation needs 4 n + 1 frames" in refusal(latentloom(*words, "--frames", 6))


def test_training_goes_on_from_an_autoencoder_its_decoder_and_a_stack(latentloom, chain, dataset, tmp_path):
    for words in (
        ("autoencoder", dataset, "--from", chain / "autoencoder", "--decoder-only", "-o", tmp_path / "sharper"),
        ("image", dataset, "--from", chain / "image" / "stack", "-o", tmp_path / "further"),
        ("temporal", dataset, "--stack", chain / "temporal" / "stack", "-o", tmp_path / "later"),
    ):
        result = latentloom("train", *words, *TINY, "--steps", 2)
        assert result.code == 0, result.err
    first, then = (load_file(run / "final" / WEIGHTS) for run in (chain / "autoencoder", tmp_path / "sharper"))
    changed = {name.split(".")[0] for name, tensor in first.items() if not tensor.equal(then[name])}
    assert changed == {"decoder", "post_quant_conv"}
    runs = (chain / "image", tmp_path / "further")
    vocabularies = [(run / "stack" / "tokenizer" / "tokenizer.json").read_text() for run in runs]
    assert vocabularies[0] == vocabularies[1]


def test_an_image_model_moves_to_another_autoencoder(latentloom, chain, dataset, tmp_path):
    spec = tiny.autoencoder().spec
    for name, made in (("other", spec), ("narrow", replace(spec, latent_channels=2))):
        made.build((32, 64)).save_pretrained(tmp_path / name)
    words = ("train", "image", dataset, "--from", chain / "temporal" / "stack", *TINY, "--steps", 2)
    result = latentloom(*words, "--autoencoder", tmp_path / "other", "-o", tmp_path / "moved")
    assert result.code == 0, result.err
    moved, other = Stack.load(tmp_path / "moved" / "stack"), load_file(tmp_path / "other" / WEIGHTS)
    assert all(tensor.equal(other[name]) for name, tensor in moved.vae.state_dict().items())
    assert "temporal/keyframes" in moved.members, "its temporal layers are there to be trained further"
    assert "made for the image model before: temporal/keyframes" in result.out
    said = refusal(latentloom(*words, "--autoencoder", tmp_path / "narrow", "-o", tmp_path / "refused"))
    assert "the autoencoder makes 2 at 1/" in said


def test_a_dry_run_prints_the_settings_and_writes_nothing(latentloom, tmp_path):
    words = ("train", "temporal", tmp_path / "data", "--stack", "tiny", "-o", tmp_path / "run", "--dry-run")
    more = ("--steps", 7, "--frames", 9, "--weight", "world=0.25", "--optimizer", "adamw", "--learning-rate", 0.5)
    result = latentloom(*words, *more, "--report-to", "tensorboard", "--dtype", "bf16", "--preview-steps", 3)
    config = json.loads(result.out)
    assert config["num_frames"] == 9
    assert config["source_weights"] == {"world": 0.25}
    assert (config["optimizer"]["kind"], config["optimizer"]["learning_rate"]) == ("adamw", 0.5)
    wanted = {"steps": 7, "tensorboard": True, "dtype": "bf16", "preview_steps": 3}
    assert wanted.items() <= config["loop"].items()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--steps", 0), "steps is 0"),
        (("--batch-size", -1), "batch_size is -1"),
        (("--learning-rate", "nan"), "learning_rate is nan"),
        (("--frames", 0), "frames is 0"),
        (("--fps", -5), "fps is -5"),
        (("--seed", -1), "seed is -1"),
        (("--weight", "world"), "NAME=FRACTION"),
        (("--dtype", "int8"), "int8"),
        (("--checkpoint-minutes", "inf"), "checkpoint_minutes is inf"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_opened(latentloom, tmp_path, more, said):
    words = ("train", "temporal", tmp_path / "data", "--stack", "tiny", "-o", tmp_path / "run")
    assert said in refusal(latentloom(*words, *more))
    assert list(tmp_path.iterdir()) == []


def test_what_there_is_to_begin_with_must_be_said_and_be_there(latentloom, dataset, saved_stack_folder, tmp_path):
    run = ("-o", tmp_path / "run", *TINY)
    for words, said in (
        (("autoencoder", dataset, "--decoder-only"), "name it with --from"),
        (("autoencoder", dataset, "--from", tmp_path), "holds no autoencoder"),
        (("autoencoder", tmp_path), "not a dataset folder"),
        (("image", dataset), "give --autoencoder"),
        (("image", dataset, "--autoencoder", tmp_path, "--from", saved_stack_folder), "holds no autoencoder"),
        (("temporal", dataset, "--stack", "nowhere"), "no known stack"),
        (("temporal", dataset, "--stack", saved_stack_folder, "--frames", 13), "lower the number of frames"),
    ):
        assert said in refusal(latentloom("train", *words, *run))
    assert list(tmp_path.iterdir()) == []


def test_a_training_without_captions_may_begin_from_a_stack(latentloom, saved_stack_folder, dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / "data", ignore=shutil.ignore_patterns("latents"))
    manifest = tmp_path / "data" / "manifest.jsonl"
    rows = [json.loads(line) | {"captions": []} for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("train", "image", tmp_path / "data", "--from", saved_stack_folder, "-o", tmp_path / "run", *TINY)
    assert latentloom(*words, "--steps", 1, "--preview-steps", 1).code == 0
    assert (tmp_path / "run" / "samples" / "step-00000001.png").is_file()


def test_a_run_that_was_killed_before_its_stack_was_saved_saves_it_when_run_again(latentloom, chain, dataset, tmp_path):
    shutil.copytree(chain / "temporal", tmp_path / "temporal", ignore=shutil.ignore_patterns("stack"))
    words = ("temporal", dataset, "--stack", chain / "image" / "stack", "-o", tmp_path / "temporal", "--fps", 6)
    assert latentloom("train", *words, *TINY, *FEW).code == 0
    made, before = (
        run / "stack" / "temporal" / "keyframes" / WEIGHTS for run in (tmp_path / "temporal", chain / "temporal")
    )
    assert made.read_bytes() == before.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_exits_and_the_same_command_ends_with_the_same_bits(dataset, tmp_path, capfd, number, code):
    def words(name):
        return [str(word) for word in ("train", "autoencoder", dataset, "-o", tmp_path / name, *TINY, "--steps", 40)]

    call = [sys.executable, "-u", "-c", "from latentloom.cli import main; main()", *words("stopped")]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("autoencoder: 1/40")
    process.send_signal(number)
    assert "Traceback" not in process.communicate(timeout=120)[1]
    assert process.returncode == code
    assert list((tmp_path / "stopped" / "checkpoints").glob("step-*"))
    for name in ("stopped", "whole"):
        assert Command(capfd)(*words(name)).code == 0
    ours, theirs = ((tmp_path / name / "final" / WEIGHTS).read_bytes() for name in ("stopped", "whole"))
    assert ours == theirs


def test_a_defect_while_training_leaves_no_lock(latentloom, dataset, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("the machine is tired")

    monkeypatch.setattr(Loop, "_one_step", fail)
    result = latentloom("train", "autoencoder", dataset, "-o", tmp_path / "run", *TINY)
    assert (result.code, len(result.err.splitlines())) == (1, 1)
    assert not (tmp_path / "run" / "run.lock").exists()


def test_prediction_layers_that_stand_still_learn_to_move_when_trained_further():
    layer_set = LayerSet.driving().with_context()
    stack = tiny_stack(layer_set=layer_set, sets=("keyframes", "prediction"))
    moving = starting_layers(stack, "prediction", LayerSet.driving(), 0, ContextSpec(motion=8))
    assert moving.ego_motion is not None
    kept = moving.state_dict()
    assert all(torch.equal(kept[name], x) for name, x in stack.temporal_layers("prediction").state_dict().items())
    assert starting_layers(stack, "prediction", LayerSet.driving(), 0, ContextSpec()).ego_motion is None
