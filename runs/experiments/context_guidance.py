"""Experiment a, context guidance: what a scale above 1 for the given frames does (paper, Sec. 3.2 and its ablations).

    python -m runs.experiments.context_guidance work/lab work/clips --page      # three seeds; ten minutes of one core
    python -m runs.experiments.context_guidance work/tiny work/clips --size tiny --seeds 1

Expected: docs/results/context_guidance.json and the table "guidance" of docs/results/ablations.md. Prediction layers (S
of 0, 1, 2) on the image models of ``ablations``; two frames of held-out clips are given, the others made under scales
of 1 to 3, the same noise for all. Killed, the same command goes on; a training by its checkpoints.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from runs.experiments import judging, results
from runs.experiments.lab import BOTH, SIZES, Lab, check_page, new_layers, parser_of, trained_layers
from runs.experiments.trials import Figures, Trial, Trials, command
from torch import Tensor

from latentloom.align import Aligned, attach
from latentloom.data.clips import Window
from latentloom.diffusion.guidance import guided
from latentloom.diffusion.known_frames import KnownFrames
from latentloom.diffusion.sampler import clip_noise, denoise
from latentloom.evaluation.fidelity import psnr
from latentloom.models.image_ldm import ImageLDM
from latentloom.seeds import seed_of
from latentloom.training.clips import TextTable
from latentloom.training.temporal import GivenFrames

SCALES = {"no context guidance (1)": 1.0, "1.5": 1.5, "2": 2.0, "3": 3.0}
GIVEN = 2
COLUMNS = {
    "PSNR": ("PSNR of made frames, dB", 2),
    "PSNR, last": ("of the last", 2),
    "frame difference over real": ("frame difference over real", 3),
    "warp error": ("warp error", 2),
    "sharpness over real": ("sharpness over real", 3),
    "MMD, clips": ("squared MMD, clips", 2),
}


class Guidance:
    """One trial a scale; the layers of a seed are trained once."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.windows = lab.windows(count=max(1, lab.size.made // 4))

    def make(self, trial: Trial) -> Figures:
        lab, model = self.lab, self.lab.image_model(trial.seed)
        layers = new_layers(model.unet, BOTH.with_context(), trial.seed)
        config = lab.temporal_training(trial.seed, given=GivenFrames(first=(0, 1, 2)))
        config = replace(config, loop=replace(config.loop, steps=2 * config.loop.steps))  # a third sees no given frame
        layers = trained_layers(layers, model, config, lab, lab.work / "prediction" / f"seed-{trial.seed}")
        video = attach(model.unet, layers)
        latents = predicted(lab, model, video, self.windows, SCALES[trial.variant], trial.seed)
        video.detach()
        frames = judging.decoded(lab, latents)
        judging.keep_frames(trial, "made", frames)
        real = lab.frames(self.windows)
        errors = torch.stack([psnr(made, true) for made, true in zip(frames, real, strict=True)])[:, GIVEN:]
        return {"PSNR": errors.mean().item(), "PSNR, last": errors[:, -1].mean().item()}


def predicted(lab: Lab, model: ImageLDM, video: Aligned, windows: Sequence[Window], scale: float, seed: int) -> Tensor:
    """The latents of windows of which the first two frames are given, without noise on these."""
    parts, empty = [], TextTable(model)([""])
    for place in range(0, len(windows), judging.BATCH):
        part = windows[place : place + judging.BATCH]
        clean, generator = lab.latents(part), torch.Generator().manual_seed(seed_of(seed, place))
        known = KnownFrames.at(range(GIVEN), clean[:, :GIVEN], clean.shape[1])
        base = judging.told(model, part)
        level = torch.zeros(len(part))
        shown = replace(base, context=known.context, numbers={**base.numbers, "context_noise": level})
        untold = shown.with_text(empty.expand(len(part), -1, -1))
        nothing = base.with_text(untold.text)
        noise = clip_noise(tuple(clean.shape), generator, "cpu", torch.float32)
        chain = guided(judging.with_layers(video), nothing, (scale, untold), (2.0, shown))
        with judging.quickly():
            walk = denoise(known.keeping(chain, noise, model.scheduler), noise, model.scheduler, lab.size.steps)
        parts.append(known.kept(walk.float()))
    return torch.cat(parts)


def report(lab: Lab, trials: Trials, found: dict[str, dict[int, Figures]], *, page: bool) -> None:
    windows = lab.windows(count=4 * lab.size.held_out)
    real = judging.Real(lab.frames(windows)[:, GIVEN - 1 :])  # from the last given frame on
    for variant, seeds in found.items():
        for seed, figures in seeds.items():
            figures |= real.figures(judging.kept_frames(trials.trial(variant, seed), "made")[:, GIVEN - 1 :])
    table = results.table(found, COLUMNS)
    print(table)
    if page:
        results.keep("context_guidance", found, trials.settings)
        results.put_table(results.PAGES / "ablations.md", "guidance", table)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser_of(__doc__, list(SCALES)).parse_args(arguments)
    check_page(options, "ablations", ["guidance"])
    torch.set_num_threads(options.threads)
    lab = Lab.open(options.work, options.clips, SIZES[options.size])
    trials = Trials(work=options.work / "guidance", settings=lab.settings)
    found = trials.run(options.only or list(SCALES), range(options.seeds), Guidance(lab).make)
    report(lab, trials, found, page=options.page)


if __name__ == "__main__":
    command(main)
