"""Model folders that are something else than a stack of ours, and stacks made of parts of them."""

import json

import pytest
from tests.stable_diffusion import saved, upscaler
from tests.tiny import tiny_stack

from latentloom.align import TemporalLayers
from latentloom.layers.layer_set import LayerSet
from latentloom.models.upsampler import PixelUpsampler
from latentloom.stack import Stack


def test_a_model_of_two_text_encoders_is_refused_by_name(tmp_path):
    saved("2.1", tmp_path / "xl")
    config = tmp_path / "xl" / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "addition_embed_type": "text_time"}))
    with pytest.raises(ValueError, match=r"Stable Diffusion XL .* take a 1\.x or 2\.x"):
        Stack.load(tmp_path / "xl")


def test_what_went_into_the_weights_is_named_whatever_is_replaced_afterwards(tmp_path):
    tiny_stack().save(tmp_path / "stack")
    stack = Stack.load(tmp_path / "stack")
    made = stack.replace(unet=stack.unet).made_of({**stack.digests, "lora-1/a.safetensors@1": "ab"})
    for further in (made.replace(), made.without("temporal/keyframes"), made.taking(stack, {"vae": "vae"})):
        assert further.digests["lora-1/a.safetensors@1"] == "ab" and "unet/config.json" in further.digests


def test_an_upsampler_of_another_kind_takes_the_place_of_the_one_before_and_of_its_layers(tmp_path):
    upscaler().save_pretrained(tmp_path / "x4")
    stack = tiny_stack().with_upsampler_of(Stack.load(tmp_path / "x4"))
    layers = TemporalLayers.for_network(stack.upsampler.unet, LayerSet.text())
    pixels = PixelUpsampler(2, (8,), groups=2)
    changed = stack.replace(upsampler_temporal=layers).replace(upsampler=pixels)
    assert changed.upsampler is pixels and changed.upsampler_layers is None
    assert not any(name.startswith("upsampler/") for name in changed.members)
