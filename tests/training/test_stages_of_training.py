"""Autoencoder, image model and temporal layers at tiny size: what learns, what stays, what is written (R15)."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from latentloom.align import TemporalLayers
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.layers.layer_set import LayerSet
from latentloom.models.image_ldm import ImageLDM
from latentloom.recipes import tiny
from latentloom.training.autoencoder import AutoencoderTraining, train_autoencoder
from latentloom.training.image import train_image
from latentloom.training.loop import LoopConfig
from latentloom.training.temporal import train_temporal


def bits(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(before: dict[str, torch.Tensor], module: torch.nn.Module) -> list[str]:
    return [name for name, tensor in module.state_dict().items() if torch.equal(before[name], tensor)]


def with_loop(config: AutoencoderTraining, **changes: int) -> AutoencoderTraining:
    return replace(config, loop=replace(config.loop, **changes))


def test_the_autoencoder_learns_to_reconstruct_and_ends_with_unit_latents(dataset: Dataset, tmp_path: Path) -> None:
    config = replace(tiny.autoencoder(steps=40), adversarial_start=None)
    vae = train_autoencoder(config, dataset, tmp_path)
    rows = (tmp_path / "log.jsonl").read_text().splitlines()
    first, last = (float(row.split('"l1": ')[1].split(",")[0]) for row in (rows[0], rows[-1]))
    assert last < 0.75 * first
    saved = AutoencoderKL.from_pretrained(tmp_path / "final")
    assert all(torch.equal(tensor, vae.state_dict()[name]) for name, tensor in saved.state_dict().items())


def test_the_adversary_joins_late_and_both_sides_move(dataset: Dataset, tmp_path: Path) -> None:
    train_autoencoder(tiny.autoencoder(steps=4), dataset, tmp_path)
    rows = (tmp_path / "log.jsonl").read_text().splitlines()
    assert ["loss_discriminator" in row for row in rows] == [False, False, True, True]


def test_the_decoder_alone_leaves_the_encoder_bit_equal(dataset: Dataset, vae: AutoencoderKL, tmp_path: Path) -> None:
    before = bits(vae.encoder)
    decoder = bits(vae.decoder)
    copy = AutoencoderKL.from_config(vae.config)
    copy.load_state_dict(vae.state_dict())
    config = replace(tiny.autoencoder(steps=2), train_encoder=False, adversarial_start=0)
    trained = train_autoencoder(config, dataset, tmp_path, vae=copy)
    assert len(unchanged(before, trained.encoder)) == len(before)
    assert not unchanged(decoder, trained.decoder)


def test_the_decoder_alone_needs_an_autoencoder(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs an autoencoder to start from"):
        train_autoencoder(replace(tiny.autoencoder(), train_encoder=False), dataset, tmp_path)


def test_a_crop_larger_than_the_frames_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        train_autoencoder(replace(tiny.autoencoder(), crop=(64, 64)), dataset, tmp_path)


def test_the_image_model_trains_unet_and_text_and_not_the_autoencoder(
    dataset: Dataset, cache: LatentCache, vae: AutoencoderKL, image_model: ImageLDM, tmp_path: Path
) -> None:
    before = bits(image_model.unet), bits(image_model.text_encoder), bits(vae)
    model = train_image(tiny.image(steps=6), dataset, cache, tmp_path, model=image_model)
    assert not unchanged(before[0], model.unet)
    words = unchanged(before[1], model.text_encoder)
    assert not any(name.endswith("token_embedding.weight") for name in words)
    assert len(unchanged(before[2], model.vae)) == len(before[2])


def test_temporal_training_moves_every_temporal_parameter_and_no_spatial_bit(
    dataset: Dataset, cache: LatentCache, image_model: ImageLDM, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    layers = TemporalLayers.for_network(image_model.unet, LayerSet.driving())
    spatial, temporal = bits(image_model.unet), bits(layers)
    trained = train_temporal(tiny.temporal(steps=4), layers, image_model, dataset, cache, tmp_path)
    assert len(unchanged(spatial, image_model.unet)) == len(spatial)
    assert unchanged(temporal, trained) == []
    saved = TemporalLayers.from_pretrained(tmp_path / "final")
    assert unchanged(bits(trained), saved) == list(trained.state_dict())


def test_temporal_training_leaves_the_image_model_without_hooks(
    dataset: Dataset, cache: LatentCache, image_model: ImageLDM, tmp_path: Path
) -> None:
    layers = TemporalLayers.for_network(image_model.unet, LayerSet.driving())
    train_temporal(tiny.temporal(steps=1), layers, image_model, dataset, cache, tmp_path)
    assert not any(module._forward_hooks for module in image_model.unet.modules())


def test_clips_longer_than_the_videos_are_refused(
    dataset: Dataset, cache: LatentCache, image_model: ImageLDM, tmp_path: Path
) -> None:
    layers = TemporalLayers.for_network(image_model.unet, LayerSet.driving())
    with pytest.raises(ValueError, match="the longest has 12 frames"):
        train_temporal(tiny.temporal(num_frames=40), layers, image_model, dataset, cache, tmp_path)


def test_previews_draw_sheets_and_leave_the_result_alone(
    dataset: Dataset, cache: LatentCache, vae: AutoencoderKL, tmp_path: Path
) -> None:
    config = tiny.image(steps=3)
    plain = train_image(config, dataset, cache, tmp_path / "plain", vae=vae)
    shown_loop: LoopConfig = replace(config.loop, preview_steps=2)
    shown = train_image(replace(config, loop=shown_loop), dataset, cache, tmp_path / "shown", vae=vae)
    assert len(list((tmp_path / "shown" / "samples").glob("*.png"))) == 2
    assert len(unchanged(bits(plain.unet), shown.unet)) == len(plain.unet.state_dict())
