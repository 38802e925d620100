"""Training of an upsampler: the pixel upsampler on patches of single frames, then temporal layers on patches of clips.

Paper, Sec. 3.4: the small frame is noise-augmented, its level told; the spatial network is trained as an image model
and stays fixed while the temporal layers learn to keep texture in place. Patches suffice for the pixel upsampler, which
has no attention and no norm over the picture; Stable Diffusion's, of which only temporal layers are trained, has both,
and was trained on patches too. They are used on whole frames.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from latentloom.align import Aligned, TemporalLayers, attach
from latentloom.data.clips import Window, clip_windows, draw_weights, held_out_split, image_items, spread
from latentloom.data.manifest import Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.diffusion.augmentation import augmented
from latentloom.diffusion.objective import add_noise, sample_timesteps
from latentloom.diffusion.sampler import clip_noise
from latentloom.diffusion.schedule import NoiseSchedule
from latentloom.models.digest import digest_of_network
from latentloom.models.latent_upsampler import LatentUpsampler
from latentloom.models.upsampler import PixelUpsampler, downsampled
from latentloom.models.upsampling import Upsampler
from latentloom.shapes import from_pixels, to_pixels
from latentloom.training.loop import Loop, LoopConfig, Player, Progress
from latentloom.training.optimizer import OptimizerConfig, build_optimizers
from latentloom.training.order import Draw
from latentloom.training.run_folder import save_result, settings_of


@dataclass(frozen=True, kw_only=True)
class UpsamplerTraining:
    """Settings of `train_upsampler`.

    Attributes:
        factor: 2 or 4; ``widths`` of the network from the small grid downward.
        patch: height, width in pixels of the large frame, multiples of the factor times the network's own.
        num_frames: of a clip in the second phase; the first takes single frames.
        most_noise: the small frame is diffused to a step drawn uniformly up to this one, or stays clean (``CLEAN``).
        high_noise_bias: of ``sample_timesteps``.
    """

    loop: LoopConfig
    factor: int = 4
    widths: tuple[int, ...] = (48, 96)
    groups: int = 8
    patch: tuple[int, int] = (128, 128)
    num_frames: int = 8
    fps: float = 12.0
    most_noise: int = 250
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    high_noise_bias: float = 0.0
    alpha_rate: float = 10.0
    source_weights: Mapping[str, float] = field(default_factory=dict)


PREVIEW_STEPS = 10
CLEAN = 8
"""One in about so many clips is shown its small frames without noise."""


class Patches:
    """Patches of clips, uint8 ``t h w 3``, cut at random; single frames where ``num_frames`` is None."""

    def __init__(self, dataset: Dataset, config: UpsamplerTraining, num_frames: int | None, split: str = "train"):
        rows, columns = config.patch
        if rows > dataset.size[0] or columns > dataset.size[1]:
            raise ValueError(
                f"patches of {config.patch} do not fit frames of {dataset.size} pixels; choose smaller ones"
            )
        self.dataset, self.patch = dataset, config.patch
        if num_frames is None:
            self.windows = [_still(index, frame) for index, frame in image_items(dataset, split=split)]
        else:
            self.windows = clip_windows(dataset, num_frames, config.fps, split=split)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        window = self.windows[draw.item]
        record = self.dataset.records[window.record]
        frames = self.dataset.frames(record, window.indices)
        generator = torch.Generator().manual_seed(draw.seed)
        (rows, columns), (height, width) = self.patch, frames.shape[1:3]
        top = int(torch.randint(height - rows + 1, (), generator=generator))
        left = int(torch.randint(width - columns + 1, (), generator=generator))
        patch = frames[:, top : top + rows, left : left + columns]
        if torch.rand((), generator=generator) < 0.5:
            patch = patch.flip(2)
        return {"pixels": patch.contiguous(), "caption": window.caption, "id": f"{record.id}:{window.first}"}


def _still(record: int, frame: int) -> Window:
    return Window(record=record, indices=(frame,), fps=1.0, caption="")


class UpsamplingObjective(nn.Module):
    """The diffusion loss of large patches under their noise-augmented small ones."""

    def __init__(self, upsampler: Upsampler, video: Aligned | None, config: UpsamplerTraining) -> None:
        super().__init__()
        self.upsampler, self.video, self.config = upsampler, video, config

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        large = from_pixels(batch["pixels"])
        least, most = -self.config.most_noise // CLEAN, self.config.most_noise  # below 0 is clean, too
        levels = torch.randint(least, most + 1, (len(large),), generator=generator, device=generator.device).clamp(0)
        upsampler, schedule = self.upsampler, self.upsampler.schedule
        small = augmented(downsampled(large, upsampler.factor), levels, schedule, generator)
        clean = upsampler.state_of(large)
        times = sample_timesteps(len(clean), schedule, generator, high_noise_bias=self.config.high_noise_bias)
        noise = torch.randn(clean.shape, generator=generator, device=generator.device)
        noisy = add_noise(clean, noise, times, NoiseSchedule.from_scheduler(upsampler.scheduler))
        made = upsampler.predict(noisy, times, small, levels, self.video, batch["caption"])
        return upsampler.error(made, clean, noise, times, levels).square().mean(), {}


class UpsamplerTask:
    """The spatial network, or the temporal layers on it, as the only player; and a sheet of held-out patches."""

    def __init__(
        self,
        upsampler: PixelUpsampler | LatentUpsampler,
        layers: TemporalLayers | None,
        config: UpsamplerTraining,
        dataset: Dataset,
    ) -> None:
        self.upsampler, self.config, self.dataset = upsampler, config, dataset
        self.frames = None if layers is None else config.num_frames
        upsampler.requires_grad_(layers is None)
        self.video = None if layers is None else attach(upsampler.unet, layers.requires_grad_(True))
        self.objective = UpsamplingObjective(upsampler, self.video, config)
        trained = upsampler if layers is None else layers
        fast = () if layers is None else layers.mixing_parameters()
        optimizers = build_optimizers(trained, config.optimizer, fast=fast, fast_factor=config.alpha_rate)
        self.players = [Player(name="upsampler", objective=self.objective, trained=trained, optimizers=optimizers)]
        self.items = Patches(dataset, config, self.frames)
        records = [window.record for window in self.items.windows]
        self.weights = draw_weights(dataset, records, config.source_weights)

    def begin_step(self, step: int) -> list[Player]:
        return self.players

    def to(self, device: torch.device) -> None:
        self.objective.to(device)

    @torch.no_grad()
    def preview(self, path: Path, generator: torch.Generator) -> dict[str, float]:
        """Rows of the first frames of four held-out patches: small (repeated), upsampled, real; and their PSNR."""
        split = held_out_split(self.dataset)
        items = Patches(self.dataset, self.config, self.frames, split)
        batch = default_collate([items[Draw(place, place)] for place in spread(len(items), 4)])
        large = from_pixels(batch["pixels"].to(generator.device))
        upsampler, factor = self.upsampler, self.upsampler.factor
        small = downsampled(large, factor)
        shape = (*small.shape[:2], upsampler.channels, *small.shape[3:])
        noise = clip_noise(shape, generator, generator.device, torch.float32)
        levels = torch.zeros(len(small), device=generator.device)
        made = upsampler.sample(
            lambda z, t: upsampler.predict(z, t, small, levels, self.video, batch["caption"]), noise, PREVIEW_STEPS
        )
        made = upsampler.pixels_of(made).clamp(-1, 1)
        repeated = small.repeat_interleave(factor, 3).repeat_interleave(factor, 4)
        rows = torch.stack([row[:, 0] for row in (repeated, made, large)], 0).flatten(0, 1)
        contact_sheet(to_pixels(rows).cpu(), path, columns=len(large))
        error = (made - large).square().mean()
        return {"val_psnr": (10 * (4 / error).log10()).item()}


def train_upsampler(
    config: UpsamplerTraining,
    dataset: Dataset,
    output: Path,
    *,
    upsampler: PixelUpsampler | LatentUpsampler | None = None,
    layers: TemporalLayers | None = None,
    report: Callable[[Progress], None] | None = None,
) -> PixelUpsampler | TemporalLayers:
    """Train the pixel upsampler (new, or ``upsampler`` further), or ``layers`` on an ``upsampler`` that stays as it is.

    Returns what was trained, averaged, and saves it in ``output/final``. Continues from a checkpoint in ``output``.

    Raises:
        ValueError: layers without an upsampler, a latent upsampler without layers, patches or clips that do not fit,
            or what `Loop.run` raises.
    """
    if layers is None and isinstance(upsampler, LatentUpsampler):
        raise ValueError("of Stable Diffusion's upscaler only temporal layers are trained here; add --temporal")
    if layers is not None and upsampler is None:
        raise ValueError("temporal layers need the image upsampler that they are trained on; give it")
    if upsampler is not None and upsampler.factor != config.factor:
        raise ValueError(f"the upsampler enlarges {upsampler.factor} times, {config.factor} was asked for")
    torch.manual_seed(config.loop.seed)
    start = {} if upsampler is None else {"upsampler": digest_of_network(upsampler)}
    start |= {} if layers is None else {"layers": digest_of_network(layers)}
    network = upsampler or PixelUpsampler(config.factor, config.widths, groups=config.groups)
    check_patch(config, network)
    task = UpsamplerTask(network, layers, config, dataset)
    try:
        Loop(task, config.loop, output, report).run(settings_of(config, dataset, start))
    finally:
        if task.video is not None:
            task.video.detach()
    trained = layers or network
    assert not isinstance(trained, LatentUpsampler)
    trained.requires_grad_(False)
    save_result(output / "final", trained.save_pretrained)
    return trained


def check_patch(config: UpsamplerTraining, upsampler: Upsampler) -> None:
    """Refuse patches that the network cannot take. Raises ``ValueError``."""
    step = upsampler.factor * upsampler.size_multiple
    if any(side % step for side in config.patch):
        raise ValueError(f"patches of {config.patch} pixels: both sides must be multiples of {step}")
