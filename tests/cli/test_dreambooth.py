"""DreamBooth at tiny size: what learns, what stays as it was, and what reads which text."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.command import refusal
from tests.stable_diffusion import saved
from tests.tiny import moving_layers, tiny_stack

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
