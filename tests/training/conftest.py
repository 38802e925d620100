"""A dataset of a few tiny clips and an untrained tiny image model, for tests of training."""

import pytest
import torch
from diffusers import AutoencoderKL

from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Caption, Dataset, DatasetWriter
from latentloom.models.image_ldm import ImageLDM
from latentloom.recipes import tiny
from latentloom.training.image import fill_cache, new_image_model

CAPTIONS = ("a road by day, turning left", "a road by night, going straight", "a bridge")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three clips of twelve 32x64 frames at 8 fps; the last is held out."""
    folder = tmp_path_factory.mktemp("dataset")
    down, across = torch.linspace(0, 255, 32)[:, None], torch.linspace(255, 0, 64)[None, :]
    with DatasetWriter(folder, {"size": [32, 64]}) as writer:
        for index, text in enumerate(CAPTIONS):
            picture = torch.stack([down.expand(32, 64), across.expand(32, 64), (down + across) / 2], -1)
            frames = picture.roll(index, -1).to(torch.uint8).repeat(12, 1, 1, 1)
            for time in range(12):  # a square that moves
                frames[time, 8:16, 4 * time : 4 * time + 8] = 255
            captions = [Caption(start=0, stop=12, text=text)]
            split = "val" if index == 2 else "train"
            labels = {"steering": [0.1 * time for time in range(12)], "speed": [9.0] * 12} if index == 0 else {}
            writer.add(f"clip-{index}", frames, fps=8.0, captions=captions, split=split, labels=labels)
    return Dataset.load(folder)


@pytest.fixture(scope="session")
def vae(dataset: Dataset) -> AutoencoderKL:
    torch.manual_seed(1)
    return tiny.autoencoder().spec.build(dataset.size).eval()


@pytest.fixture(scope="session")
def cache(dataset: Dataset, vae: AutoencoderKL) -> LatentCache:
    return fill_cache(dataset, vae)


@pytest.fixture
def image_model(dataset: Dataset, vae: AutoencoderKL) -> ImageLDM:
    return new_image_model(tiny.image(), dataset, vae)
