"""The upsampler at tiny size: image phase, temporal phase, what stays."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate

from latentloom.align import TemporalLayers
from latentloom.data.manifest import Dataset
from latentloom.layers.layer_set import LayerSet
from latentloom.models.upsampler import PixelUpsampler
from latentloom.recipes import tiny
from latentloom.training.order import Draw
from latentloom.training.upsampler import Patches, UpsamplingObjective, train_upsampler


def bits(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(before: dict[str, Tensor], module: torch.nn.Module) -> list[str]:
    return [name for name, tensor in module.state_dict().items() if torch.equal(before[name], tensor)]


def loss(network: PixelUpsampler, dataset: Dataset) -> float:
    """The diffusion loss on the same patches under the same noise."""
    config = tiny.upsampler()
    items = Patches(dataset, config, None)
    batch = default_collate([items[Draw(place, place)] for place in range(12)])
    objective = UpsamplingObjective(network, None, config)
    with torch.no_grad():
        return objective(batch, torch.Generator().manual_seed(0))[0].item()


def test_the_image_phase_learns_and_the_temporal_phase_leaves_it_bit_equal(dataset: Dataset, tmp_path: Path) -> None:
    config = tiny.upsampler(steps=30)
    shown = replace(config, loop=replace(config.loop, preview_steps=30))
    torch.manual_seed(0)
    untrained = loss(PixelUpsampler(2, (8, 8), groups=2), dataset)
    network = train_upsampler(shown, dataset, tmp_path / "image")
    assert isinstance(network, PixelUpsampler)
    assert loss(network, dataset) < 0.93 * untrained
    assert "val_psnr" in (tmp_path / "image" / "log.jsonl").read_text().splitlines()[-1]
    saved = PixelUpsampler.from_pretrained(tmp_path / "image" / "final")
    assert unchanged(bits(network), saved) == list(network.state_dict())

    layers = TemporalLayers.for_network(network.unet, LayerSet.upsampler())
    spatial, temporal = bits(network), bits(layers)
    short = replace(config, loop=replace(config.loop, steps=4))
    trained = train_upsampler(short, dataset, tmp_path / "video", upsampler=network, layers=layers)
    assert trained is layers
    assert len(unchanged(spatial, network)) == len(spatial)
    assert unchanged(temporal, layers) == []
    assert not any(module._forward_hooks for module in network.unet.modules())


def test_patches_are_single_frames_or_clips_cut_at_one_place(dataset: Dataset) -> None:
    config = tiny.upsampler()
    still, clip = (Patches(dataset, config, frames)[Draw(0, 3)]["pixels"] for frames in (None, 4))
    assert still.shape == (1, 16, 16, 3) and clip.shape == (4, 16, 16, 3)


def test_what_cannot_be_trained_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    config = tiny.upsampler()
    with pytest.raises(ValueError, match="multiples of 4"):
        train_upsampler(replace(config, patch=(18, 16)), dataset, tmp_path)
    with pytest.raises(ValueError, match="do not fit"):
        train_upsampler(replace(config, patch=(64, 64)), dataset, tmp_path)
    layers = TemporalLayers.for_network(PixelUpsampler(2, (8, 8), groups=2).unet, LayerSet.upsampler())
    with pytest.raises(ValueError, match="need the image upsampler"):
        train_upsampler(config, dataset, tmp_path, layers=layers)
