"""What the video network learns: clips that are spoiled, and what it must tell of them.

One linear map reads all answers from the features, so that what they know lies in them openly, where a distance between
Gaussians sees it. Taught are frames in wrong order and repeated, playback direction, noise, blur and a warp that stands
still. Not taught, and therefore worth measuring: flicker, jitter, compression and warps that move.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentloom.data.clips import Window, clip_windows
from latentloom.data.manifest import Dataset
from latentloom.evaluation.corruptions import blur, noise, repeating_order, shuffled_order, still_warp, swapped_order
from latentloom.evaluation.video_network import NUM_FEATURES, VideoNetwork, prepared
from latentloom.training.order import Draw

RATES = (3.3, 6.5, 13.0)
NUM_FRAMES = 16
ORDERS = ("in order", "halves swapped", "shuffled", "repeats")
WINDOWS = (2, 4, 8, NUM_FRAMES)
STEERING = {"lake": 0.15, "world": 0.03, "extra": 0.03}
"""The deviation of the steering of each kind of drive, by which it is divided; ids begin so."""
METRES = 2.0
"""By which the distance driven from frame to frame is divided."""
LOOKS = {"noise": (noise, 24.0), "blur": (blur, 2.5), "warp": (still_warp, 4.0)}
"""Faults of pictures at 64x128, and their greatest strength."""
ANSWERS = {"steering": 1, "distance": 1, "backward": 1, "order": len(ORDERS), "disorder": 1}
ANSWERS |= dict.fromkeys(LOOKS, 1)
WEIGHTS = {"steering": 2.0, "backward": 2.0}
"""What is hard to learn counts more."""


class Clips:
    """Windows of several datasets at several rates. An item holds ``frames`` (``t h w 3``) and what is true of them."""

    def __init__(self, datasets: Sequence[Dataset], *, split: str, step: int = 2, leave_out: str = "city_gif") -> None:
        self.places = list[tuple[Dataset, Window]]()
        for dataset in datasets:
            found = dict[tuple[int, int, int], Window]()  # two rates may be served by the same frames
            for fps in RATES:
                for window in _served(dataset, fps, split, step):
                    if not dataset.records[window.record].id.startswith(leave_out):
                        found[window.record, window.first, window.indices[-1]] = window
            self.places += [(dataset, window) for window in found.values()]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        dataset, window = self.places[draw.item]
        record = dataset.records[window.record]
        family = next((name for name in STEERING if record.id.startswith(name)), None)
        mean = {name: _mean(record.labels[name], window) for name in ("steering", "speed") if name in record.labels}
        return {
            "id": record.id,
            "frames": averaged(dataset.frames(record, window.indices)),
            "steering": mean["steering"] / STEERING[family] if family and "steering" in mean else float("nan"),
            "distance": mean["speed"] / window.fps / METRES if "speed" in mean else float("nan"),
        }


def _served(dataset: Dataset, fps: float, split: str, step: int) -> list[Window]:
    """Windows at a rate; none where the clips are too short for a slow one."""
    try:
        return clip_windows(dataset, NUM_FRAMES, fps, split=split, step=step)
    except ValueError:
        return []


def _mean(values: Sequence[float], window: Window) -> float:
    return sum(values[k] for k in window.indices) / window.num_frames


def averaged(frames: Tensor) -> Tensor:
    """Frames ``t h w 3`` at the network's size, uint8."""
    return ((prepared(frames[None])[0] + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How a clip is played: frames ``indices``, in one of ``ORDERS``."""

    indices: Tensor
    order: int

    @property
    def disorder(self) -> float:
        """How far the steps between frames are from 1, on the mean, within a logarithm."""
        return torch.log1p((self.indices.diff() - 1).abs().float().mean()).item()


def drawn_lesson(num_frames: int, generator: torch.Generator) -> Lesson:
    """Half of the clips in order, the rest spoiled in one of three ways."""
    order = int(torch.randint(2 * (len(ORDERS) - 1), (), generator=generator))
    order = order if order < len(ORDERS) else 0
    indices = torch.arange(num_frames)
    if ORDERS[order] == "halves swapped":
        indices = swapped_order(num_frames)
    elif ORDERS[order] == "shuffled":
        window = WINDOWS[int(torch.randint(len(WINDOWS), (), generator=generator))]
        indices = shuffled_order(num_frames, window, generator)
    elif ORDERS[order] == "repeats":
        share = 0.15 + 0.85 * torch.rand((), generator=generator).item()
        indices = repeating_order(num_frames, share, generator)
    return Lesson(indices=indices, order=order)


def spoiled(clip: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    """Every second clip with one fault of ``LOOKS``, and how much of each it has, 0 to 1: the root of its strength."""
    told = dict.fromkeys(LOOKS, 0.0)
    name = list(LOOKS)[int(torch.randint(len(LOOKS), (), generator=generator))]
    if torch.rand((), generator=generator) < 0.5:
        told[name] = torch.rand((), generator=generator).item()
        corrupt, most = LOOKS[name]
        clip = corrupt(clip, most * told[name] ** 2, generator)
    return clip, told


def taught(batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Clips ``2n t h w 3`` as they are shown, and the truth of each: all of them forward, then all of them backward.

    That both directions of a clip come together leaves nothing to tell them by but the direction. Half are mirrored,
    which turns the wheel.
    """
    frames, count = batch["frames"], len(batch["frames"])
    lessons = [drawn_lesson(frames.shape[1], generator) for _ in range(count)]
    mirrored = torch.rand(count, generator=generator) < 0.5
    looks = [spoiled(clip, generator) for clip in frames]  # before its frames are put into another order
    shown = torch.stack([clip[lesson.indices] for (clip, _), lesson in zip(looks, lessons, strict=True)])
    shown = torch.where(mirrored.view(-1, 1, 1, 1, 1), shown.flip(-2), shown)
    whole = torch.tensor([lesson.order == 0 for lesson in lessons])
    directed = torch.tensor([lesson.order != ORDERS.index("shuffled") for lesson in lessons])
    unknown = torch.nan
    truth = {
        "steering": torch.where(whole, batch["steering"] * torch.where(mirrored, -1, 1), unknown).float(),
        "distance": torch.where(whole, batch["distance"], unknown).float(),
        "order": torch.tensor([lesson.order for lesson in lessons]),
        "disorder": torch.tensor([lesson.disorder for lesson in lessons]),
    }
    truth |= {name: torch.tensor([told[name] for _, told in looks]) for name in LOOKS}
    backward = torch.cat([torch.where(directed, direction, unknown) for direction in (0.0, 1.0)])
    return torch.cat([shown, shown.flip(1)]), {name: value.repeat(2) for name, value in truth.items()} | {
        "backward": backward
    }


class Pupil(nn.Module):
    """The network and the linear map that reads the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.network = VideoNetwork()
        self.read = nn.Linear(NUM_FEATURES, sum(ANSWERS.values()))

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        answers = self.read(self.network(clips)).float().split(list(ANSWERS.values()), 1)
        return dict(zip(ANSWERS, answers, strict=True))


class LessonLoss(nn.Module):
    """The weighted mean of all losses; clips are cut to 8, 12 or 16 frames, brightness and contrast drawn anew."""

    def __init__(self, pupil: Pupil) -> None:
        super().__init__()
        self.pupil = pupil

    def forward(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        length = (8, 12, NUM_FRAMES)[int(torch.randint(3, (), generator=generator))]
        first = int(torch.randint(NUM_FRAMES - length + 1, (), generator=generator))
        with torch.autocast(generator.device.type, enabled=False):  # a depthwise blur in bfloat16 takes minutes
            shown, truth = taught({**batch, "frames": batch["frames"][:, first : first + length]}, generator)
        light = torch.randn(2, len(shown), 1, 1, 1, 1, generator=generator)
        clips = shown.movedim(-1, 2).float() / 127.5 - 1
        answers = self.pupil((clips * (1 + 0.1 * light[0]) + 0.1 * light[1]).clamp(-1, 1))
        losses = {name: loss_of(name, answers[name], truth[name]) for name in ANSWERS}
        weighted = torch.stack([WEIGHTS.get(name, 1.0) * loss for name, loss in losses.items()])
        return weighted.mean(), {name: loss.item() for name, loss in losses.items()}


def loss_of(name: str, answers: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy of classes, smooth L1 of numbers, over what is known (is finite); 0 where nothing is."""
    known = truth.isfinite()
    if not bool(known.any()):
        return answers.sum() * 0
    answers, truth = answers[known], truth[known]
    if truth.dtype == torch.long:
        return F.cross_entropy(answers, truth)
    if name == "backward":
        return F.binary_cross_entropy_with_logits(answers[:, 0], truth)
    return F.smooth_l1_loss(answers[:, 0], truth, beta=0.5)
