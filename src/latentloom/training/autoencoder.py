"""Training of the image autoencoder: L1 + gradients + KL, then a patch discriminator (paper, Sec. 2; LDM).

Two uses: from scratch, and with the encoder frozen (``train_encoder=False``), which sharpens the decoder of latents
that a diffusion model was already trained on. Latents are normalised per channel at the end (`fold_statistics`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from jaxtyping import Float
from torch import Tensor, nn

from latentloom.data.clips import draw_weights, held_out_split, image_items, spread
from latentloom.data.manifest import Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.models.autoencoder import AutoencoderSpec, decode_images, fold_statistics, posterior
from latentloom.models.digest import digest_of_network
from latentloom.models.discriminator import PatchDiscriminator
from latentloom.shapes import from_pixels, to_pixels
from latentloom.training.adversarial import DISCRIMINATOR, Adversary, Discrimination
from latentloom.training.loop import Loop, LoopConfig, Player, Progress
from latentloom.training.optimizer import OptimizerConfig, build_optimizers
from latentloom.training.order import Draw
from latentloom.training.run_folder import save_result, settings_of


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining:
    """Settings of `train_autoencoder`. ``crop`` is height, width in pixels; weights multiply mean losses per value."""

    loop: LoopConfig
    spec: AutoencoderSpec
    crop: tuple[int, int] = (64, 128)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1.2e-3))
    gradient_weight: float = 0.5
    kl_weight: float = 1e-5
    adversarial_start: int | None = None
    adversarial_weight: float = 0.5
    train_encoder: bool = True
    source_weights: Mapping[str, float] = field(default_factory=dict)


class Crops:
    """Random crops of single frames, flipped at random: pictures of any caption serve."""

    def __init__(self, dataset: Dataset, crop: tuple[int, int], split: str = "train"):
        if crop[0] > dataset.size[0] or crop[1] > dataset.size[1]:
            raise ValueError(f"crops of {crop} do not fit frames of {dataset.size} pixels; choose a smaller crop")
        self.dataset, self.crop, self.places = dataset, crop, image_items(dataset, split=split)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        record, frame = self.places[draw.item]
        image = self.dataset.frames(self.dataset.records[record], [frame])[0]
        generator = torch.Generator().manual_seed(draw.seed)
        (height, width), (rows, columns) = image.shape[:2], self.crop
        top = int(torch.randint(height - rows + 1, (), generator=generator))
        left = int(torch.randint(width - columns + 1, (), generator=generator))
        image = image[top : top + rows, left : left + columns]
        if torch.rand((), generator=generator) < 0.5:
            image = image.flip(1)
        return {"pixels": image.contiguous(), "id": f"{self.dataset.records[record].id}:{frame}"}


class Reconstruction(nn.Module):
    """The autoencoder's side: L1 + gradient difference + KL, and the adversary once it plays."""

    def __init__(self, vae: AutoencoderKL, adversary: Adversary, config: AutoencoderTraining):
        super().__init__()
        self.vae, self.adversary, self.config = vae, adversary, config

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        real = from_pixels(batch["pixels"])
        with torch.set_grad_enabled(self.config.train_encoder and torch.is_grad_enabled()):
            moments = posterior(self.vae, real).parameters.float()  # a KL in bfloat16 loses its small terms
            spread = DiagonalGaussianDistribution(moments)
            latents = spread.sample(generator)
        fake = decode_images(self.vae, latents).float()
        pixel = F.l1_loss(fake, real)
        gradient = gradient_difference(fake, real)
        loss = pixel + self.config.gradient_weight * gradient
        logged = {"l1": pixel.item(), "gradient": gradient.item()}
        if self.config.train_encoder:
            kl = spread.kl().sum() / real.numel()
            loss, logged["kl"] = loss + self.config.kl_weight * kl, kl.item()
        if self.adversary.plays:
            loss = loss + self.adversary.loss(loss, real, fake, self.vae.decoder.conv_out.weight)
        return loss, logged


