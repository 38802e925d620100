"""Training of the image latent diffusion model: UNet and text encoder together, on cached latents (paper, Sec. 2).

The frames of a video set are its images. The autoencoder is frozen; captions are dropped at random so that guidance
has an unconditional model to lean on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from latentloom.backbones.unet import matmul_attention
from latentloom.conditions import Conditions
from latentloom.data.clips import draw_weights, held_out_split, image_items, spread
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.diffusion.guidance import guided
from latentloom.diffusion.objective import ObjectiveConfig, training_loss
from latentloom.diffusion.sampler import clip_noise, denoise
from latentloom.diffusion.schedule import NoiseSchedule, PredictionType, noise_scheduler
from latentloom.models.autoencoder import VideoAutoencoder, encoder_digest
from latentloom.models.digest import digest_of_network
from latentloom.models.image_ldm import DenoiserSpec, ImageLDM
from latentloom.models.text import encode_text, text_encoder, train_tokenizer
from latentloom.precision import autocast, preferred_dtype
from latentloom.shapes import from_pixels, to_pixels
from latentloom.training.loop import Loop, LoopConfig, Player, Progress
from latentloom.training.optimizer import OptimizerConfig, build_optimizers
from latentloom.training.order import Draw
from latentloom.training.run_folder import settings_of


@dataclass(frozen=True, kw_only=True)
class ImageTraining:
    """Settings of `train_image`.

    Attributes:
        lora_rank: of adapters that learn in the place of the networks they are added to; None trains the networks.
    """

    loop: LoopConfig
    spec: DenoiserSpec
    text_width: int = 128
    max_length: int = 32
    prediction_type: PredictionType = "v_prediction"
    zero_terminal_snr: bool = True
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    caption_dropout: float = 0.1
    lora_rank: int | None = None
    source_weights: Mapping[str, float] = field(default_factory=dict)


class LatentImages:
    """Cached latents of single frames with their captions; a dropped caption is the empty one."""

    def __init__(self, dataset: Dataset, cache: LatentCache, caption_dropout: float, split: str = "train"):
        self.dataset, self.cache, self.caption_dropout = dataset, cache, caption_dropout
        self.places = image_items(dataset, split=split)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        index, frame = self.places[draw.item]
        record = self.dataset.records[index]
        dropped = torch.rand((), generator=torch.Generator().manual_seed(draw.seed)) < self.caption_dropout
        return {
            "latents": self.cache.latents(record, [frame])[0],
            "caption": "" if dropped else record.caption(frame),
            "id": f"{record.id}:{frame}",
        }


class ImageObjective(nn.Module):
    """The diffusion loss of a batch of images under their captions (paper, Eq. 1)."""

    def __init__(self, model: ImageLDM, config: ImageTraining):
        super().__init__()
        self.unet, self.text_encoder = model.unet, model.text_encoder
        self.tokenizer, self.config = model.tokenizer, config
        self.schedule = NoiseSchedule.from_scheduler(model.scheduler)
        self.prediction_type = model.scheduler.config["prediction_type"]

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        text = encode_text(self.tokenizer, self.text_encoder, batch["caption"])
        loss = training_loss(
            lambda noisy, timesteps: self.unet(noisy, timesteps, text).sample,
            batch["latents"],
            self.schedule,
            generator,
            prediction_type=self.prediction_type,
            config=self.config.objective,
        )
        return loss, {}


class ImageTask:
    """What learns as one player, latents as items, and a sheet of samples for held-out captions."""

    def __init__(
        self, model: ImageLDM, trained: nn.Module, config: ImageTraining, dataset: Dataset, cache: LatentCache
    ):
        self.model, self.config, self.dataset, self.cache = model, config, dataset, cache
        self.objective = ImageObjective(model, config)
        optimizers = build_optimizers(trained, config.optimizer)
        self.players = [Player(name="image", objective=self.objective, trained=trained, optimizers=optimizers)]
        self.items = LatentImages(dataset, cache, config.caption_dropout)
        records = [record for record, _ in self.items.places]
        self.weights = draw_weights(dataset, records, config.source_weights)

    def begin_step(self, step: int) -> list[Player]:
        return self.players

    def to(self, device: torch.device) -> None:
        self.model.to(device)

    @torch.no_grad()
    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]:
        """Twelve samples under captions spread over the set, and the loss on held-out frames."""
        captions = self.dataset.captions or [""]
        chosen = [captions[i * len(captions) // 12] for i in range(12)]
        pixels = sample_images(self.model, chosen, self.dataset.size, generator=generator)
        contact_sheet(pixels, path, columns=4, labels=chosen)
        return {"val_loss": held_out_loss(self.objective, self.dataset, self.cache)}


@torch.no_grad()
def held_out_loss(objective: ImageObjective, dataset: Dataset, cache: LatentCache, count: int = 96) -> float:
    """The diffusion loss on ``count`` held-out frames, always the same ones under the same noise."""
    split = held_out_split(dataset)
    items = LatentImages(dataset, cache, 0.0, split)
    rows = [items[Draw(item, 0)] for item in spread(len(items), count)]
    device = objective.unet.device
    generator = torch.Generator(device).manual_seed(0)
    losses = []
    for first in range(0, len(rows), 16):
        part = rows[first : first + 16]
        latents = torch.stack([row["latents"] for row in part]).to(device)
        batch = {"latents": latents, "caption": [row["caption"] for row in part]}
        losses.append(objective(batch, generator)[0].item() * len(part))
    return sum(losses) / len(rows)


@torch.no_grad()
def sample_images(
    model: ImageLDM, captions: list[str], size: tuple[int, int], *, generator: torch.Generator, steps: int = 20
) -> Tensor:
    """One image per caption, uint8 ``b h w 3``; guidance 2."""
    empty, text = encode_text(model.tokenizer, model.text_encoder, ["" for _ in captions] + captions).chunk(2)
    autoencoder = VideoAutoencoder(model.vae)
    rows, columns = size[0] // autoencoder.factor, size[1] // autoencoder.factor
    shape = (len(captions), autoencoder.latent_channels, rows, columns)
    noise = clip_noise(shape, generator, model.unet.device, torch.float32)
    predict = guided(
        lambda z, t, conditions: model.unet(z, t, conditions.text).sample,
        Conditions(text=empty),
        (2.0, Conditions(text=text)),
    )
    latents = denoise(predict, noise, model.scheduler, steps)
    return to_pixels(autoencoder.decode(latents[None], chunk_size=4)[0]).cpu()


def fill_cache(dataset: Dataset, vae: AutoencoderKL, progress: Callable[[int, int], None] | None = None) -> LatentCache:
    """The latents of every frame under the encoder of ``vae``; encoded now, on the GPU if there is one, where missing.

    Only the encoder's weights name the cache: it stays valid when the decoder is trained further.
    """
    vae.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))  # pyright: ignore[reportArgumentType]
    autoencoder, dtype = VideoAutoencoder(vae), preferred_dtype(vae.device)

    def encode(frames: Tensor) -> Tensor:
        with autocast(vae.device, dtype):
            return autoencoder.encode(from_pixels(frames)[None].to(vae.device))[0].cpu()

    cache = LatentCache(dataset, encoder_digest(vae)[:16])
    cache.fill(encode, progress=progress)
    return cache


def new_image_model(config: ImageTraining, dataset: Dataset, vae: AutoencoderKL) -> ImageLDM:
    """An untrained image model whose vocabulary is the words of the dataset's captions."""
    torch.manual_seed(config.loop.seed)
    tokenizer = train_tokenizer(dataset.captions, config.max_length)
    autoencoder = VideoAutoencoder(vae)
    latent_size = dataset.size[0] // autoencoder.factor, dataset.size[1] // autoencoder.factor
    return ImageLDM(
        vae=vae,
        unet=config.spec.build(latent_size, autoencoder.latent_channels, config.text_width),
        text_encoder=text_encoder(len(tokenizer), max_length=config.max_length, width=config.text_width),
        tokenizer=tokenizer,
        scheduler=noise_scheduler(config.prediction_type, config.zero_terminal_snr),
    )


