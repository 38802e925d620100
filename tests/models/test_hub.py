"""Models by name on the Hub: which files are wanted, and the cache without a network."""

import pytest
from huggingface_hub import constants
from tests.hub_cache import put
from tests.stable_diffusion import saved
from tests.tiny import tiny_stack

from latentloom.models.hub import is_repository, wanted
from latentloom.stack import Stack

MEMBERS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "temporal")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("stabilityai/stable-diffusion-2-1", True),
        ("drive-small", False),
        ("a/b/c", False),
        ("/a/b", False),
        ("../b", False),
        ("a/", False),
        ("src/nothing", False),
    ],
)
def test_names_of_repositories_are_told_from_paths(source, expected):
    assert is_repository(source) == expected


def test_a_path_that_is_there_is_no_repository(tmp_path, monkeypatch):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not is_repository("owner/name")


def test_weights_are_wanted_once_and_nothing_else_that_is_large():
    both = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"]
    files = [
        "model_index.json",
        "v1-5-pruned.safetensors",
        "v1-5-pruned.ckpt",
        *(f"unet/{name}" for name in (*both, "diffusion_pytorch_model.bin", "config.json")),
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "vae/config.json",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model-00002-of-00002.safetensors",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/model.safetensors.index.json",
        "tokenizer/merges.txt",
        "safety_checker/model.safetensors",
        "unet/modeling.py",
        "temporal/keyframes/diffusion_pytorch_model.safetensors",
    ]
    assert sorted(wanted(files, MEMBERS)) == sorted(
        [
            "model_index.json",
            "unet/diffusion_pytorch_model.safetensors",
            "unet/config.json",
            "vae/diffusion_pytorch_model.fp16.safetensors",
            "vae/config.json",
            "text_encoder/model-00001-of-00002.safetensors",
            "text_encoder/model-00002-of-00002.safetensors",
            "text_encoder/model.safetensors.index.json",
            "tokenizer/merges.txt",
            "temporal/keyframes/diffusion_pytorch_model.safetensors",
        ]
    )


@pytest.fixture
def offline_cache(tmp_path, monkeypatch):
    """An empty cache of the Hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_without_a_network_the_cache_answers(offline_cache, tmp_path):
    saved("1.5", tmp_path / "stable")
    put(offline_cache, "someone/tiny-stable", tmp_path / "stable")
    assert Stack.load("someone/tiny-stable").unet.config["cross_attention_dim"] == 32
    tiny_stack().save(tmp_path / "stack")
    put(offline_cache, "someone/video", tmp_path / "stack")
    video = Stack.load("someone/video")
    assert "temporal/keyframes" in video.members and video.checksums


def test_what_is_not_in_the_cache_says_how_to_get_it(offline_cache):
    with pytest.raises(ValueError, match=r"someone/else is no folder here .* hf download someone/else") as caught:
        Stack.load("someone/else")
    assert "\n" not in str(caught.value)
