"""Training of scene conditioning on a frozen image model: an encoder of scenes and layers that attend to its tokens.

Paper, Sec. 4.1: the image model conditioned on bounding boxes, day or night and crowdedness makes the start frame. Here
the image model stays bit-equal and the scene comes in by layers on its sites, learned on single frames of cached
latents whose boxes the dataset knows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.utils.data import default_collate

from latentloom.align import Aligned, TemporalLayers, attach
from latentloom.backbones.unet import matmul_attention
from latentloom.conditions import Conditions
from latentloom.data.clips import draw_weights, image_items, spread
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.data.scenes import load_boxes
from latentloom.data.sheets import contact_sheet
from latentloom.diffusion.guidance import guided
from latentloom.diffusion.objective import ObjectiveConfig, training_loss
from latentloom.diffusion.sampler import clip_noise, denoise
from latentloom.diffusion.schedule import NoiseSchedule
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.digest import digest_of_network
from latentloom.models.image_ldm import ImageLDM
from latentloom.models.scenes import SceneEncoder
from latentloom.scenes import NUMBERS, SceneTensors
from latentloom.shapes import to_pixels
from latentloom.training.clips import TextTable
from latentloom.training.loop import Loop, LoopConfig, Player, Progress
from latentloom.training.optimizer import OptimizerConfig, build_optimizers
from latentloom.training.order import Draw
from latentloom.training.run_folder import save_result, settings_of


@dataclass(frozen=True, kw_only=True)
class SceneTraining:
    """Settings of `train_scenes`. Layout is decided where there is little but noise, hence the bias.

    Attributes:
        box_weight: of the error where a box is, told or not, over that elsewhere: vehicles are small.
        caption_dropout, boxes_dropout, number_dropout: shares of frames whose caption, boxes, or each of whose numbers
            are not told. A caption names light and traffic too, boxes are counted themselves: what these say is
            learned from them, not from the numbers.
    """

    loop: LoopConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    objective: ObjectiveConfig = field(default_factory=lambda: ObjectiveConfig(high_noise_bias=1.0))
    alpha_rate: float = 10.0
    box_weight: float = 5.0
    caption_dropout: float = 0.5
    boxes_dropout: float = 0.5
    number_dropout: float = 0.1
    source_weights: Mapping[str, float] = field(default_factory=dict)


class SceneImages:
    """Cached latents of single frames with caption and scene, of the clips whose boxes are known."""

    def __init__(self, dataset: Dataset, cache: LatentCache, config: SceneTraining, split: str = "train"):
        self.dataset, self.cache, self.config = dataset, cache, config
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
        chance = torch.rand(2 + len(NUMBERS), generator=torch.Generator().manual_seed(draw.seed)).tolist()
        there = self.boxes[record.id][frame]
        told = {
            name: record.labels[name][frame]
            for name, luck in zip(NUMBERS, chance[2:], strict=True)
            if name in record.labels and luck >= self.config.number_dropout
        }
        rows = None if chance[1] < self.config.boxes_dropout else there
        scene = SceneTensors.of(rows, night=told.get("night"), vehicles=told.get("vehicles"))
        latents = self.cache.latents(record, [frame])
        return {
            "latents": latents,
            "caption": "" if chance[0] < self.config.caption_dropout else record.caption(frame),
            "scene": {"corners": scene.corners, "labels": scene.labels, "numbers": scene.numbers},
            "covered": SceneTensors.of(there).covered(*latents.shape[-2:]),
            "id": f"{record.id}:{frame}",
        }


class SceneObjective(nn.Module):
    """The diffusion loss of images under their captions and scenes."""

    def __init__(self, video: Aligned, encoder: SceneEncoder, model: ImageLDM, config: SceneTraining) -> None:
        super().__init__()
        self.video, self.encoder, self.text, self.config = video, encoder, TextTable(model), config
        self.schedule = NoiseSchedule.from_scheduler(model.scheduler)
        self.prediction_type = model.scheduler.config["prediction_type"]

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        scenes = SceneTensors(**batch["scene"])
        conditions = Conditions(text=self.text(batch["caption"]), temporal_text=self.encoder(scenes))
        loss = training_loss(
            lambda noisy, timesteps: self.video.predict(noisy, timesteps, conditions),
            batch["latents"],
            self.schedule,
            generator,
            prediction_type=self.prediction_type,
            config=self.config.objective,
            loss_weight=1 + (self.config.box_weight - 1) * batch["covered"][:, None, None],
        )
        return loss, {}


class SceneTask:
    """Encoder and layers as one player, and a sheet of real frames over samples for their scenes."""

    def __init__(
        self,
        encoder: SceneEncoder,
        layers: TemporalLayers,
        model: ImageLDM,
        config: SceneTraining,
        dataset: Dataset,
        cache: LatentCache,
    ) -> None:
        self.model, self.config, self.dataset, self.cache = model, config, dataset, cache
        model.freeze()
        self.video = attach(model.unet, layers)
        trained = nn.ModuleDict({"encoder": encoder, "layers": layers}).requires_grad_(True)
        self.objective = SceneObjective(self.video, encoder, model, config)
        optimizers = build_optimizers(
            trained, config.optimizer, fast=layers.mixing_parameters(), fast_factor=config.alpha_rate
        )
        self.players = [Player(name="scenes", objective=self.objective, trained=trained, optimizers=optimizers)]
        self.items = SceneImages(dataset, cache, config)
        records = [record for record, _ in self.items.places]
        self.weights = draw_weights(dataset, records, config.source_weights)

    def begin_step(self, step: int) -> list[Player]:
        return self.players

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        self.objective.to(device)

    @torch.no_grad()
    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]:
        """Six frames spread over the set, and below each a sample for its caption and scene."""
        chosen = [self.items[Draw(place, 0)] for place in spread(len(self.items), 6)]
        batch = default_collate(chosen)
        scenes = SceneTensors(**send_to_device(batch["scene"], generator.device))
        encoder, text = self.objective.encoder, self.objective.text
        empty = Conditions(text=text([""] * len(chosen)), temporal_text=encoder(scenes.untold()))
        told = Conditions(text=text(batch["caption"]), temporal_text=encoder(scenes))
        noise = clip_noise(tuple(batch["latents"].shape), generator, generator.device, torch.float32)
        made = denoise(guided(self.video.predict, empty, (2.0, told)), noise, self.model.scheduler, 16)
        autoencoder = VideoAutoencoder(self.model.vae)
        rows = [to_pixels(autoencoder.decode(x)[:, 0]).cpu() for x in (batch["latents"].to(made), made)]
        contact_sheet(torch.cat(rows), path, columns=len(chosen))
        return {"alpha_mean": sum(row.alpha for row in self.video.table()) / len(self.video.table())}


def train_scenes(
    config: SceneTraining,
    encoder: SceneEncoder,
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
    task = SceneTask(encoder, layers, model, config, dataset, cache)
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
