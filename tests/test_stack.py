import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.full_disk import full_disk
from tests.tiny import tiny_stack

from latentloom.files import digest_of, printable
from latentloom.layers.layer_set import LayerSet
from latentloom.models.untrusted import safetensors_header
from latentloom.stack import Stack, StackInfo
from latentloom.stack_folder import StageInfo
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import ClipRequest, seeded_generator

MEMBERS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "temporal/keyframes")
UNET = "unet/diffusion_pytorch_model.safetensors"


def clip(stack: Stack) -> torch.Tensor:
    request = ClipRequest(prompt="a lake by day", num_frames=3, height=32, width=64, num_inference_steps=2)
    return generate_keyframes(stack, request, generator=seeded_generator(0))


def test_prediction_makes_the_key_frames_of_a_stack_without_layers_for_them():
    both = tiny_stack(layer_set=LayerSet.driving().with_context(), sets=("keyframes", "prediction"))
    alone = both.without("temporal/keyframes")
    assert (both.keyframe_set, alone.keyframe_set) == ("keyframes", "prediction")
    assert both.temporal_layers("keyframes") is both.temporal["keyframes"]
    assert alone.temporal_layers("keyframes") is alone.keyframe_layers is both.temporal["prediction"]
    image = alone.without("temporal/prediction")
    assert image.keyframe_set is None and image.keyframe_layers is None
    with pytest.raises(ValueError, match="has no temporal/keyframes"):
        image.temporal_layers("keyframes")


def test_a_window_of_a_stage_has_its_own_steps_and_attends_as_far_as_in_training():
    info = tiny_stack().info
    clip = info.request("a road", num_frames=12)
    assert clip.attention_distance == 3
    window = StageInfo(num_frames=5, fps=(6.0,), num_inference_steps=2, strength=0.5, context_noise=30).window(clip)
    assert (window.num_frames, window.num_inference_steps, window.strength, window.context_noise) == (5, 2, 0.5, 30)
    assert window.attention_distance is None and window.prompt == "a road"
    assert StageInfo(num_frames=5, fps=(6.0,)).window(clip).num_inference_steps == clip.num_inference_steps
    with pytest.raises(ValueError, match="strength"):
        StageInfo(num_frames=5, fps=(6.0,), strength=0.0)


def test_members_can_be_left_out_and_put_back(stack, tmp_path):
    stack.save(tmp_path / "whole")
    fewer = Stack.load(tmp_path / "whole").without("temporal/keyframes", "decoder_temporal")
    assert "temporal/keyframes" not in fewer.members and fewer.keyframe_layers is None
    fewer.save(tmp_path / "fewer")
    assert not (tmp_path / "fewer" / "temporal").exists()
    again = fewer.replace(temporal={"keyframes": stack.keyframe_layers})
    assert "temporal/keyframes" in again.members


def sign(folder: Path) -> None:
    """Rewrite stack.json for the files as they are now: what a stranger who built the folder would do."""
    content = json.loads((folder / "stack.json").read_text())
    files = [path for name in MEMBERS for path in (folder / name).iterdir() if path.is_file()]
    content["members"] = {path.relative_to(folder).as_posix(): digest_of(path) for path in files}
    (folder / "stack.json").write_text(json.dumps(content))


def use_all_members(folder: Path | str) -> None:
    stack = Stack.load(folder)
    for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "temporal"):
        getattr(stack, name)


def refusal(folder: Path | str) -> str:
    """The one-line message with which the stack is refused, when opened or when its members load."""
    with pytest.raises(ValueError) as caught:
        use_all_members(folder)
    message = str(caught.value)
    assert printable(message) == message, "control characters or line breaks"
    return message


def test_a_saved_stack_makes_the_same_clip_bit_for_bit(stack, saved_stack_folder):
    loaded = Stack.load(saved_stack_folder)
    assert loaded.members == MEMBERS == stack.members
    assert loaded.info == stack.info
    assert torch.equal(clip(loaded), clip(stack))


