"""Training of temporal layers on a frozen image model (paper, Sec. 3.1, Eq. 2).

Clips of cached latents, one diffusion time per clip, captions encoded once. Only the temporal layers learn; every
spatial tensor is bit-equal afterwards (tests/training/test_stages_of_training.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentloom.align import Aligned, TemporalLayers, attach
from latentloom.backbones.unet import matmul_attention
from latentloom.data.clips import clip_windows, source_weights
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.diffusion.guidance import with_text_guidance
from latentloom.diffusion.objective import training_loss
from latentloom.diffusion.sampler import clip_noise, denoise
from latentloom.diffusion.schedule import NoiseSchedule
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.digest import digest_of_network
from latentloom.models.image_ldm import ImageLDM
from latentloom.models.text import encode_text
from latentloom.shapes import to_pixels
from latentloom.training.loop import Loop, LoopConfig, Player, Progress
from latentloom.training.optimizer import build_optimizers
from latentloom.training.order import Draw
from latentloom.training.run_folder import save_result, settings_of


@dataclass(frozen=True, kw_only=True)
class TemporalTraining:
    """Settings of `train_temporal`. A clip has ``num_frames`` at about ``fps`` frames per second (`clip_windows`)."""

    loop: LoopConfig
    num_frames: int = 16
    fps: float = 6.5
    optimizer: str = "muon"
    learning_rate: float = 1e-3
    muon_learning_rate: float = 0.02
    alpha_rate: float = 10.0
    caption_dropout: float = 0.1
    high_noise_bias: float = 0.5
    min_snr_gamma: float | None = None
    gradient_checkpointing: bool = False
    source_weights: Mapping[str, float] = field(default_factory=dict)


class LatentClips:
    """Windows of cached latents with their captions and rates."""

    def __init__(self, dataset: Dataset, cache: LatentCache, config: TemporalTraining, split: str = "train"):
        self.dataset, self.cache, self.caption_dropout = dataset, cache, config.caption_dropout
        self.windows = clip_windows(dataset, config.num_frames, config.fps, split=split)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        window = self.windows[draw.item]
        record = self.dataset.records[window.record]
        dropped = torch.rand((), generator=torch.Generator().manual_seed(draw.seed)) < self.caption_dropout
        return {
            "latents": self.cache.latents(record, window.indices),
            "caption": "" if dropped else window.caption,
            "fps": torch.tensor(window.fps, dtype=torch.float32),
            "id": f"{record.id}:{window.first}",
        }


class TextTable:
    """Captions encoded once, each by itself: the bits do not depend on which others came before a kill."""

    def __init__(self, model: ImageLDM):
        self.model = model
        self.known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> Tensor:
        """Text states ``b n d``, one row per caption."""
        for caption in captions:
            if caption not in self.known:
                self.known[caption] = encode_text(self.model.tokenizer, self.model.text_encoder, [caption])[0]
        return torch.stack([self.known[caption] for caption in captions])


class TemporalObjective(nn.Module):
    """The diffusion loss of a batch of clips; one time step per clip (paper, Sec. 3.1)."""

    def __init__(self, video: Aligned, model: ImageLDM, config: TemporalTraining):
        super().__init__()
        self.video, self.text, self.config = video, TextTable(model), config
        self.schedule = NoiseSchedule.from_scheduler(model.scheduler)
        self.prediction_type = model.scheduler.config["prediction_type"]

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        text, fps = self.text(batch["caption"]), batch["fps"] if self.video.layers.layer_set.fps else None
        loss = training_loss(
            lambda noisy, timesteps: self.video(noisy, timesteps, text, fps=fps).sample,
            batch["latents"],
            self.schedule,
            generator,
            prediction_type=self.prediction_type,
            high_noise_bias=self.config.high_noise_bias,
            min_snr_gamma=self.config.min_snr_gamma,
        )
        return loss, {}


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
        for frozen in (model.unet, model.text_encoder, model.vae):
            frozen.requires_grad_(False).eval()
        self.video = attach(model.unet, layers.requires_grad_(True))
        if config.gradient_checkpointing:
            self.video.enable_gradient_checkpointing()
        self.objective = TemporalObjective(self.video, model, config)
        optimizers = build_optimizers(
            layers,
            config.optimizer,
            config.learning_rate,
            muon_learning_rate=config.muon_learning_rate,
            fast=layers.mixing_parameters(),
            fast_factor=config.alpha_rate,
        )
        self.players = [Player(name="temporal", objective=self.objective, trained=layers, optimizers=optimizers)]
        self.items = LatentClips(dataset, cache, config)
        records = [window.record for window in self.items.windows]
        self.weights = source_weights(dataset, records, dict(config.source_weights)) if config.source_weights else None

    def begin_step(self, step: int) -> list[Player]:
        return self.players

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        self.video.to(device)

    @torch.no_grad()
    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]:
        """For four training captions: a clip, and below it the same noise without temporal layers."""
        windows = self.items.windows
        chosen = [windows[(2 * i + 1) * len(windows) // 8] for i in range(4)]
        shape = (len(chosen), self.config.num_frames, *self.items[Draw(0, 0)]["latents"].shape[1:])
        noise = clip_noise(shape, generator, generator.device, torch.float32)
        captions, fps = [w.caption for w in chosen], torch.tensor([w.fps for w in chosen], device=noise.device)
        rows = [self._sample(noise, captions, fps, alpha) for alpha in (None, 1.0)]
        frames = torch.stack(rows, 1).flatten(0, 1)[:, :: max(1, self.config.num_frames // 8)]
        contact_sheet(frames.flatten(0, 1), path, columns=frames.shape[1])
        return {"alpha_mean": sum(row.alpha for row in self.video.table()) / len(self.video.table())}

    def _sample(self, noise: Tensor, captions: list[str], fps: Tensor, alpha: float | None) -> Tensor:
        """Clips, uint8 ``b t h w 3``: 16 steps, guidance 2."""
        rate = torch.cat([fps, fps]) if self.video.layers.layer_set.fps else None
        predict = with_text_guidance(
            lambda z, t, text: self.video(z, t, text, fps=rate, alpha=alpha).sample,
            self.objective.text([""] * len(captions)),
            self.objective.text(captions),
            2.0,
        )
        latents = denoise(predict, noise, self.model.scheduler, 16)
        return to_pixels(VideoAutoencoder(self.model.vae).decode(latents, chunk_size=4)).cpu()


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
