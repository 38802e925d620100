"""Stable Diffusion in one file: read by diffusers with its family's configuration, converted once."""

import shutil

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from tests.hub_cache import put
from tests.single_file import single_file
from tests.stable_diffusion import saved

from latentloom.stack import Stack

FAMILY = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@pytest.fixture
def family(tmp_path, monkeypatch):
    """A tiny pipeline whose configuration lies in the Hub's cache as that of Stable Diffusion 1.5; no network."""
    pipeline = saved("1.5", tmp_path / "folder")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for weights in (tmp_path / "folder").rglob("*.safetensors"):
        weights.unlink()
    put(tmp_path / "cache", FAMILY, tmp_path / "folder")
    return pipeline


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_every_tensor_of_a_single_file_arrives_and_it_is_converted_once(family, tmp_path, suffix):
    path, tensors = tmp_path / f"model.{suffix}", single_file(family)
    if suffix == "ckpt":
        torch.save({"state_dict": tensors}, path)
    else:
        save_file(tensors, path)
    stack = Stack.load(path)
    for name in ("unet", "vae", "text_encoder"):
        theirs, ours = getattr(family, name).state_dict(), getattr(stack, name).state_dict()
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    assert stack.info.name == "model"
    shutil.rmtree(tmp_path / "cache")
    assert Stack.load(path).unet.config == stack.unet.config, "its folder is kept"


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_another_file_is_refused_in_one_line(family, tmp_path, name):
    (tmp_path / name).write_bytes(b"no model at all")
    with pytest.raises(ValueError, match="cannot be read as Stable Diffusion") as caught:
        Stack.load(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "home").rglob("*"))


def test_a_pickle_that_would_run_code_is_not_run(family, tmp_path):
    class Harmful:
        def __reduce__(self):
            return (type(tmp_path).touch, (tmp_path / "run",))

    torch.save({"state_dict": Harmful()}, tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="cannot be read as Stable Diffusion"):
        Stack.load(tmp_path / "model.ckpt")
    assert not (tmp_path / "run").exists()