@pytest.fixture
def loaded(monkeypatch):
    """The names of members in the order in which stacks load them."""
    names, load = [], Stack._load
    monkeypatch.setattr(Stack, "_load", lambda self, name, folder: (names.append(name), load(self, name, folder))[1])
    return names


def test_networks_load_when_first_used(saved_stack_folder, loaded):
    stack = Stack.load(saved_stack_folder)
    stack.describe()
    assert loaded == ["tokenizer", "scheduler"]
    assert stack.vae is stack.vae
    assert stack.unet is stack.unet
    assert loaded == ["tokenizer", "scheduler", "vae", "unet"]


def test_of_several_sets_of_temporal_layers_only_the_one_asked_for_loads(stack, tmp_path, loaded):
    stack.replace(temporal={"interpolation": stack.keyframe_layers}).save(tmp_path / "two")
    two = Stack.load(tmp_path / "two")
    assert two.members[-2:] == ("temporal/interpolation", "temporal/keyframes")
    assert two.keyframe_layers is two.temporal_layers("keyframes")
    assert loaded[2:] == ["temporal/keyframes"]
    assert list(two.temporal) == ["interpolation", "keyframes"]
    with pytest.raises(ValueError, match="has no temporal/prediction; it has unet"):
        two.temporal_layers("prediction")


