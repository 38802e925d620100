"""Autoencoder, image model and temporal layers at tiny size: what learns, what stays, what is written (R15)."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.utils.data import default_collate

from latentloom.align import Aligned, TemporalLayers
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.layers.context import ContextSpec
from latentloom.layers.layer_set import LayerSet
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.discriminator import PatchDiscriminator
from latentloom.models.image_ldm import ImageLDM
from latentloom.recipes import tiny
from latentloom.shapes import from_pixels
from latentloom.training.adversarial import Discrimination
from latentloom.training.autoencoder import AutoencoderTraining, Reconstruction, train_autoencoder
from latentloom.training.clips import TextTable
from latentloom.training.image import new_image_model, train_image
from latentloom.training.loop import LoopConfig
from latentloom.training.order import Draw
from latentloom.training.temporal import GivenFrames, TemporalTask, TemporalTraining, train_temporal


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
    frames = torch.cat([dataset.frames(record, range(12)) for record in dataset.records if record.split == "train"])
    latents = VideoAutoencoder(vae).encode(from_pixels(frames)[None])[0]
    assert latents.mean((0, 2, 3)).abs().max() < 1e-3
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)


def test_an_autoencoder_of_another_scale_ends_with_unit_latents_too(dataset: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    scaled = tiny.autoencoder().spec.build(dataset.size)
    scaled.register_to_config(scaling_factor=0.18215)
    vae = train_autoencoder(tiny.autoencoder(steps=1), dataset, tmp_path, vae=scaled)
    assert vae.config["scaling_factor"] == 1.0
    assert AutoencoderKL.from_pretrained(tmp_path / "final").config["scaling_factor"] == 1.0


def test_an_autoencoder_without_the_convolutions_beside_its_latents_is_refused(
    dataset: Dataset, tmp_path: Path
) -> None:
    bare = AutoencoderKL(use_quant_conv=False, use_post_quant_conv=False, block_out_channels=(32,))
    with pytest.raises(ValueError, match="no quant_conv"):
        train_autoencoder(tiny.autoencoder(), dataset, tmp_path, vae=bare)


def test_the_adversary_joins_late_and_both_sides_move(dataset: Dataset, tmp_path: Path) -> None:
    train_autoencoder(tiny.autoencoder(steps=4), dataset, tmp_path)
    rows = (tmp_path / "log.jsonl").read_text().splitlines()
    assert ["loss_discriminator" in row for row in rows] == [False, False, True, True]


def test_the_discriminator_judges_every_micro_batch_once(dataset: Dataset, tmp_path: Path, monkeypatch) -> None:
    seen: list[tuple[str, Tensor]] = []
    for side, place in ((Reconstruction, 0), (Discrimination, 1)):

        def forward(self, batch, generator, *, original=side.forward, place=place):
            result = original(self, batch, generator)
            seen.append((("made", "judged")[place], batch["pixels"]))
            return result

        monkeypatch.setattr(side, "forward", forward)
    judged: list[Tensor] = []
    network = PatchDiscriminator.forward
    monkeypatch.setattr(
        PatchDiscriminator, "forward", lambda self, images: (judged.append(images.detach()), network(self, images))[1]
    )
    config = replace(with_loop(tiny.autoencoder(steps=1), accumulation=3), adversarial_start=0)
    train_autoencoder(config, dataset, tmp_path)
    assert [side for side, _ in seen] == ["made"] * 3 + ["judged"] * 3
    pairs = [images for images in judged if len(images) == 4]  # real and rebuilt of two crops
    for (_, pixels), images in zip(seen[3:], pairs, strict=True):
        assert torch.equal(images[:2], from_pixels(pixels))


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


@pytest.mark.parametrize(("recipe", "motion"), [(tiny.prediction, 0), (tiny.prediction, 8), (tiny.interpolation, 0)])
def test_layers_with_given_frames_train_from_those_of_the_key_frames(
    recipe: Callable[..., TemporalTraining],
    motion: int,
    dataset: Dataset,
    cache: LatentCache,
    image_model: ImageLDM,
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    layers = TemporalLayers.for_network(image_model.unet, LayerSet.driving())
    layers = layers.extended(image_model.unet, LayerSet.driving().with_context(ContextSpec(motion=motion)))
    spatial, temporal = bits(image_model.unet), bits(layers)
    config = recipe(steps=8)
    config = replace(config, loop=replace(config.loop, preview_steps=4))
    trained = train_temporal(config, layers, image_model, dataset, cache, tmp_path)
    assert len(unchanged(spatial, image_model.unet)) == len(spatial)
    still = set(unchanged(temporal, trained))
    unused = {name for name in temporal if "numbers.embeddings.rate" in name} if config.fine_fps is None else set()
    assert still == unused
    assert len(list((tmp_path / "samples").glob("*.png"))) == 2


def test_the_loss_asks_nothing_of_given_frames(
    dataset: Dataset, cache: LatentCache, image_model: ImageLDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = TemporalLayers.for_network(image_model.unet, LayerSet.driving().with_context())
    config = replace(tiny.prediction(), given=GivenFrames(first=(2,), most_noise=0))
    task = TemporalTask(layers, image_model, config, dataset, cache)
    batch = default_collate([task.items[Draw(0, 0)], task.items[Draw(1, 1)]])
    plain = Aligned.predict

    def loss(spoilt: slice) -> float:
        def predict(self, *args, **options):
            answer = plain(self, *args, **options)
            answer[:, spoilt] += 100
            return answer

        monkeypatch.setattr(Aligned, "predict", predict)
        with torch.no_grad():
            return task.objective(batch, torch.Generator().manual_seed(0))[0].item()

    honest = loss(slice(0, 0))
    assert loss(slice(0, 2)) == honest
    assert loss(slice(2, 3)) > 100 * honest
    task.video.detach()


def test_masks_of_prediction_give_each_number_of_frames_equally_often() -> None:
    masks = GivenFrames(first=(0, 1, 2)).masks(900, 5, torch.Generator().manual_seed(0))
    counts = masks.flatten(1).sum(1).long().bincount()
    assert len(counts) == 3 and counts.min() > 240
    assert torch.equal(masks.flatten(1).sort(1, descending=True).values, masks.flatten(1)), "the first ones"
    assert GivenFrames(every=4).masks(1, 9, torch.Generator()).flatten().nonzero().flatten().tolist() == [0, 4, 8]


def test_clips_of_which_everything_may_be_given_are_refused() -> None:
    with pytest.raises(ValueError, match="leave nothing to make where 2 are given"):
        replace(tiny.prediction(), num_frames=2)


@pytest.mark.parametrize("wrong", [{}, {"first": (1,), "every": 4}])
def test_given_frames_are_the_first_or_every_nth(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="name one of the two"):
        GivenFrames(**wrong)


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


def test_previews_of_clips_and_of_reconstructions_are_sheets(
    dataset: Dataset, cache: LatentCache, image_model: ImageLDM, tmp_path: Path
) -> None:
    layers = TemporalLayers.for_network(image_model.unet, LayerSet.driving())
    config = tiny.temporal(steps=1)
    config = replace(config, loop=replace(config.loop, preview_steps=1))
    train_temporal(config, layers, image_model, dataset, cache, tmp_path / "temporal")
    train_autoencoder(with_loop(tiny.autoencoder(steps=1), preview_steps=1), dataset, tmp_path / "autoencoder")
    for run, figure in (("temporal", "alpha_mean"), ("autoencoder", "val_psnr")):
        assert (tmp_path / run / "samples" / "step-00000001.png").is_file()
        assert figure in (tmp_path / run / "log.jsonl").read_text()


def test_a_run_continues_on_its_own_footage_networks_and_latents_only(
    dataset: Dataset, cache: LatentCache, vae: AutoencoderKL, tmp_path: Path
) -> None:
    config = tiny.image(steps=2)
    first = new_image_model(config, dataset, vae)
    begun = {name: tensor.clone() for name, tensor in first.unet.state_dict().items()}
    train_image(config, dataset, cache, tmp_path / "run", model=first)
    with pytest.raises(ValueError, match=r"start\.unet"):
        train_image(config, dataset, cache, tmp_path / "run", model=first)  # now trained: another start
    first.unet.load_state_dict(begun)
    with pytest.raises(ValueError, match=r"start\.text_encoder"):
        train_image(config, dataset, cache, tmp_path / "run", model=first)
    shutil.copytree(dataset.root, tmp_path / "grown")
    manifest = tmp_path / "grown" / "manifest.jsonl"
    rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([*rows, rows[0].replace("clip-0", "clip-9")]) + "\n")
    again = new_image_model(config, dataset, vae)
    with pytest.raises(ValueError, match="dataset"):
        train_image(config, Dataset.load(tmp_path / "grown"), cache, tmp_path / "run", model=again)


def test_captions_are_encoded_alike_whatever_was_encoded_before(image_model: ImageLDM) -> None:
    captions = ["a bridge", "a road by day, turning left", "a road by night, going straight"]
    together, apart = TextTable(image_model), TextTable(image_model)
    at_once = together(captions)
    assert torch.equal(at_once, torch.cat([apart([caption]) for caption in reversed(captions)]).flip(0))


def test_previews_draw_sheets_and_leave_the_result_alone(
    dataset: Dataset, cache: LatentCache, vae: AutoencoderKL, tmp_path: Path
) -> None:
    config = tiny.image(steps=3)
    plain = train_image(config, dataset, cache, tmp_path / "plain", vae=vae)
    shown_loop: LoopConfig = replace(config.loop, preview_steps=2)
    shown = train_image(replace(config, loop=shown_loop), dataset, cache, tmp_path / "shown", vae=vae)
    assert len(list((tmp_path / "shown" / "samples").glob("*.png"))) == 2
    assert len(unchanged(bits(plain.unet), shown.unet)) == len(plain.unet.state_dict())
