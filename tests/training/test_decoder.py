"""The temporal decoder at tiny size: what learns, what stays, what its judge can see (paper, Sec. 3.1.1)."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.utils.data import default_collate

from latentloom.align import TemporalLayers
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.layers.layer_set import LayerSet
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.discriminator import FramePatchDiscriminator, VideoPatchDiscriminator, discriminator_loss
from latentloom.recipes import tiny
from latentloom.shapes import from_pixels
from latentloom.training.decoder import ClipsWithLatents, DecoderTraining, differences, train_decoder
from latentloom.training.order import Draw


def bits(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(before: dict[str, Tensor], module: torch.nn.Module) -> list[str]:
    return [name for name, tensor in module.state_dict().items() if torch.equal(before[name], tensor)]


def fresh(vae: AutoencoderKL) -> TemporalLayers:
    torch.manual_seed(0)
    return TemporalLayers.for_network(vae, LayerSet.decoder())


@pytest.mark.parametrize("discriminator", ["video", "frame"])
def test_every_layer_of_the_decoder_moves_and_the_autoencoder_stays_bit_equal(
    discriminator: str, dataset: Dataset, cache: LatentCache, vae: AutoencoderKL, tmp_path: Path
) -> None:
    config: DecoderTraining = replace(tiny.decoder(), discriminator=discriminator)
    config = replace(config, loop=replace(config.loop, preview_steps=4))
    layers = fresh(vae)
    before = bits(vae), bits(layers)
    trained = train_decoder(config, layers, vae, dataset, cache, tmp_path)
    assert len(unchanged(before[0], vae)) == len(before[0])
    assert unchanged(before[1], trained) == []
    rows = (tmp_path / "log.jsonl").read_text().splitlines()
    assert ["loss_discriminator" in row for row in rows] == [False, False, True, True]
    assert '"video_motion"' in rows[-1] and '"image_motion"' in rows[-1]
    assert len(list((tmp_path / "samples").glob("*.png"))) == 1
    assert not any(module._forward_hooks for module in vae.modules())
    saved = TemporalLayers.from_pretrained(tmp_path / "final")
    assert unchanged(bits(trained), saved) == list(trained.state_dict())


def test_the_layers_learn_to_reconstruct_better_than_frame_by_frame(
    dataset: Dataset, cache: LatentCache, vae: AutoencoderKL, tmp_path: Path
) -> None:
    config = replace(tiny.decoder(steps=30), adversarial_start=None)
    layers = train_decoder(config, fresh(vae), vae, dataset, cache, tmp_path)
    items = ClipsWithLatents(dataset, cache, config, 8)
    batch = default_collate([items[Draw(place, 0)] for place in range(len(items))])
    real = from_pixels(batch["pixels"])
    alone, together = (
        VideoAutoencoder(vae, decoder_layers).decode(batch["latents"]) for decoder_layers in (None, layers)
    )
    errors = [{name: e.abs().mean() for name, e in differences(made - real).items()} for made in (alone, together)]
    assert errors[1]["l1"] < 0.9 * errors[0]["l1"]


def test_pixels_and_latents_are_cropped_alike(dataset: Dataset, cache: LatentCache, vae: AutoencoderKL) -> None:
    items = ClipsWithLatents(dataset, cache, tiny.decoder(), 8)
    rows = [items[Draw(0, seed)] for seed in range(6)]
    assert rows[0]["pixels"].shape == (4, 32, 32, 3) and rows[0]["latents"].shape == (4, 4, 4, 4)
    record = dataset.records[items.windows[0].record]
    whole = dataset.frames(record, items.windows[0].indices)
    latents = cache.latents(record, items.windows[0].indices)
    places = set()
    for row in rows:
        left = next(x for x in range(5) if torch.equal(latents[..., x : x + 4], row["latents"]))
        assert torch.equal(whole[:, :, 8 * left : 8 * left + 32], row["pixels"])
        places.add(left)
    assert len(places) > 1


@pytest.mark.parametrize(("crop", "message"), [((64, 64), "do not fit"), ((20, 32), "not multiples")])
def test_crops_that_cannot_be_cut_are_refused(
    crop: tuple[int, int], message: str, dataset: Dataset, cache: LatentCache
) -> None:
    with pytest.raises(ValueError, match=message):
        ClipsWithLatents(dataset, cache, replace(tiny.decoder(), crop=crop), 8)


def separation(discriminator: torch.nn.Module, steps: int = 30) -> float:
    """How far logits of ordered clips come to lie above those of shuffled ones that were not trained on."""
    optimizer = torch.optim.Adam(discriminator.parameters(), 2e-3)

    def clips(seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        start = torch.rand(8, generator=generator) * 8
        x = torch.arange(32)[None, None, :] - start[:, None, None] - 3 * torch.arange(6)[None, :, None]
        bars = torch.where((x % 16) < 6, 1.0, -1.0)[:, :, None, None, :].expand(8, 6, 3, 32, 32)
        return bars.contiguous(), bars[:, [0, 3, 1, 5, 2, 4]].contiguous()

    for step in range(steps):
        ordered, shuffled = clips(step)
        real, fake = discriminator(torch.cat([ordered, shuffled])).chunk(2)
        optimizer.zero_grad()
        discriminator_loss(real, fake).backward()
        optimizer.step()
    with torch.no_grad():
        ordered, shuffled = clips(1000)
        real, fake = discriminator(torch.cat([ordered, shuffled])).flatten(1).mean(1).chunk(2)
    return ((real.mean() - fake.mean()) / torch.cat([real, fake]).std()).item()


def test_3d_convolutions_tell_order_from_disorder_and_an_image_discriminator_cannot() -> None:
    torch.manual_seed(0)
    assert separation(VideoPatchDiscriminator(width=8)) > 1.5
    assert abs(separation(FramePatchDiscriminator())) < 0.1


def test_a_video_patch_is_eleven_frames_long_and_a_short_clip_is_judged_too() -> None:
    judge = VideoPatchDiscriminator(width=8).requires_grad_(False)
    clip = torch.randn(1, 15, 3, 32, 32)
    for norm in judge.modules():
        if isinstance(norm, torch.nn.GroupNorm):
            norm.forward = lambda x: x  # norms look at everything: they are not the patch
    other = clip.clone()
    other[:, 0] += 1
    changed = (judge(clip) - judge(other)).abs().amax(dim=(0, 1, 3, 4)) > 1e-6
    assert changed.tolist() == [True] * 6 + [False] * 9
    assert judge(clip[:, :1]).shape[2] == 1