def test_a_stack_that_is_not_whole_is_refused_before_diffusers_and_transformers_are_imported(stack_folder):
    (stack_folder / UNET).write_bytes(b"")
    code = (
        "import sys; from latentloom.cli.app import run\n"
        f"code = run(['generate', {str(stack_folder)!r}, 'a lake', '-o', {str(stack_folder / 'out.mp4')!r}])\n"
        "print(code, sorted({'diffusers', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "2 []\n"
    assert UNET in done.stderr


def test_weights_stored_as_float16_are_widened(tmp_path, stack):
    stack.save(tmp_path / "half", dtype=torch.float16)
    header = safetensors_header(tmp_path / "half" / UNET)
    assert {entry["dtype"] for entry in header.values()} == {"F16"}
    loaded = Stack.load(tmp_path / "half")
    networks = [loaded.unet, loaded.vae, loaded.text_encoder, loaded.keyframe_layers]
    assert {parameter.dtype for network in networks for parameter in network.parameters()} == {torch.float32}
    assert {p.dtype for p in Stack.load(tmp_path / "half", dtype=torch.bfloat16).unet.parameters()} == {torch.bfloat16}
    assert next(stack.unet.parameters()).dtype == torch.float32, "saving changed the stack"


def test_the_folder_names_no_path_of_the_machine_it_was_made_on(saved_stack_folder, tmp_path):
    Stack.load(saved_stack_folder).replace(unet=Stack.load(saved_stack_folder).unet).save(tmp_path / "copy")
    texts = [path.read_text() for path in (tmp_path / "copy").rglob("*") if path.suffix in {".json", ".md"}]
    assert len(texts) >= 8
    assert not any(str(saved_stack_folder.parent) in text for text in texts)


def test_untouched_members_are_copied_as_their_files_lie(tmp_path, stack):
    stack.save(tmp_path / "half", dtype=torch.float16)
    half = Stack.load(tmp_path / "half")
    half.unet  # noqa: B018 (loaded, in float32, but not changed)
    layers = tiny_stack().keyframe_layers
    half.replace(temporal={"keyframes": layers}).save(tmp_path / "new")
    new = Stack.load(tmp_path / "new")
    same = {name for name in new.checksums if new.checksums[name] == half.checksums.get(name)}
    assert set(new.checksums) - same == {"temporal/keyframes/diffusion_pytorch_model.safetensors"}
    assert all(torch.equal(a, b) for a, b in zip(new.keyframe_layers.parameters(), layers.parameters(), strict=True))


def test_a_plain_diffusers_folder_is_an_image_model(stack_folder, tmp_path):
    shutil.rmtree(stack_folder / "temporal")
    (stack_folder / "stack.json").unlink()
    (stack_folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({}))
    stack = Stack.load(stack_folder)
    assert stack.keyframe_layers is None
    assert stack.info.size == (32, 64)
    assert stack.unet.config.in_channels == 8
    stack.save(tmp_path / "copy")
    assert not (tmp_path / "copy" / "unet" / "diffusion_pytorch_model.bin").exists()


def test_a_folder_that_is_not_empty_is_never_written_over(tmp_path, stack):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not empty"):
        stack.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_save_that_fails_leaves_nothing_behind(tmp_path):
    stack = tiny_stack()
    with torch.no_grad():
        next(stack.keyframe_layers.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(ValueError, match="1 tensors hold NaN or infinity"):
        stack.save(tmp_path / "broken")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(stack, tmp_path):
    with full_disk(), pytest.raises(OSError, match="File too large"):
        stack.save(tmp_path / "stack")
    assert list(tmp_path.iterdir()) == []


def test_a_stack_without_an_image_member_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="has no unet"):
        Stack(tiny_stack().info).save(tmp_path / "stack")


def test_describe_counts_the_parameters_of_memory_and_folder_alike(stack, saved_stack_folder):
    ours, theirs = stack.describe()["members"], Stack.load(saved_stack_folder).describe()["members"]
    assert ours.keys() == theirs.keys() == set(MEMBERS)
    assert ours["unet"]["parameters"] == theirs["unet"]["parameters"] == sum(p.numel() for p in stack.unet.parameters())


def test_an_unknown_name_is_refused(tmp_path):
    assert "no folder and no known stack" in refusal("no-such-stack")
    assert "neither stack.json nor model_index.json" in refusal(tmp_path)


@pytest.mark.parametrize("name", [*MEMBERS[:5], UNET, "unet/config.json", "scheduler/scheduler_config.json"])
def test_a_missing_member_is_refused_by_its_name(stack_folder, name):
    target = stack_folder / name
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert f"{name} is missing" in refusal(stack_folder)


def test_missing_temporal_layers_are_noticed_by_the_list_of_files(stack_folder):
    shutil.rmtree(stack_folder / "temporal")
    assert "temporal/keyframes/config.json is listed in stack.json but missing" in refusal(stack_folder)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
@pytest.mark.parametrize("name", [UNET, "text_encoder/model.safetensors", "temporal/keyframes/" + UNET.split("/")[1]])
def test_truncated_weights_are_refused_even_when_the_checksum_fits(stack_folder, name, keep):
    path = stack_folder / name
    path.write_bytes(path.read_bytes()[:keep])
    sign(stack_folder)
    message = refusal(stack_folder)
    assert name in message
    assert "truncated" in message


def test_a_pickle_is_named_and_never_opened(stack_folder):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(stack_folder / "executed"),)

    path = stack_folder / UNET
    path.unlink()
    path.with_name("diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    sign(stack_folder)
    assert "diffusion_pytorch_model.bin is a pickle, which is never opened" in refusal(stack_folder)
    assert not (stack_folder / "executed").exists()


def test_a_pickle_under_the_name_of_safetensors_is_refused(stack_folder):
    (stack_folder / UNET).write_bytes(pickle.dumps({"a": torch.zeros(3)}))
    sign(stack_folder)
    assert "no readable safetensors file" in refusal(stack_folder)


@pytest.mark.parametrize("member", ["unet", "vae", "text_encoder", "temporal/keyframes"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_with_the_tensors_name(stack_folder, member, value):
    path = next((stack_folder / member).glob("*.safetensors"))
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] = value
    save_file(tensors, path, metadata={"format": "pt"})
    sign(stack_folder)
    message = refusal(stack_folder)
    assert member in message
    assert name.split(".")[-1] in message


@pytest.mark.parametrize("member", ["unet", "vae", "text_encoder", "temporal/keyframes"])
@pytest.mark.parametrize("change", ["missing", "unexpected", "mismatched"])
def test_tensors_that_do_not_fit_the_config_are_refused(stack_folder, member, change):
    path = next((stack_folder / member).glob("*.safetensors"))
    tensors = load_file(path)
    name = sorted(tensors)[0]
    if change == "missing":
        del tensors[name]
    elif change == "unexpected":
        tensors["stranger"] = torch.zeros(3)
    else:
        tensors[name] = torch.zeros(*tensors[name].shape, 2)
    save_file(tensors, path, metadata={"format": "pt"})
    sign(stack_folder)
    assert member in refusal(stack_folder)


def test_one_changed_byte_is_noticed(stack_folder):
    path = stack_folder / UNET
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert f"{UNET} differs from its checksum" in refusal(stack_folder)


def test_a_tensor_named_twice_is_refused(stack_folder):
    path = stack_folder / UNET
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].decode().rstrip()
    first = header.index('"', 1)
    entry = '"twice":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
    header = header[:first] + entry * 2 + header[first:]
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + content[8 + length :])
    sign(stack_folder)
    assert "the name 'twice' occurs twice" in refusal(stack_folder)


