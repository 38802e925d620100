"""Weights as diffusers and transformers lay them out: shards, variants; and what is refused of them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.tiny import tiny_stack, tiny_unet

from latentloom.models.weights import DIFFUSERS, TRANSFORMERS, Weights, check_weights
from latentloom.stack import Stack


@pytest.fixture(scope="module")
def sharded(tmp_path_factory) -> Path:
    """UNet and text encoder in several files each, as their libraries write large ones."""
    folder = tmp_path_factory.mktemp("weights") / "stack"
    stack = tiny_stack()
    stack.save(folder)
    for name, network in (("unet", stack.unet), ("text_encoder", stack.text_encoder)):
        shutil.rmtree(folder / name)
        network.save_pretrained(folder / name, max_shard_size="30KB")
    (folder / "stack.json").unlink()
    return folder


@pytest.fixture
def copied(sharded, tmp_path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "copy"))


def test_shards_load_with_every_tensor_bit_equal(sharded):
    loaded, expected = Stack.load(sharded), tiny_stack()
    for name in ("unet", "text_encoder"):
        assert len(list((sharded / name).glob("*-of-*.safetensors"))) > 1
        tensors = getattr(expected, name).state_dict()
        assert all(torch.equal(value, tensors[key]) for key, value in getattr(loaded, name).state_dict().items())
    parameters = loaded.describe()["members"]["unet"]["parameters"]
    assert parameters == sum(p.numel() for p in expected.unet.parameters())


def test_what_was_sharded_is_saved_and_loads_again(sharded, tmp_path):
    Stack.load(sharded).save(tmp_path / "saved")
    again = Stack.load(tmp_path / "saved")
    assert all(torch.equal(a, b) for a, b in zip(again.unet.parameters(), tiny_unet().parameters(), strict=True))


def test_a_variant_alone_is_taken_and_the_plain_weights_count_more(copied):
    unet = tiny_unet(seed=3)
    shutil.rmtree(copied / "unet")
    unet.half().save_pretrained(copied / "unet", variant="fp16")
    loaded = Stack.load(copied).unet
    assert loaded.dtype == torch.float32
    assert all(torch.equal(a, b.float()) for a, b in zip(loaded.parameters(), unet.parameters(), strict=True))
    plain = tiny_unet(seed=4)
    plain.save_pretrained(copied / "unet")
    assert Weights.find(copied / "unet", DIFFUSERS).variant is None
    assert all(torch.equal(a, b) for a, b in zip(Stack.load(copied).unet.parameters(), plain.parameters(), strict=True))


def test_a_snapshot_of_the_hub_is_links_into_its_own_cache(copied, tmp_path):
    repository = tmp_path / "models--someone--model"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / "abc"
    for number, path in enumerate(path for path in sorted(copied.rglob("*")) if path.is_file()):
        link = snapshot / path.relative_to(copied)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, repository / "blobs" / str(number))
        link.symlink_to(repository / "blobs" / str(number))
    assert Stack.load(snapshot).unet.dtype == torch.float32


def _index(copied: Path) -> Path:
    return next((copied / "unet").glob("*.index.json"))


def _rewritten(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_indices_that_lead_astray_are_refused(copied):
    index, first = _index(copied), sorted((copied / "unet").glob("*-of-*"))[0]
    weight_map = json.loads(index.read_text())["weight_map"]
    key = next(iter(weight_map))

    def refusal() -> str:
        with pytest.raises(ValueError) as caught:
            check_weights(copied / "unet", DIFFUSERS)
        return str(caught.value)

    _rewritten(index, weight_map=weight_map | {key: "../../secret.safetensors"})
    assert "expected safetensors files beside it" in refusal()
    _rewritten(index, weight_map=weight_map | {key: "model.bin"})
    assert "expected safetensors files beside it" in refusal()
    _rewritten(index, weight_map=weight_map | {"more": first.name})
    assert "does not say which tensors" in refusal()
    _rewritten(index, weight_map={})
    assert "has no weight_map" in refusal()
    _rewritten(index, weight_map=weight_map)
    shutil.copy(first, copied / "unet" / f"{DIFFUSERS}.safetensors")
    assert "holds both" in refusal()
    (copied / "unet" / f"{DIFFUSERS}.safetensors").unlink()
    first.unlink()
    assert f"{first.name} is missing" in refusal()


def test_a_pickle_in_the_place_of_weights_is_named(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin is a pickle"):
        Weights.find(tmp_path, TRANSFORMERS)
