"""Training of box conditioning on a frozen image model: an encoder of boxes and layers that attend to its tokens.

Paper, Sec. 4.1: the bounding-box conditioned image model makes the start frame. Here the image model stays bit-equal
and the boxes come in by layers on its sites, on single frames of cached latents whose boxes the dataset knows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from latentloom.align import Aligned, TemporalLayers, attach
from latentloom.backbones.unet import matmul_attention
from latentloom.conditions import Conditions
from latentloom.data.boxes import Boxes, load_boxes
from latentloom.data.clips import draw_weights, image_items, spread
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.diffusion.guidance import guided
from latentloom.diffusion.objective import ObjectiveConfig, training_loss
from latentloom.diffusion.sampler import clip_noise, denoise
from latentloom.diffusion.schedule import NoiseSchedule
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.boxes import BoxEncoder
from latentloom.models.digest import digest_of_network
from latentloom.models.image_ldm import ImageLDM
from latentloom.shapes import to_pixels
from latentloom.training.clips import TextTable
from latentloom.training.loop import Loop, LoopConfig, Player, Progress
from latentloom.training.optimizer import OptimizerConfig, build_optimizers
from latentloom.training.order import Draw
from latentloom.training.run_folder import save_result, settings_of


@dataclass(frozen=True, kw_only=True)
class BoxTraining:
    """Settings of `train_boxes`. Layout is decided where there is little but noise, hence the bias."""

    loop: LoopConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    objective: ObjectiveConfig = field(default_factory=lambda: ObjectiveConfig(high_noise_bias=1.0))
    alpha_rate: float = 10.0
    caption_dropout: float = 0.1
    source_weights: Mapping[str, float] = field(default_factory=dict)


class BoxedImages:
    """Cached latents of single frames with caption and boxes, of the clips whose boxes are known."""

    def __init__(self, dataset: Dataset, cache: LatentCache, caption_dropout: float, split: str = "train"):
        self.dataset, self.cache, self.caption_dropout = dataset, cache, caption_dropout
        self.boxes = {
            record.id: rows for record in dataset.records if (rows := load_boxes(dataset, record)) is not None
        }
        places = image_items(dataset, split=split)
        self.places = [(index, frame) for index, frame in places if dataset.records[index].id in self.boxes]
        if not self.places:
            raise ValueError(f"no frame of split {split!r} in {dataset.root} has boxes (boxes/<id>.json)")

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        index, frame = self.places[draw.item]
        record = self.dataset.records[index]
        boxes = Boxes.of(self.boxes[record.id][frame])
        dropped = torch.rand((), generator=torch.Generator().manual_seed(draw.seed)) < self.caption_dropout
        return {
            "latents": self.cache.latents(record, [frame]),
            "caption": "" if dropped else record.caption(frame),
            "corners": boxes.corners,
            "labels": boxes.labels,
            "id": f"{record.id}:{frame}",
        }


class BoxObjective(nn.Module):
    """The diffusion loss of images under their captions and boxes."""

    def __init__(self, video: Aligned, encoder: BoxEncoder, model: ImageLDM, config: BoxTraining) -> None:
        super().__init__()
        self.video, self.encoder, self.text, self.config = video, encoder, TextTable(model), config
        self.schedule = NoiseSchedule.from_scheduler(model.scheduler)
        self.prediction_type = model.scheduler.config["prediction_type"]

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        tokens = self.encoder(batch["corners"], batch["labels"])
        conditions = Conditions(text=self.text(batch["caption"]), temporal_text=tokens)
        loss = training_loss(
            lambda noisy, timesteps: self.video.predict(noisy, timesteps, conditions),
            batch["latents"],
            self.schedule,
            generator,
            prediction_type=self.prediction_type,
            config=self.config.objective,
        )
        return loss, {}


class BoxTask:
    """Encoder and layers as one player, and a sheet of real frames over samples for their boxes."""

    def __init__(
        self,
        encoder: BoxEncoder,
        layers: TemporalLayers,
        model: ImageLDM,
        config: BoxTraining,
        dataset: Dataset,
        cache: LatentCache,
    ) -> None:
        self.model, self.config, self.dataset, self.cache = model, config, dataset, cache
        for frozen in (model.unet, model.text_encoder, model.vae):
            frozen.requires_grad_(False).eval()
        self.video = attach(model.unet, layers)
        trained = nn.ModuleDict({"encoder": encoder, "layers": layers}).requires_grad_(True)
        self.objective = BoxObjective(self.video, encoder, model, config)
        optimizers = build_optimizers(
            trained, config.optimizer, fast=layers.mixing_parameters(), fast_factor=config.alpha_rate
        )
        self.players = [Player(name="boxes", objective=self.objective, trained=trained, optimizers=optimizers)]
        self.items = BoxedImages(dataset, cache, config.caption_dropout)
        records = [record for record, _ in self.items.places]
        self.weights = draw_weights(dataset, records, config.source_weights)

    def begin_step(self, step: int) -> list[Player]:
        return self.players

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        self.objective.to(device)

    @torch.no_grad()
    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]:
        """Six frames spread over the set, and below each a sample for its caption and boxes."""
        chosen = [self.items[Draw(place, 0)] for place in spread(len(self.items), 6)]
        batch = default_collate(chosen)
        corners, labels = batch["corners"].to(generator.device), batch["labels"].to(generator.device)
        nothing = self.objective.encoder(corners, torch.full_like(labels, -1))
        empty = Conditions(text=self.objective.text([""] * len(chosen)), temporal_text=nothing)
        told = Conditions(
            text=self.objective.text(batch["caption"]), temporal_text=self.objective.encoder(corners, labels)
        )
        noise = clip_noise(tuple(batch["latents"].shape), generator, generator.device, torch.float32)
        made = denoise(guided(self.video.predict, empty, (2.0, told)), noise, self.model.scheduler, 16)
        autoencoder = VideoAutoencoder(self.model.vae)
        rows = [to_pixels(autoencoder.decode(x)[:, 0]).cpu() for x in (batch["latents"].to(made), made)]
        contact_sheet(torch.cat(rows), path, columns=len(chosen))
        return {"alpha_mean": sum(row.alpha for row in self.video.table()) / len(self.video.table())}


def train_boxes(
    config: BoxTraining,
    encoder: BoxEncoder,
    layers: TemporalLayers,
    model: ImageLDM,
    dataset: Dataset,
    cache: LatentCache,
    output: Path,
    *,
    report: Callable[[Progress], None] | None = None,
) -> None:
    """Train ``encoder`` and ``layers`` (in place, averaged in the end); saves them in ``output/final``.

    Every tensor of ``model`` is bit-equal afterwards. Continues from ``output`` when it holds a checkpoint.

    Raises:
        ValueError: layers of another backbone, a dataset without boxes, or what `Loop.run` raises.
    """
    networks = {"unet": model.unet, "text_encoder": model.text_encoder, "layers": layers, "encoder": encoder}
    start = {name: digest_of_network(network) for name, network in networks.items()}
    task = BoxTask(encoder, layers, model, config, dataset, cache)
    loop = Loop(task, config.loop, output, report)
    try:
        with matmul_attention(model.unet, loop.bfloat16_on_cpu):
            loop.run(settings_of(config, dataset, {**start, "latents": cache.key}))
    finally:
        task.video.detach()

    def save(folder: Path) -> None:
        encoder.save_pretrained(folder / "encoder")
        layers.save_pretrained(folder / "layers")

    encoder.requires_grad_(False)
    layers.requires_grad_(False)
    save_result(output / "final", save)