@pytest.mark.parametrize("name", ["adapter_config.json", "modeling.py"])
def test_files_that_lead_a_library_elsewhere_are_refused(stack_folder, name):
    (stack_folder / "text_encoder" / name).write_text("{}")
    sign(stack_folder)
    assert f"text_encoder/{name} is not read from a model folder" in refusal(stack_folder)


def test_a_link_out_of_the_folder_is_refused(stack_folder, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (stack_folder / "unet" / "config.json").unlink()
    (stack_folder / "unet" / "config.json").symlink_to(secret)
    sign(stack_folder)
    assert "unet/config.json leads outside its folder" in refusal(stack_folder)


def test_names_in_stack_json_that_leave_the_folder_are_not_followed(stack_folder, monkeypatch):
    content = json.loads((stack_folder / "stack.json").read_text())
    content["members"]["../../secret"] = "0"
    (stack_folder / "stack.json").write_text(json.dumps(content))
    assert "listed in stack.json but missing" in refusal(stack_folder)


@pytest.mark.parametrize(
    ("member", "file", "key", "value", "message"),
    [
        ("tokenizer", "tokenizer_config.json", "tokenizer_class", "EvilTokenizer", "EvilTokenizer is none of"),
        ("tokenizer", "tokenizer_config.json", "model_max_length", 10**30, "model_max_length from 3"),
        ("scheduler", "scheduler_config.json", "_class_name", "DiffusionPipeline", "is no scheduler of diffusers"),
        ("scheduler", "scheduler_config.json", "_class_name", "utils.os", "is no scheduler of diffusers"),
        ("scheduler", "scheduler_config.json", "num_train_timesteps", 10**12, "num_train_timesteps must be"),
        ("unet", "config.json", "block_out_channels", "many", "cannot be loaded"),
        ("text_encoder", "config.json", "hidden_size", -1, "cannot be loaded"),
    ],
)
def test_a_config_with_senseless_values_is_refused(stack_folder, member, file, key, value, message):
    path = stack_folder / member / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    sign(stack_folder)
    refused = refusal(stack_folder)
    assert message in refused
    assert member in refused


@pytest.mark.parametrize("content", ["", "[]", "{", '{"name": 1}', '{"a": 1, "a": 2}', "[" * 100_000, "\x00\xff"])
def test_a_damaged_stack_json_is_refused_by_name(stack_folder, content):
    (stack_folder / "stack.json").write_bytes(content.encode("latin-1"))
    assert "stack.json" in refusal(stack_folder)


@pytest.mark.parametrize(
    ("key", "value"), [("size", [32]), ("size", [0, 64]), ("fps", "fast"), ("num_frames", -1), ("name", None)]
)
def test_a_stack_json_with_senseless_defaults_is_refused_by_name(stack_folder, key, value):
    path = stack_folder / "stack.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    assert "stack.json" in refusal(stack_folder)


def test_control_characters_in_a_name_do_not_reach_the_terminal(tmp_path):
    assert "\\x1b[31m" in refusal(f"{tmp_path}/\x1b[31mred\nline")


def test_info_gives_requests_with_its_defaults():
    info = StackInfo(name="x", size=(32, 64), num_frames=4, fps=6.0, guidance_scale=2.0, num_inference_steps=3)
    request = info.request("a road", num_frames=9)
    assert (request.num_frames, request.height, request.width, request.fps) == (9, 32, 64, 6.0)
