"""Training of temporal layers in the autoencoder's decoder: no flicker, the same latents (paper, Sec. 3.1.1).

The encoder and every spatial weight stay as they are; the layers learn to reconstruct clips from cached latents under
L1, differences in space and time, and a patch discriminator of 3D convolutions. An image discriminator in its place
made the paper's result worse; ``discriminator="frame"`` shows it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import default_collate

from latentloom.align import Aligned, TemporalLayers, attach
from latentloom.data.clips import clip_windows, draw_weights, held_out_split, spread
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.digest import digest_of_network
from latentloom.models.discriminator import FramePatchDiscriminator, VideoPatchDiscriminator
from latentloom.shapes import from_pixels, to_pixels
from latentloom.training.adversarial import DISCRIMINATOR, Adversary, Discrimination
from latentloom.training.loop import Loop, LoopConfig, Player, Progress
from latentloom.training.optimizer import OptimizerConfig, build_optimizers
from latentloom.training.order import Draw
from latentloom.training.run_folder import save_result, settings_of


@dataclass(frozen=True, kw_only=True)
class DecoderTraining:
    """Settings of `train_decoder`. ``crop`` is height, width in pixels; weights multiply mean losses per value.

    Attributes:
        motion_weight: of the error of frame differences, which is flicker itself.
        adversarial_start: the step the discriminator joins at; None leaves it out.
        discriminator: ``"video"`` of 3D convolutions, or ``"frame"``, an image discriminator.
    """

    loop: LoopConfig
    num_frames: int = 8
    fps: float = 6.5
    crop: tuple[int, int] = (64, 128)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    gradient_weight: float = 0.5
    motion_weight: float = 0.5
    alpha_rate: float = 10.0
    adversarial_start: int | None = None
    adversarial_weight: float = 0.5
    discriminator: Literal["video", "frame"] = "video"
    source_weights: Mapping[str, float] = field(default_factory=dict)


class ClipsWithLatents:
    """Windows as pixels (uint8 ``t h w 3``) and cached latents (``t c h w``), cropped alike at random."""

    def __init__(
        self, dataset: Dataset, cache: LatentCache, config: DecoderTraining, factor: int, split: str = "train"
    ):
        rows, columns = config.crop
        if rows > dataset.size[0] or columns > dataset.size[1]:
            raise ValueError(
                f"crops of {config.crop} do not fit frames of {dataset.size} pixels; choose a smaller crop"
            )
        if rows % factor or columns % factor:
            raise ValueError(f"crops of {config.crop} are not multiples of the autoencoder's factor {factor}")
        self.dataset, self.cache, self.factor = dataset, cache, factor
        self.crop = rows // factor, columns // factor
        self.windows = clip_windows(dataset, config.num_frames, config.fps, split=split)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        window = self.windows[draw.item]
        record = self.dataset.records[window.record]
        frames = self.dataset.frames(record, window.indices)
        latents = self.cache.latents(record, window.indices)
        generator = torch.Generator().manual_seed(draw.seed)
        (rows, columns), (height, width) = self.crop, latents.shape[2:]
        top = int(torch.randint(height - rows + 1, (), generator=generator))
        left = int(torch.randint(width - columns + 1, (), generator=generator))
        down, across = slice(top, top + rows), slice(left, left + columns)
        return {
            "latents": latents[:, :, down, across].contiguous(),
            "pixels": frames[:, self._pixels(down), self._pixels(across)].contiguous(),
            "id": f"{record.id}:{window.first}",
        }

    def _pixels(self, latents: slice) -> slice:
        return slice(latents.start * self.factor, latents.stop * self.factor)


class ClipReconstruction(nn.Module):
    """The decoder's side: L1, differences in space and time, and the adversary once it plays."""

    def __init__(self, video: Aligned, scaling_factor: float, adversary: Adversary, config: DecoderTraining) -> None:
        super().__init__()
        self.video, self.scaling_factor, self.adversary, self.config = video, scaling_factor, adversary, config
        end = video.layers.layer(video.table()[-1].site)
        # the last trained weight before the pixels, where the losses are weighed; in a tuple: not registered twice
        self._last = ([parameter for parameter in end.parameters() if parameter.ndim > 1][-1],)

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        real = from_pixels(batch["pixels"])
        made = self.video.decode(batch["latents"] / self.scaling_factor).sample.float()
        errors = {name: error.abs().mean() for name, error in differences(made - real).items()}
        loss = errors["l1"] + self.config.gradient_weight * errors["gradient"]
        loss = loss + self.config.motion_weight * errors["motion"]
        if self.adversary.plays:
            loss = loss + self.adversary.loss(loss, real, made, self._last[0])
        return loss, {name: error.item() for name, error in errors.items()}


