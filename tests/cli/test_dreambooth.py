"""DreamBooth at tiny size: what learns, what stays as it was, and what reads which text."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.command import refusal
from tests.stable_diffusion import saved
from tests.tiny import moving_layers, tiny_stack

from latentloom.adapted import with_lora
from latentloom.data.video import read_video
from latentloom.layers.layer_set import LayerSet
from latentloom.models.text import encode_text, learn_words, text_encoder, train_tokenizer
from latentloom.stack import Stack
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import seeded_generator

TINY = ("--recipe", "tiny", "--dtype", "fp32", "--threads", 1, "--steps", 3)
WEIGHTS = "temporal/keyframes/diffusion_pytorch_model.safetensors"


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (50 + number, 40), (200, 30 * number, 20)).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def words(photos: Path, stack: Path, output: Path, *more) -> tuple:
    prompts = ("--prompt", "a sks road", "--class-prompt", "a road", "--class-images", 10)
    return ("train", "dreambooth", photos, "--stack", stack, "-o", output, *prompts, *TINY, *more)


def test_the_image_model_learns_and_temporal_layers_keep_their_bytes(latentloom, photos, tmp_path):
    tiny_stack(layer_set=LayerSet.text()).save(tmp_path / "stack")
    result = latentloom(*words(photos, tmp_path / "stack", tmp_path / "run"))
    assert result.code == 0, result.err
    assert "new words: sks" in result.out and "as they were: temporal/keyframes" in result.out
    before, made = Stack.load(tmp_path / "stack"), Stack.load(tmp_path / "run" / "stack")
    assert (tmp_path / "run" / "stack" / WEIGHTS).read_bytes() == (tmp_path / "stack" / WEIGHTS).read_bytes()
    pairs = zip(before.unet.parameters(), made.unet.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs)
    assert made.temporal_text_encoder is not None
    known = "a road at night"
    texts = [
        encode_text(made.tokenizer, encoder, [known]) for encoder in (made.text_encoder, made.temporal_text_encoder)
    ]
    assert torch.equal(texts[1], encode_text(before.tokenizer, before.text_encoder, [known])), "the one of before"
    assert not torch.equal(*texts)
    request = made.info.request("a sks road", num_inference_steps=2)

    def clip(stack: Stack) -> torch.Tensor:
        return generate_keyframes(stack, request, generator=seeded_generator(0))

    alone = made.without("temporal_text_encoder")
    assert not torch.allclose(clip(made), clip(alone), atol=1e-6), "two texts that differ change the clip"
    assert torch.equal(clip(made.replace(temporal_text_encoder=made.text_encoder)), clip(alone))
    again = latentloom(*words(photos, tmp_path / "stack", tmp_path / "run"))
    assert again.code == 0 and "done" in again.out


def test_layers_that_read_no_text_need_no_second_encoder(latentloom, photos, tmp_path):
    tiny_stack(layer_set=LayerSet.driving()).save(tmp_path / "stack")
    assert latentloom(*words(photos, tmp_path / "stack", tmp_path / "run")).code == 0
    assert "temporal_text_encoder" not in Stack.load(tmp_path / "run" / "stack").members


def test_stable_diffusion_learns_a_subject_with_words_in_pieces(latentloom, photos, tmp_path):
    saved("1.5", tmp_path / "plain")
    image = Stack.load(tmp_path / "plain")
    image.replace(temporal={"keyframes": moving_layers(image.unet)}).save(tmp_path / "stack")
    result = latentloom(*words(photos, tmp_path / "stack", tmp_path / "run"))
    assert result.code == 0, result.err
    assert "new words" not in result.out
    made = Stack.load(tmp_path / "run" / "stack")
    assert len(made.tokenizer) == len(image.tokenizer) and made.temporal_text_encoder is not None


def test_a_killed_run_goes_on_and_another_is_refused(latentloom, photos, tmp_path, monkeypatch):
    from latentloom.training.loop import Loop

    tiny_stack(layer_set=LayerSet.driving()).save(tmp_path / "stack")
    assert latentloom(*words(photos, tmp_path / "stack", tmp_path / "whole")).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert latentloom(*words(photos, tmp_path / "stack", tmp_path / "run")).code == 130
    made = (tmp_path / "run" / "pictures" / "manifest.jsonl").read_bytes()
    assert latentloom(*words(photos, tmp_path / "stack", tmp_path / "run")).code == 0
    assert (tmp_path / "run" / "pictures" / "manifest.jsonl").read_bytes() == made, "pictures were not made twice"
    unets = [
        (tmp_path / name / "stack/unet/diffusion_pytorch_model.safetensors").read_bytes() for name in ("run", "whole")
    ]
    assert unets[0] == unets[1]
    (photos / "0.png").unlink()
    assert "prepared with other settings" in refusal(latentloom(*words(photos, tmp_path / "stack", tmp_path / "run")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--class-prompt", "a sks road"), "two sentences"),
        (("--prompt", " "), "two sentences"),
        (("--class-images", 0), "expected at least 1"),
    ],
)
def test_what_cannot_be_learned_is_refused(latentloom, photos, tmp_path, change, message):
    assert message in refusal(latentloom(*words(photos, tmp_path / "stack", tmp_path / "run", *change)))


def test_a_folder_without_pictures_is_refused(latentloom, tmp_path):
    tiny_stack().save(tmp_path / "stack")
    (tmp_path / "none").mkdir()
    assert "holds no pictures" in refusal(latentloom(*words(tmp_path / "none", tmp_path / "stack", tmp_path / "run")))


def test_new_words_begin_as_the_mean_of_the_known_and_change_no_other():
    tokenizer = train_tokenizer(["a road by day", "a lake"])
    encoder = text_encoder(len(tokenizer), width=32)
    before = encode_text(tokenizer, encoder, ["a road"])
    words_before = encoder.get_input_embeddings().weight.clone()
    assert learn_words(tokenizer, encoder, ["a sks road", "a sks lake"]) == ["sks"]
    assert torch.equal(encode_text(tokenizer, encoder, ["a road"]), before)
    assert not torch.equal(encode_text(tokenizer, encoder, ["a sks road"]), before)
    torch.testing.assert_close(encoder.get_input_embeddings().weight[-1], words_before[4:].mean(0))
    assert learn_words(tokenizer, encoder, ["a sks road"]) == []


def test_a_lora_is_a_small_file_and_the_stack_that_holds_it(latentloom, photos, tmp_path):
    saved("1.5", tmp_path / "plain")
    image = Stack.load(tmp_path / "plain")
    image.replace(temporal={"keyframes": moving_layers(image.unet)}).save(tmp_path / "stack")
    more = ("--lora", 2, "--learning-rate", 0.01)
    result = latentloom(*words(photos, tmp_path / "stack", tmp_path / "run", *more))
    assert result.code == 0, result.err
    file = tmp_path / "run" / "lora" / "pytorch_lora_weights.safetensors"
    assert file.stat().st_size < (tmp_path / "plain" / "unet" / WEIGHTS.rpartition("/")[2]).stat().st_size / 5
    before, made = Stack.load(tmp_path / "stack"), Stack.load(tmp_path / "run" / "stack")
    assert (tmp_path / "run" / "stack" / WEIGHTS).read_bytes() == (tmp_path / "stack" / WEIGHTS).read_bytes()
    assert set(made.unet.state_dict()) == set(before.unet.state_dict()), "stock again"
    changed = {name for name, x in made.unet.state_dict().items() if not torch.equal(x, before.unet.state_dict()[name])}
    assert changed and all(".to_" in name for name in changed)
    assert made.temporal_text_encoder is not None
    loaded = with_lora(before, file)
    for one, other in ((made.unet, loaded.unet), (made.text_encoder, loaded.text_encoder)):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    assert loaded.temporal_text_encoder is before.text_encoder, "what the temporal layers were trained with"


def test_generate_takes_a_lora_and_its_receipt_names_it(latentloom, photos, tmp_path):
    tiny_stack(layer_set=LayerSet.driving()).save(tmp_path / "stack")
    more = ("--lora", 2, "--learning-rate", 0.05, "--prompt", "a road at night", "--class-prompt", "a road")
    assert latentloom(*words(photos, tmp_path / "stack", tmp_path / "run", *more)).code == 0
    file = tmp_path / "run" / "lora" / "pytorch_lora_weights.safetensors"
    made = []
    for number, lora in enumerate(((), ("--lora", file), ("--lora", f"{file}@0"), ("--lora", f"{file}@0.5"))):
        output = tmp_path / f"{number}.mp4"
        result = latentloom("generate", tmp_path / "stack", "a road", "-o", output, "--dtype", "fp32", *lora)
        assert result.code == 0, result.err
        made.append(read_video(output).frames)
    assert torch.equal(made[0], made[2]) and not torch.equal(made[0], made[1]) and not torch.equal(made[1], made[3])
    names = json.loads((tmp_path / "3.json").read_text())["stack"]["members"]
    assert "lora-1/pytorch_lora_weights.safetensors@0.5" in names and "unet/config.json" in names


@pytest.mark.parametrize(
    ("lora", "message"), [("none.safetensors", "no such LoRA"), ("x@much", "FILE@SCALE"), ("photos/0.png", "no .safe")]
)
def test_a_lora_that_is_none_is_refused(latentloom, photos, tmp_path, lora, message):
    tiny_stack().save(tmp_path / "stack")
    words = ("generate", tmp_path / "stack", "a road", "-o", tmp_path / "out.mp4", "--lora", tmp_path / lora)
    assert message in refusal(latentloom(*words))
