"""Scene conditioning at tiny size: what learns, what stays, what a start frame makes of it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentloom.align import TemporalLayers
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.data.scenes import save_boxes
from latentloom.layers.layer_set import LayerSet
from latentloom.models.image_ldm import ImageLDM
from latentloom.models.scenes import SceneEncoder
from latentloom.recipes import tiny
from latentloom.scenes import LABELS, UNTOLD, SceneTensors
from latentloom.stack import Stack
from latentloom.stack_folder import StackInfo
from latentloom.stages.request import ClipRequest, seeded_generator
from latentloom.stages.start_frame import SceneConditions, generate_start_frame
from latentloom.training.order import Draw
from latentloom.training.scenes import SceneImages, train_scenes


def bits(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(before: dict[str, Tensor], module: torch.nn.Module) -> list[str]:
    return [name for name, tensor in module.state_dict().items() if torch.equal(before[name], tensor)]


@pytest.fixture
def boxed(dataset: Dataset, tmp_path: Path) -> Dataset:
    """The dataset with boxes of its moving square for the first clip; the second is an empty night."""
    shutil.copytree(dataset.root, tmp_path / "boxed")
    manifest = tmp_path / "boxed" / "manifest.jsonl"
    records = [json.loads(line) for line in manifest.read_text().splitlines()]
    for record, (night, vehicles) in zip(records, [(0.0, 1.0), (1.0, 0.0)], strict=False):
        record["labels"] |= {"night": [night] * 12, "vehicles": [vehicles] * 12}
    manifest.write_text("".join(json.dumps(record) + "\n" for record in records))
    copy = Dataset.load(tmp_path / "boxed")
    square = [[[4 * t / 64, 8 / 32, (4 * t + 8) / 64, 16 / 32, 0.0]] for t in range(12)]
    save_boxes(copy.root, "clip-0", square)
    save_boxes(copy.root, "clip-1", [[] for _ in range(12)])
    return copy


def parts(model: ImageLDM) -> tuple[SceneEncoder, TemporalLayers]:
    torch.manual_seed(0)
    width = model.unet.config["cross_attention_dim"]
    return SceneEncoder(width, len(LABELS)), TemporalLayers.for_network(model.unet, LayerSet.scene(width=width))


def test_encoder_and_layers_learn_and_the_image_model_stays_bit_equal(
    boxed: Dataset, cache: LatentCache, image_model: ImageLDM, tmp_path: Path
) -> None:
    encoder, layers = parts(image_model)
    before = bits(image_model.unet), bits(encoder), bits(layers)
    config = tiny.scenes(steps=6)
    config = replace(config, loop=replace(config.loop, preview_steps=6))
    train_scenes(config, encoder, layers, image_model, boxed, cache, tmp_path / "run")
    assert len(unchanged(before[0], image_model.unet)) == len(before[0])
    assert unchanged(before[1], encoder) == []
    still = unchanged(before[2], layers)
    assert still == []
    assert len(list((tmp_path / "run" / "samples").glob("*.png"))) == 1
    assert not any(module._forward_hooks for module in image_model.unet.modules())
    saved = SceneEncoder.from_pretrained(tmp_path / "run" / "final" / "encoder")
    assert unchanged(bits(encoder), saved) == list(encoder.state_dict())


def test_only_frames_whose_boxes_are_known_are_drawn(boxed: Dataset, dataset: Dataset, cache: LatentCache) -> None:
    told = replace(tiny.scenes(), caption_dropout=0.0, boxes_dropout=0.0, number_dropout=0.0)
    items = SceneImages(boxed, cache, told)
    assert len(items) == 24
    item = items[Draw(3, 0)]
    assert item["latents"].shape == (1, 4, 4, 8)
    torch.testing.assert_close(item["scene"]["corners"][0], torch.tensor([12 / 64, 0.25, 20 / 64, 0.5]))
    assert item["scene"]["labels"].tolist()[:2] == [0, -1] and item["scene"]["numbers"].tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="has boxes"):
        SceneImages(dataset, cache, told)
    untold = SceneImages(boxed, cache, replace(told, caption_dropout=1.0, boxes_dropout=1.0))[Draw(3, 0)]
    assert untold["caption"] == "" and set(untold["scene"]["labels"].tolist()) == {UNTOLD}
    assert torch.equal(untold["covered"], item["covered"]), "a vehicle that was not told weighs as much"
    assert item["covered"].nonzero().tolist() == [[1, 1], [1, 2]]


def test_a_start_frame_follows_its_boxes_and_without_them_is_the_image_models(
    image_model: ImageLDM, tmp_path: Path
) -> None:
    info = StackInfo(name="t", size=(32, 64), num_frames=4, fps=8.0, guidance_scale=2.0, num_inference_steps=2)
    networks = {name: getattr(image_model, name) for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")}
    encoder, layers = parts(image_model)
    with torch.no_grad():
        for parameter in [*layers.parameters(), *encoder.parameters()]:
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    Stack(info, **networks, scene=(encoder, layers)).save(tmp_path / "stack")
    stack = Stack.load(tmp_path / "stack")
    assert {"scene/encoder", "scene/layers"} <= set(stack.members) and stack.scene is not None
    request = ClipRequest(prompt="a bridge", num_frames=1, height=32, width=64, num_inference_steps=2)

    def frame(*rows: list[float], scale: float = 2.0) -> Tensor:
        assert stack.scene is not None
        scene = SceneConditions(scene=SceneTensors.of(rows), encoder=stack.scene[0], layers=stack.scene[1], scale=scale)
        return generate_start_frame(stack, request, scene=scene, generator=seeded_generator(0))

    left, right = [0.1, 0.4, 0.3, 0.6, 0.0], [0.7, 0.4, 0.9, 0.6, 0.0]
    assert not torch.allclose(frame(left), frame(right), atol=1e-3)
    assert not torch.allclose(frame(left), frame(left, scale=5.0), atol=1e-3)
    assert not torch.allclose(frame(), frame(scale=5.0), atol=1e-3), "an empty road is asked for, too"
    before = generate_start_frame(stack, request, generator=seeded_generator(0))
    frame(left)
    assert torch.equal(generate_start_frame(stack, request, generator=seeded_generator(0)), before)
    with pytest.raises(ValueError, match="scene_guidance"):
        frame(left, scale=-1.0)
