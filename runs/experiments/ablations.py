"""Experiment a: what of the design matters (paper, Sec. 4.1 and its table of ablations), at equal parameters.

    python -m runs.experiments.ablations work/lab work/clips --page     # three seeds; about an hour of one core, no GPU
    python -m runs.experiments.ablations work/tiny work/clips --size tiny --seeds 1

Expected: a folder a trial, docs/results/ablations.{json,png} and the tables of docs/results/ablations.md. The footage,
``work/clips``, is that of runs/drive_small (``prepare`` of its train.py). Killed, the same command goes on. ``--size
larger`` is the twin for a GPU.

Layers of each kind, on one image model a seed, under the same draws; the design of the paper (convolution and
attention, alpha learned) is the baseline. Convolution and attention alone have equally many parameters, within 5 %,
and so have the baseline, wide convolutions and transformers, twice as many; operations are near. Res blocks alone are
told diffusion time and frame rate, as in the paper. Beside them: alpha fixed or one for each frame, everything trained
from nothing for as many frames as image model and layers saw together, and the same networks on pixels (patches of 8x8
in the place of latents; they predict the clean patch, since 192 numbers of noise do not pass through 48 channels).
Context guidance has a file of its own (``context_guidance``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from runs.experiments import judging
from runs.experiments.lab import (
    ATTENTION,
    BOTH,
    CONVOLUTION,
    SIZES,
    Lab,
    check_page,
    load_into,
    new_layers,
    parser_of,
    state_of,
    trained_image,
    trained_layers,
)
from runs.experiments.trials import Figures, Trial, Trials, command
from torch import Tensor, nn

from latentloom.align import TemporalLayers, attach
from latentloom.conditions import Conditions
from latentloom.data.latents import LatentCache
from latentloom.files import save_tensors
from latentloom.layers.base import Clip
from latentloom.layers.layer_set import LayerSet
from latentloom.layers.mixing import Mixing
from latentloom.models.image_ldm import ImageLDM
from latentloom.models.text import encode_text
from latentloom.operations import operations_of
from latentloom.shapes import from_pixels, to_pixels
from latentloom.training.image import new_image_model
from latentloom.training.loop import Player
from latentloom.training.optimizer import build_optimizers
from latentloom.training.temporal import TemporalTask

PATCH = 8
BASELINE = "convolution + attention"
ALONE_TOO = (BASELINE, "pixels", "end to end")
"""Whose image models have a loss of their own: the others share that of the baseline, which makes clips alone, too."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What is trained: which layers, how they mix, what else learns, and on what."""

    layers: LayerSet = BOTH
    alpha: str = "learned"
    end_to_end: bool = False
    pixels: bool = False


VARIANTS = {
    "convolution": Variant(layers=replace(BOTH, transformer=None)),
    "attention": Variant(layers=LayerSet(transformer=ATTENTION)),
    "wide convolution": Variant(layers=replace(BOTH, transformer=None, res_block=replace(CONVOLUTION, expansion=2))),
    BASELINE: Variant(),
    "transformer": Variant(layers=LayerSet(transformer=replace(ATTENTION, feed_forward_out=3))),
    "alpha fixed at 0.5": Variant(alpha="fixed"),
    "alpha for each frame": Variant(alpha="frame"),
    "end to end": Variant(end_to_end=True),
    "pixels": Variant(pixels=True),
}


class FrameMixing(Mixing):
    """One alpha for each frame index: for clips as long as those of training, or shorter."""

    def __init__(self, num_frames: int) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(num_frames))

    @property
    def alpha(self) -> Tensor:
        """The mean of them, ``1``."""
        return self.logit.sigmoid().mean()[None]

    def temporal_share(self, clip: Clip) -> Tensor:
        """``strength * (1 - alpha)`` of each frame, ``t 1``."""
        if clip.alpha is not None:
            return super().temporal_share(clip)
        return clip.strength * (1 - self.logit[: clip.num_frames, None].sigmoid())


class FixedAlpha(TemporalTask):
    """Alphas stay at 0.5."""

    def __init__(self, layers: TemporalLayers, *rest: Any) -> None:
        super().__init__(layers, *rest)
        for logit in layers.mixing_parameters():
            logit.requires_grad_(False)


class EndToEnd(TemporalTask):
    """Image network, text encoder and layers learn together, from nothing."""

    def __init__(self, layers: TemporalLayers, model: ImageLDM, config: Any, *rest: Any) -> None:
        super().__init__(layers, model, config, *rest)
        everything = nn.ModuleDict({"layers": layers, "unet": model.unet, "text_encoder": model.text_encoder})
        everything.requires_grad_(True)
        self.objective.text = lambda captions: encode_text(model.tokenizer, model.text_encoder, captions)
        alphas = layers.mixing_parameters()
        optimizers = build_optimizers(everything, config.optimizer, fast=alphas, fast_factor=config.alpha_rate)
        self.players = [Player(name="all", objective=self.objective, trained=everything, optimizers=optimizers)]


class Pixels:
    """Frames as patches of 8x8 pixels in channels: what takes the place of latents."""

    def __init__(self, lab: Lab) -> None:
        self.cache = LatentCache(lab.dataset, "pixels")
        self.cache.fill(lambda frames: 2 * F.pixel_unshuffle(from_pixels(frames), PATCH))  # about unit deviation

    def frames(self, patches: Tensor) -> Tensor:
        """``n t c h w`` to uint8 ``n t h w 3``."""
        return to_pixels(F.pixel_shuffle(patches / 2, PATCH).clamp(-1, 1))

    def model(self, lab: Lab, seed: int) -> ImageLDM:
        """The image model on patches, of the same widths."""
        lab, config = replace(lab, cache=self.cache), lab.image_training(seed, prediction_type="sample")
        like = new_image_model(config, lab.dataset, lab.vae)
        torch.manual_seed(seed)
        unet = lab.spec.build(lab.clip_shape[2:], 3 * PATCH**2, config.text_width)
        start = replace(like, unet=unet)
        return trained_image(config, lab, lab.work / "image" / f"pixels-{seed}", start)


