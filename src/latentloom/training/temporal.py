"""Training of temporal layers on a frozen image model (paper, Sec. 3.1, Eq. 2).

Clips of cached latents, one diffusion time per clip, captions encoded once. Only the temporal layers learn; every
spatial tensor is bit-equal afterwards (tests/training/test_stages_of_training.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import default_collate

from latentloom.align import Aligned, TemporalLayers, attach
from latentloom.backbones.unet import matmul_attention
from latentloom.conditions import Conditions
from latentloom.data.clips import draw_weights
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.diffusion.augmentation import noised_context
from latentloom.diffusion.guidance import guided
from latentloom.diffusion.known_frames import KnownFrames
from latentloom.diffusion.masks import first_frames_mask, pinned_frames_mask
from latentloom.diffusion.objective import ObjectiveConfig, training_loss
from latentloom.diffusion.sampler import clip_noise, denoise
from latentloom.diffusion.schedule import NoiseSchedule
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.digest import digest_of_network
from latentloom.models.image_ldm import ImageLDM
from latentloom.shapes import to_pixels
from latentloom.training.clips import LatentClips, TextTable
from latentloom.training.loop import Loop, LoopConfig, Player, Progress
from latentloom.training.movement import movement_loss
from latentloom.training.optimizer import OptimizerConfig, build_optimizers
from latentloom.training.order import Draw
from latentloom.training.run_folder import save_result, settings_of


@dataclass(frozen=True, kw_only=True)
class GivenFrames:
    """Which frames of a training clip the layers are given, drawn anew for each (spec, sections 4 and 5).

    Attributes:
        first: the first S frames, S drawn from these numbers: ``(0, 1, 2)`` is prediction.
        every: each ``every``-th frame from the first on: 4 is interpolation.
        most_noise: the given frames are diffused to a step drawn uniformly from 0 to this one.
    """

    first: tuple[int, ...] = ()
    every: int | None = None
    most_noise: int = 250

    def __post_init__(self) -> None:
        if bool(self.first) == (self.every is not None):
            raise ValueError("given frames are either the first ones or every n-th one; name one of the two")

    def masks(self, batch: int, num_frames: int, generator: torch.Generator) -> Float[Tensor, "b t 1 1 1"]:
        """1 on the given frames of each clip, on the generator's device."""
        if self.every is not None:
            return pinned_frames_mask(range(0, num_frames, self.every), num_frames).to(generator.device)
        chosen = torch.randint(len(self.first), (batch,), generator=generator, device=generator.device)
        return first_frames_mask(torch.tensor(self.first, device=generator.device)[chosen], num_frames)