def gradient_difference(fake: Float[Tensor, "b 3 h w"], real: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
    """Mean |difference of neighbouring-pixel differences|, down and across: keeps edges that L1 would smear."""
    error = fake - real
    return error.diff(dim=-2).abs().mean() + error.diff(dim=-1).abs().mean()


class AutoencoderTask:
    """The two players, their data and the sheet of originals over reconstructions."""

    def __init__(self, vae: AutoencoderKL, config: AutoencoderTraining, dataset: Dataset):
        self.config, self.dataset, self.vae = config, dataset, vae
        vae.requires_grad_(True)
        if not config.train_encoder:
            for frozen in (vae.encoder, vae.quant_conv):
                assert frozen is not None
                frozen.requires_grad_(False)
        self.adversary = Adversary(PatchDiscriminator(), config.adversarial_weight)
        self.reconstruction = Reconstruction(vae, self.adversary, config)
        self.players = [
            Player(
                name="autoencoder",
                objective=self.reconstruction,
                trained=vae,
                optimizers=build_optimizers(vae, config.optimizer),
            ),
            Player(
                name="discriminator",
                objective=Discrimination(self.adversary),
                trained=self.adversary.discriminator,
                optimizers=build_optimizers(self.adversary.discriminator, DISCRIMINATOR),
                average=False,
            ),
        ]
        self.items = Crops(dataset, config.crop)
        records = [record for record, _ in self.items.places]
        self.weights = draw_weights(dataset, records, config.source_weights)

    def begin_step(self, step: int) -> list[Player]:
        start = self.config.adversarial_start
        self.adversary.begin_step(plays=start is not None and step >= start)
        return self.players if self.adversary.plays else self.players[:1]

    def to(self, device: torch.device) -> None:
        self.reconstruction.to(device)

    @torch.no_grad()
    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]:
        """Eight held-out frames over their reconstructions, and the PSNR of all 64 together."""
        frames = held_out_frames(self.dataset, 64)
        rebuilt = reconstruct(self.vae, frames)
        chosen = spread(len(frames), 8)
        rows = torch.stack([frames[chosen], rebuilt[chosen]], 1).flatten(0, 1)
        contact_sheet(rows, path, columns=2)
        error = (frames.float() - rebuilt.float()).square().mean()
        return {"val_psnr": 10 * math.log10(255**2 / error.item())}


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, frames: Tensor) -> Tensor:
    """uint8 ``t h w 3`` through the autoencoder (posterior mean), wherever it is, and back to the frames' device."""
    latents = [posterior(vae, from_pixels(chunk).to(vae.device)).mode() for chunk in frames.split(8)]
    return torch.cat([to_pixels(decode_images(vae, chunk)).to(frames.device) for chunk in latents])


def held_out_frames(dataset: Dataset, count: int) -> Tensor:
    """At most ``count`` frames spread over the validation split (the training split where there is none)."""
    split = held_out_split(dataset)
    return spread_frames(dataset, split, count)


def spread_frames(dataset: Dataset, split: str, count: int) -> Tensor:
    """At most ``count`` frames of ``split``, uint8 ``n h w 3``, evenly spread, each once."""
    places = image_items(dataset, split=split)
    chosen = [places[index] for index in spread(len(places), count)]
    return torch.cat([dataset.frames(dataset.records[record], [frame]) for record, frame in chosen])


def train_autoencoder(
    config: AutoencoderTraining,
    dataset: Dataset,
    output: Path,
    *,
    vae: AutoencoderKL | None = None,
    report: Callable[[Progress], None] | None = None,
) -> AutoencoderKL:
    """Train an autoencoder (from scratch, or ``vae`` further) and save it, with unit latents, in ``output/final``.

    Returns the averaged weights. Continues from ``output`` when it holds a checkpoint.

    Raises:
        ValueError: see `Loop.run`; or a crop that does not fit, ``train_encoder=False`` without a ``vae``, or a ``vae``
            without the 1x1 convolutions beside its latents.
    """
    if vae is None and not config.train_encoder:
        raise ValueError("training the decoder alone needs an autoencoder to start from; name one")
    if vae is not None and (vae.quant_conv is None or vae.post_quant_conv is None):
        raise ValueError(
            "this autoencoder has no quant_conv; only ones with 1x1 convolutions beside their latents train"
        )
    torch.manual_seed(config.loop.seed)
    network = config.spec.build(dataset.size) if vae is None else vae
    start = {} if vae is None else {"autoencoder": digest_of_network(vae)}
    task = AutoencoderTask(network, config, dataset)
    Loop(task, config.loop, output, report).run(settings_of(config, dataset, start))
    network.requires_grad_(False)
    if config.train_encoder:
        mean, std = latent_statistics(network, dataset)
        fold_statistics(network, mean, std)
    save_result(output / "final", network.save_pretrained)
    return network


@torch.no_grad()
def latent_statistics(vae: AutoencoderKL, dataset: Dataset, count: int = 512) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each latent channel over ``count`` training frames spread evenly."""
    frames = spread_frames(dataset, "train", count)
    latents = torch.cat([posterior(vae, from_pixels(chunk).to(vae.device)).mode() for chunk in frames.split(8)])
    return latents.mean((0, 2, 3)), latents.std((0, 2, 3))