class Ablations:
    """Makes the trials: trains, takes losses, makes clips."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.windows = lab.windows()
        self.asked = lab.windows(count=max(1, lab.size.made // 4))

    def make(self, trial: Trial) -> Figures:
        lab, variant = self.lab, VARIANTS[trial.variant]
        pixels = Pixels(lab) if variant.pixels else None
        model, layers = self.trained(trial, variant, pixels)
        video, cache = attach(model.unet, layers), None if pixels is None else pixels.cache
        shape = lab.clip_shape if pixels is None else (lab.clip_shape[0], 3 * PATCH**2, *lab.clip_shape[2:])
        frames = decoder(lab, pixels)
        figures = {"parameters, M": sum(p.numel() for p in layers.parameters()) / 1e6}
        figures["operations, G"] = operations(model, layers, shape)
        for name, alpha in (("loss", None), ("loss of the image model", 1.0)):
            if alpha is not None and trial.variant not in ALONE_TOO:
                continue
            losses = judging.held_out_losses(lab, model, judging.with_layers(video, alpha), self.windows, cache=cache)
            figures |= judging.by_source(lab, self.windows, losses, name)
        for name, alpha in (("made", None), ("alone", 1.0)):
            if alpha is None or trial.variant == BASELINE:
                predict = judging.with_layers(video, alpha)
                latents = judging.made_latents(model, predict, self.asked, shape, trial.seed, lab.size.steps)
                judging.keep_frames(trial, name, frames(latents))
        video.detach()
        return figures

    def trained(self, trial: Trial, variant: Variant, pixels: Pixels | None) -> tuple[ImageLDM, TemporalLayers]:
        lab, config = self.lab, self.lab.temporal_training(trial.seed)
        if variant.end_to_end:
            return self.from_nothing(trial, variant)
        model = lab.image_model(trial.seed) if pixels is None else pixels.model(lab, trial.seed)
        layers, task = new_layers(model.unet, variant.layers, trial.seed), TemporalTask
        if variant.alpha == "fixed":
            task = FixedAlpha
        if variant.alpha == "frame":
            for layer in layers.layers.values():
                layer.mixing = FrameMixing(config.num_frames)
        cache = None if pixels is None else pixels.cache
        return model, trained_layers(layers, model, config, lab, trial.folder, cache=cache, task=task)

    def from_nothing(self, trial: Trial, variant: Variant) -> tuple[ImageLDM, TemporalLayers]:
        """As many frames as image model and layers see, all in clips."""
        lab, config = self.lab, self.lab.temporal_training(trial.seed)
        model = new_image_model(lab.image_training(trial.seed), lab.dataset, lab.vae)
        layers = new_layers(model.unet, variant.layers, trial.seed)
        size, kept = lab.size, trial.folder / "image.safetensors"
        steps = size.layer_steps + size.image_steps * size.images // (size.clips * size.num_frames)
        config = replace(config, loop=replace(config.loop, steps=steps, ema_decay=0.995))
        if kept.is_file():
            load_into(model, kept)
        else:  # killed between the two files, what the layers say would be paired with a fresh image network
            (trial.folder / "layers.safetensors").unlink(missing_ok=True)
        layers = trained_layers(layers, model, config, lab, trial.folder, task=EndToEnd)
        if not kept.is_file():
            save_tensors(kept, state_of(model))
        return model, layers


def decoder(lab: Lab, pixels: Pixels | None) -> Callable[[Tensor], Tensor]:
    return pixels.frames if pixels is not None else lambda latents: judging.decoded(lab, latents)


def operations(model: ImageLDM, layers: TemporalLayers, shape: Sequence[int]) -> float:
    """10^9 operations a frame of an evaluation of a clip ``t c h w``, image network and layers together."""
    video = attach(model.unet, layers)
    text = encode_text(model.tokenizer, model.text_encoder, [""])
    count = operations_of(lambda: video.predict(torch.zeros(1, *shape), 500, Conditions(text=text)))
    video.detach()
    return count / shape[0] / 1e9


def operations_of_image(lab: Lab) -> float:
    """Those of the image network in it: layers of both kinds cost together what each costs for itself."""
    model = lab.image_model(0)
    sets = (replace(BOTH, transformer=None), replace(BOTH, res_block=None), BOTH)
    each = [operations(model, new_layers(model.unet, layers, 0), lab.clip_shape) for layers in sets]
    return each[0] + each[1] - each[2]


def main(arguments: Sequence[str] | None = None) -> None:
    from runs.experiments.ablations_page import TABLES, report

    options = parser_of(__doc__, list(VARIANTS)).parse_args(arguments)
    check_page(options, "ablations", TABLES)
    torch.set_num_threads(options.threads)
    size = SIZES[options.size]
    lab = Lab.open(options.work, options.clips, size)
    trials = Trials(work=options.work / "ablations", settings=lab.settings)
    for seed in range(options.seeds):
        lab.image_model(seed)
    found = trials.run(options.only or list(VARIANTS), range(options.seeds), Ablations(lab).make)
    if BASELINE not in found:
        raise SystemExit(f"made; tables compare with {BASELINE!r}: name it, too")
    report(lab, trials, found, page=options.page)


if __name__ == "__main__":
    command(main)