def learning_part(model: ImageLDM, lora_rank: int | None) -> nn.Module:
    """UNet and text encoder, or the adapters that are put on them now."""
    if lora_rank is not None:
        from latentloom.models.lora import add_adapters  # peft is no dependency of the core

        return nn.ParameterList(add_adapters(model, lora_rank))
    return nn.ModuleDict({"unet": model.unet, "text_encoder": model.text_encoder}).requires_grad_(True)


def train_image(
    config: ImageTraining,
    dataset: Dataset,
    cache: LatentCache,
    output: Path,
    *,
    vae: AutoencoderKL | None = None,
    model: ImageLDM | None = None,
    report: Callable[[Progress], None] | None = None,
) -> ImageLDM:
    """Train an image model on the frames of ``dataset``: a new one for ``vae``, or ``model`` further.

    Returns the model with averaged weights, its adapters still on it where ``config.lora_rank`` asks for them.
    Continues from ``output`` when it holds a checkpoint.

    Raises:
        ValueError: neither or both of ``vae`` and ``model`` are given; see `Loop.run` for the rest.
    """
    if (vae is None) == (model is None):
        raise ValueError("give either an autoencoder, to begin a new image model, or an image model to train further")
    if model is None:
        assert vae is not None
        model, start = new_image_model(config, dataset, vae), {}
    else:
        start = {"unet": digest_of_network(model.unet), "text_encoder": digest_of_network(model.text_encoder)}
    settings = settings_of(config, dataset, {**start, "latents": cache.key})
    task = ImageTask(model, learning_part(model, config.lora_rank), config, dataset, cache)
    loop = Loop(task, config.loop, output, report)
    with matmul_attention(model.unet, loop.bfloat16_on_cpu):
        loop.run(settings)
    model.unet.requires_grad_(False)
    model.text_encoder.requires_grad_(False)
    return model
