"""Temporal layers on another image model: the same bytes, refused where they do not fit, two text encoders."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.command import refusal
from tests.tiny import moving_layers, tiny_stack, tiny_unet

from latentloom.layers.layer_set import LayerSet
from latentloom.models.text import encode_text, learn_words, text_encoder, train_tokenizer
from latentloom.pipeline import VideoLDMPipeline
from latentloom.stack import Stack
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import ClipRequest, seeded_generator
from latentloom.transplant import transplanted

CLIP = ClipRequest(
    prompt="a road at night", num_frames=3, height=32, width=64, num_inference_steps=2, guidance_scale=3.0
)
WEIGHTS = "temporal/keyframes/diffusion_pytorch_model.safetensors"


def clip_of(stack: Stack) -> torch.Tensor:
    return generate_keyframes(stack, CLIP, generator=seeded_generator(0))


def tuned_encoder(stack: Stack, seed: int):
    """As DreamBooth leaves it: the same words, other weights."""
    torch.manual_seed(seed)
    config = stack.text_encoder.config
    sizes = {"max_length": config.max_position_embeddings, "width": config.hidden_size}
    return text_encoder(config.vocab_size, num_layers=config.num_hidden_layers, num_heads=4, **sizes).eval()


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A video model whose temporal layers read text, stored in half precision."""
    folder = tmp_path_factory.mktemp("transplant") / "source"
    stack = tiny_stack(layer_set=LayerSet.text())
    stack.replace(replace(stack.info, num_frames=6, fps=3.0)).save(folder, dtype=torch.float16)
    return folder


def test_layers_move_byte_for_byte_with_what_they_were_trained_for(latentloom, source, tmp_path):
    other = tiny_stack(layer_set=LayerSet.text()).without("temporal/keyframes").replace(unet=tiny_unet(seed=7))
    other.save(tmp_path / "other")
    result = latentloom("transplant", source, "--onto", tmp_path / "other", "-o", tmp_path / "made")
    assert result.code == 0, result.err
    made = Stack.load(tmp_path / "made")
    assert (tmp_path / "made" / WEIGHTS).read_bytes() == (source / WEIGHTS).read_bytes()
    assert all(torch.equal(a, b) for a, b in zip(made.unet.parameters(), tiny_unet(seed=7).parameters(), strict=True))
    assert (made.info.num_frames, made.info.fps) == (6, 3.0)
    assert not torch.allclose(clip_of(made), clip_of(Stack.load(source)), atol=1e-2)


def test_the_first_site_that_differs_is_named(latentloom, source, tmp_path):
    other = tiny_stack(layer_set=LayerSet.text()).without("temporal/keyframes")
    other.replace(unet=tiny_unet(heads=2)).save(tmp_path / "other")
    command = ("transplant", source, "--onto", tmp_path / "other", "-o", tmp_path / "made")
    said = refusal(latentloom(*command))
    assert "down_blocks.0.attentions.0.transformer_blocks.0" in said and "do not fit" in said
    assert not (tmp_path / "made").exists()
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine").touch()
    assert "exists" in refusal(latentloom(*command))
    assert "without temporal layers" in refusal(
        latentloom("transplant", tmp_path / "other", "--onto", source, "-o", tmp_path / "none")
    )


def test_a_tuned_text_encoder_is_read_by_space_and_the_original_by_time(source, tmp_path):
    original = Stack.load(source)
    tuned = original.replace(text_encoder=tuned_encoder(original, seed=5)).without("temporal/keyframes")
    made = transplanted(original, tuned)
    assert made.temporal_text_encoder is not None
    made.save(tmp_path / "made")
    loaded = Stack.load(tmp_path / "made")
    assert "temporal_text_encoder" in loaded.members
    both = clip_of(loaded)
    torch.testing.assert_close(both, clip_of(made))
    one = clip_of(loaded.without("temporal_text_encoder"))
    assert not torch.allclose(both, one, atol=1e-4), "the temporal cross-attention reads the original encoder"
    same = transplanted(original, original.without("temporal/keyframes"))
    assert same.temporal_text_encoder is None
    twice = loaded.replace(temporal_text_encoder=loaded.text_encoder)
    assert torch.equal(clip_of(twice), one), "two equal encoders are one"
    pipeline = VideoLDMPipeline.from_pretrained(tmp_path / "made")
    pipeline.set_progress_bar_config(disable=True)
    settings = {"num_frames": 3, "num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "latent"}
    frames = pipeline(CLIP.prompt, generator=seeded_generator(0), height=32, width=64, **settings).frames
    torch.testing.assert_close(frames, both)
    pipeline.save_pretrained(tmp_path / "again")
    assert "temporal_text_encoder" in Stack.load(tmp_path / "again").members


def test_layers_without_text_need_no_second_encoder(tmp_path):
    driving = tiny_stack(layer_set=LayerSet.driving())
    driving = driving.replace(temporal={"keyframes": moving_layers(driving.unet, LayerSet.driving())})
    other = driving.replace(text_encoder=tuned_encoder(driving, seed=5)).without("temporal/keyframes")
    assert transplanted(driving, other).temporal_text_encoder is None


def test_a_model_that_has_learned_further_words_takes_the_layers_and_reads_the_known_ones_as_before(source, tmp_path):
    original = Stack.load(source)
    learned = Stack.load(source)
    encoder = copy.deepcopy(learned.text_encoder)
    assert learn_words(learned.tokenizer, encoder, ["a sks road"]) == ["sks"]
    with torch.no_grad():
        encoder.get_input_embeddings().weight.add_(0.1)
    made = transplanted(original, learned.replace(text_encoder=encoder).without("temporal/keyframes"))
    assert made.temporal_text_encoder is not None
    texts = [
        encode_text(made.tokenizer, made.temporal_text_encoder, [CLIP.prompt]),
        encode_text(original.tokenizer, original.text_encoder, [CLIP.prompt]),
    ]
    assert torch.equal(*texts)
    assert clip_of(made).isfinite().all()
    made.save(tmp_path / "made")
    assert Stack.load(tmp_path / "made").temporal_text_encoder is not None


def test_words_under_other_numbers_are_refused(source):
    original = Stack.load(source)
    other = original.replace(
        tokenizer=train_tokenizer(["other words for a lake"], max_length=12), text_encoder=tuned_encoder(original, 5)
    )
    with pytest.raises(ValueError, match="its words are not those of"):
        transplanted(original, other)
