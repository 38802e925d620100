"""How the laboratory's models are judged: by the loss on held-out clips, and by clips they make.

The loss is that of training on clips that were left out, at fixed diffusion steps under fixed noise: a number with
little chance in it, which tells how much of a frame the others say. Made clips are judged by sharpness, motion, and in
the own video network's features (never an FVD) by the squared maximum mean discrepancy of KID, whose expectation does
not depend on how few clips there are, where a Frechet distance's does. That network hardly sees noise (corruptions.md).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from runs.experiments.lab import SOURCES, Lab
from runs.experiments.trials import Trial
from safetensors.torch import load_file
from torch import Tensor

from latentloom.align import Aligned
from latentloom.conditions import Conditions
from latentloom.data.clips import Window
from latentloom.data.latents import LatentCache
from latentloom.data.sheets import contact_sheet
from latentloom.diffusion.guidance import guided
from latentloom.diffusion.objective import add_noise, target
from latentloom.diffusion.sampler import clip_noise, denoise
from latentloom.diffusion.schedule import NoiseSchedule
from latentloom.evaluation.consistency import warp_error
from latentloom.evaluation.drift import properties
from latentloom.evaluation.kernel import squared_mmd
from latentloom.evaluation.motion import frame_difference
from latentloom.evaluation.video_network import video_features
from latentloom.files import save_tensors
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.image_ldm import ImageLDM
from latentloom.precision import autocast, preferred_dtype
from latentloom.seeds import seed_of
from latentloom.shapes import to_pixels
from latentloom.training.clips import TextTable

BATCH = 8
Predict = Callable[[Tensor, Tensor, Conditions], Tensor]
"""Noisy clips, diffusion steps and conditions to what a video model predicts."""


def quickly() -> torch.autocast:
    """The context of every forward pass outside the training loop."""
    return autocast("cpu", preferred_dtype())


def with_layers(video: Aligned, alpha: float | None = None) -> Predict:
    """The video model; with ``alpha=1`` the image model."""
    return lambda noisy, times, conditions: video.predict(noisy, times, conditions, alpha=alpha)


def told(model: ImageLDM, windows: Sequence[Window], temporal_text: TextTable | None = None) -> Conditions:
    """Captions and rates of windows; ``temporal_text``: what the temporal layers read instead."""
    captions = [window.caption for window in windows]
    return Conditions(
        text=TextTable(model)(captions),
        temporal_text=None if temporal_text is None else temporal_text(captions),
        numbers={"fps": torch.tensor([window.fps for window in windows])},
    )


@torch.no_grad()
def held_out_losses(
    lab: Lab,
    model: ImageLDM,
    predict: Predict,
    windows: Sequence[Window],
    *,
    cache: LatentCache | None = None,
    temporal_text: TextTable | None = None,
) -> Tensor:
    """The squared error of the prediction (v) of each window, mean over ``Size.times``; noise is the same for all."""
    schedule, losses = NoiseSchedule.from_scheduler(model.scheduler), []
    for place in range(0, len(windows), BATCH):
        part = windows[place : place + BATCH]
        clean, conditions, errors = lab.latents(part, cache), told(model, part, temporal_text), []
        for time in lab.size.times:
            generator = torch.Generator().manual_seed(seed_of(place, time))
            noise, times = torch.randn(clean.shape, generator=generator), torch.full((len(part),), time)
            with quickly():
                made = predict(add_noise(clean, noise, times, schedule), times, conditions).float()
            wanted = target(clean, noise, times, schedule, model.scheduler.config["prediction_type"])
            errors.append((made - wanted).square().flatten(1).mean(1))
        losses.append(torch.stack(errors).mean(0))
    return torch.cat(losses)


def by_source(lab: Lab, windows: Sequence[Window], losses: Tensor, name: str) -> dict[str, float]:
    """Mean loss, and that of each source: ``name`` and ``name, lake``."""
    ids = [lab.dataset.records[window.record].id for window in windows]
    figures = {name: losses.mean().item()}
    for source in SOURCES:
        own = [place for place, record in enumerate(ids) if record.startswith(source)]
        if own:
            figures[f"{name}, {source}"] = losses[own].mean().item()
    return figures


def made_latents(
    model: ImageLDM, predict: Predict, windows: Sequence[Window], shape: Sequence[int], seed: int, steps: int
) -> Tensor:
    """Clips from noise under the captions of ``windows``, ``n t c h w`` of ``shape``; text guidance 2."""
    parts, empty = [], TextTable(model)([""])
    with quickly():
        for place in range(0, len(windows), BATCH):
            part = windows[place : place + BATCH]
            conditions, source = told(model, part), torch.Generator().manual_seed(seed_of(seed, place))
            noise = clip_noise((len(part), *shape), source, "cpu", torch.float32)
            chain = guided(predict, conditions.with_text(empty.expand(len(part), -1, -1)), (2.0, conditions))
            parts.append(denoise(chain, noise, model.scheduler, steps).float())
    return torch.cat(parts)


@torch.no_grad()
def decoded(lab: Lab, latents: Tensor) -> Tensor:
    """Latents decoded frame by frame, uint8 ``n t h w 3``."""
    autoencoder = VideoAutoencoder(lab.vae)
    with quickly():
        return torch.cat([to_pixels(autoencoder.decode(clip[None], chunk_size=8).float()) for clip in latents])


class Real:
    """Real clips ``n t h w 3`` to be compared with, and what every comparison needs of them."""

    def __init__(self, clips: Tensor) -> None:
        self.change = mean([frame_difference(clip) for clip in clips])
        self.sharpness = mean([sharpness(clip) for clip in clips])
        self.clips = video_features(clips)

    def figures(self, made: Tensor) -> dict[str, float]:
        """Made clips, ``n t h w 3``, beside them."""
        return {
            "frame difference over real": mean([frame_difference(clip) for clip in made]) / self.change,
            "warp error": mean([warp_error(clip) for clip in made]),
            "sharpness over real": mean([sharpness(clip) for clip in made]) / self.sharpness,
            "MMD, clips": squared_mmd(video_features(made), self.clips),
        }


def sharpness(clip: Tensor) -> float:
    """Of the frames of ``t h w 3``, mean: the size of neighbours' differences, noise included."""
    return properties(clip)[2].mean().item()


def mean(values: Sequence[Any]) -> float:
    return float(sum(values) / len(values))


def keep_frames(trial: Trial, name: str, frames: Tensor) -> None:
    """Made clips, and a sheet of eight of them."""
    save_tensors(trial.folder / f"{name}.safetensors", {"frames": frames})
    shown = frames[:: max(1, len(frames) // 8)][:8]
    contact_sheet(shown.flatten(0, 1), trial.folder / f"{name}.png", columns=shown.shape[1])


def kept_frames(trial: Trial, name: str) -> Tensor:
    return load_file(trial.folder / f"{name}.safetensors")["frames"]