@dataclass(frozen=True, kw_only=True)
class TemporalTraining:
    """Settings of `train_temporal`. A clip has ``num_frames`` at about ``fps`` frames per second (`clip_windows`).

    Attributes:
        fine_fps: a second, higher rate of clips. Interpolation is told which of its two passes it is (``rate``).
        given: frames the layers are given; None trains layers that make clips from noise alone.
        alpha_rate: how many times faster than the rest the alphas learn.
        caption_dropout, number_dropout: shares of clips without caption, steering and speed.
        source_weights: shares of draws by record (`source_weights`).
    """

    loop: LoopConfig
    num_frames: int = 16
    fps: float = 6.5
    fine_fps: float | None = None
    given: GivenFrames | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    objective: ObjectiveConfig = field(default_factory=lambda: ObjectiveConfig(high_noise_bias=0.5))
    alpha_rate: float = 10.0
    caption_dropout: float = 0.1
    number_dropout: float = 0.1
    gradient_checkpointing: bool = False
    source_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.given is not None and max(self.given.first, default=0) >= self.num_frames:
            raise ValueError(
                f"clips of {self.num_frames} frames leave nothing to make where {max(self.given.first)} are given;"
                " train on more frames"
            )

    @property
    def continues(self) -> bool:
        """Whether clips go on behind given frames: prediction."""
        return self.given is not None and bool(self.given.first)

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates of its clips, the coarse one first."""
        return (self.fps,) if self.fine_fps is None else (self.fps, self.fine_fps)


class TemporalObjective(nn.Module):
    """The diffusion loss of a batch of clips, one time step per clip, on the frames to be made (paper, Sec. 3)."""

    def __init__(self, video: Aligned, model: ImageLDM, config: TemporalTraining):
        super().__init__()
        self.video, self.text, self.config = video, TextTable(model), config
        self.schedule = NoiseSchedule.from_scheduler(model.scheduler)
        self.prediction_type = model.scheduler.config["prediction_type"]

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        conditions, made = Conditions(text=self.text(batch["caption"]), numbers=batch["numbers"]), None
        if self.config.given is not None:
            conditions, mask = self.with_given_frames(conditions, batch["latents"], self.config.given, generator)
            made = 1 - mask
        loss = training_loss(
            lambda noisy, timesteps: self.video.predict(noisy, timesteps, conditions),
            batch["latents"],
            self.schedule,
            generator,
            prediction_type=self.prediction_type,
            config=self.config.objective,
            loss_weight=made,
        )
        motion = self.video.layers.ego_motion
        if motion is None or not self.config.continues:
            return loss, {}
        movement = movement_loss(motion, batch["latents"], self.video.layers.known(batch["numbers"]), generator)
        return loss + movement, {"diffusion": loss.item(), "movement": movement.item()}

    def with_given_frames(
        self, conditions: Conditions, latents: Tensor, given: GivenFrames, generator: torch.Generator
    ) -> tuple[Conditions, Tensor]:
        """The conditions with noisy given frames and their level, and the mask ``b t 1 1 1``."""
        batch, num_frames = latents.shape[:2]
        mask = given.masks(batch, num_frames, generator).expand(batch, -1, 1, 1, 1)
        levels = torch.randint(given.most_noise + 1, (batch,), generator=generator, device=generator.device)
        context = noised_context(latents, mask, levels, self.schedule, generator)
        told = torch.where(mask.flatten(1).any(1), levels.float(), torch.nan)  # no frame, no level
        return replace(conditions, context=context, numbers={**conditions.numbers, "context_noise": told}), mask


class TemporalTask:
    """The temporal layers as the only player, and a sheet of clips with and without them."""

    def __init__(
        self,
        layers: TemporalLayers,
        model: ImageLDM,
        config: TemporalTraining,
        dataset: Dataset,
        cache: LatentCache,
    ):
        self.model, self.config, self.dataset, self.cache = model, config, dataset, cache
        model.freeze()
        self.video = attach(model.unet, layers.requires_grad_(True))
        if layers.ego_motion is not None and not config.continues:
            layers.ego_motion.requires_grad_(False)  # nothing lies behind the last given frame
        if config.gradient_checkpointing:
            self.video.enable_gradient_checkpointing()
        self.objective = TemporalObjective(self.video, model, config)
        optimizers = build_optimizers(
            layers, config.optimizer, fast=layers.mixing_parameters(), fast_factor=config.alpha_rate
        )
        self.players = [Player(name="temporal", objective=self.objective, trained=layers, optimizers=optimizers)]
        self.items = LatentClips(
            dataset,
            cache,
            num_frames=config.num_frames,
            rates=config.rates,
            caption_dropout=config.caption_dropout,
            number_dropout=config.number_dropout,
            labels_rate=config.given is not None and config.given.every is not None,
        )
        records = [window.record for window in self.items.windows]
        self.weights = draw_weights(dataset, records, config.source_weights)

    def begin_step(self, step: int) -> list[Player]:
        return self.players

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        self.video.to(device)

    @torch.no_grad()
    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]:
        """For four training captions a clip, and below it what it is compared with.

        That is the same noise without temporal layers, or, where frames are given, the clip they come from.
        """
        places = [(2 * i + 1) * len(self.items) // 8 for i in range(4)]
        clips = default_collate([self.items[Draw(place, 0)] for place in places])
        clips: Any = send_to_device(clips, generator.device)
        clips["caption"] = [self.items.windows[place].caption for place in places]
        noise = clip_noise(tuple(clips["latents"].shape), generator, generator.device, torch.float32)
        rows = [self._sample(noise, clips, generator, alpha=None)]
        rows.append(self._sample(noise, clips, generator, alpha=1.0) if self.config.given is None else clips["latents"])
        frames = [to_pixels(VideoAutoencoder(self.model.vae).decode(row, chunk_size=4)).cpu() for row in rows]
        shown = torch.stack(frames, 1).flatten(0, 1)[:, :: max(1, self.config.num_frames // 8)]
        contact_sheet(shown.flatten(0, 1), path, columns=shown.shape[1])
        return {"alpha_mean": sum(row.alpha for row in self.video.table()) / len(self.video.table())}

    def _sample(
        self, noise: Tensor, clips: dict[str, Any], generator: torch.Generator, *, alpha: float | None
    ) -> Tensor:
        """Latents ``b t c h w``: 16 steps, text guidance 2."""
        text, empty = (self.objective.text(words) for words in (clips["caption"], [""] * len(noise)))
        told, known = Conditions(text=text, numbers=clips["numbers"]), None
        if self.config.given is not None:
            told, mask = self.objective.with_given_frames(told, clips["latents"], self.config.given, generator)
            known = KnownFrames(latents=clips["latents"], mask=mask)
        predict = guided(
            lambda z, t, conditions: self.video.predict(z, t, conditions, alpha=alpha),
            told.with_text(empty),
            (2.0, told),
        )
        if known is None:
            return denoise(predict, noise, self.model.scheduler, 16)
        predict = known.keeping(predict, noise, self.model.scheduler)
        return known.kept(denoise(predict, noise, self.model.scheduler, 16))


def train_temporal(
    config: TemporalTraining,
    layers: TemporalLayers,
    model: ImageLDM,
    dataset: Dataset,
    cache: LatentCache,
    output: Path,
    *,
    report: Callable[[Progress], None] | None = None,
) -> TemporalLayers:
    """Train ``layers`` (new or further) on ``model``, whose weights stay as they are; saves them in ``output/final``.

    Returns the averaged layers. Continues from ``output`` when it holds a checkpoint.

    Raises:
        ValueError: layers of another backbone, clips too short, or what `Loop.run` raises.
    """
    networks = {"unet": model.unet, "text_encoder": model.text_encoder, "layers": layers}
    start = {name: digest_of_network(network) for name, network in networks.items()}
    settings = settings_of(config, dataset, {**start, "latents": cache.key})
    task = TemporalTask(layers, model, config, dataset, cache)
    loop = Loop(task, config.loop, output, report)
    try:
        with matmul_attention(model.unet, loop.bfloat16_on_cpu):
            loop.run(settings)
    finally:
        task.video.detach()
    layers.requires_grad_(False)
    save_result(output / "final", layers.save_pretrained)
    return layers