def differences(error: Float[Tensor, "b t 3 h w"]) -> dict[str, Float[Tensor, "..."]]:
    """The error itself, that of neighbouring-pixel differences, and that of frame differences (flicker)."""
    down, across = error.diff(dim=-2).flatten(), error.diff(dim=-1).flatten()
    return {"l1": error, "gradient": torch.cat([down, across]), "motion": error.diff(dim=1)}


class DecoderTask:
    """Layers and discriminator as players, and a sheet: real frames, decoded alone, decoded as video."""

    def __init__(
        self, layers: TemporalLayers, vae: AutoencoderKL, config: DecoderTraining, dataset: Dataset, cache: LatentCache
    ):
        self.config, self.vae, self.layers = config, vae.requires_grad_(False).eval(), layers
        self.dataset, self.cache = dataset, cache
        self.video = attach(vae, layers.requires_grad_(True))
        kinds = {"video": VideoPatchDiscriminator, "frame": FramePatchDiscriminator}
        self.adversary = Adversary(kinds[config.discriminator](), config.adversarial_weight)
        judge = self.adversary.discriminator
        optimizers = build_optimizers(
            layers, config.optimizer, fast=layers.mixing_parameters(), fast_factor=config.alpha_rate
        )
        self.reconstruction = ClipReconstruction(self.video, vae.config["scaling_factor"], self.adversary, config)
        self.players = [
            Player(name="decoder", objective=self.reconstruction, trained=layers, optimizers=optimizers),
            Player(
                name="discriminator",
                objective=Discrimination(self.adversary),
                trained=judge,
                optimizers=build_optimizers(judge, DISCRIMINATOR),
                average=False,
            ),
        ]
        self.items = ClipsWithLatents(dataset, cache, config, VideoAutoencoder(vae).factor)
        records = [window.record for window in self.items.windows]
        self.weights = draw_weights(dataset, records, config.source_weights)

    def begin_step(self, step: int) -> list[Player]:
        start = self.config.adversarial_start
        self.adversary.begin_step(plays=start is not None and step >= start)
        return self.players if self.adversary.plays else self.players[:1]

    def to(self, device: torch.device) -> None:
        self.reconstruction.to(device)

    @torch.no_grad()
    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]:
        """Rows of a held-out clip: real, image decoder, temporal decoder; and both errors on eight such clips."""
        split = held_out_split(self.dataset)
        items = ClipsWithLatents(self.dataset, self.cache, self.config, self.items.factor, split)
        clips = default_collate([items[Draw(place, place)] for place in spread(len(items), 8)])
        real = from_pixels(clips["pixels"].to(generator.device))
        latents = clips["latents"].to(generator.device) / self.vae.config["scaling_factor"]
        rows = {"image": self.video.decode(latents, alpha=1.0).sample, "video": self.video.decode(latents).sample}
        shown = torch.stack([real[0], *(row[0].float() for row in rows.values())])
        contact_sheet(to_pixels(shown.flatten(0, 1)).cpu(), path, columns=shown.shape[1])
        errors = {name: differences(row.float() - real) for name, row in rows.items()}
        return {f"{name}_{kind}": e.abs().mean().item() for name, kinds in errors.items() for kind, e in kinds.items()}


def train_decoder(
    config: DecoderTraining,
    layers: TemporalLayers,
    vae: AutoencoderKL,
    dataset: Dataset,
    cache: LatentCache,
    output: Path,
    *,
    report: Callable[[Progress], None] | None = None,
) -> TemporalLayers:
    """Train the decoder's ``layers`` (new or further) on clips with cached latents; saves them in ``output/final``.

    Returns the averaged layers; ``vae`` is bit-equal afterwards. Continues from ``output`` when it holds a checkpoint.

    Raises:
        ValueError: layers of another autoencoder, crops or clips that do not fit, or what `Loop.run` raises.
    """
    start = {"vae": digest_of_network(vae), "layers": digest_of_network(layers), "latents": cache.key}
    settings = settings_of(config, dataset, start)
    torch.manual_seed(config.loop.seed)  # of the discriminator
    task = DecoderTask(layers, vae, config, dataset, cache)
    try:
        Loop(task, config.loop, output, report).run(settings)
    finally:
        task.video.detach()
    layers.requires_grad_(False)
    save_result(output / "final", layers.save_pretrained)
    return layers
