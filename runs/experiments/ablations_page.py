"""The tables and the plot of the ablations, from their trials (``ablations``)."""

from runs.experiments import judging, results
from runs.experiments.ablations import BASELINE, operations_of_image
from runs.experiments.lab import SOURCES, Lab
from runs.experiments.trials import Figures, Trials

COST = {
    "parameters, M": ("temporal parameters, M", 2),
    "operations, G": ("operations of an evaluation, G a frame", 3),
    "operations of layers, G": ("of its layers alone", 3),
}
TABLES = ("cost", "loss", "differences", "made")
LOSS = {"loss": ("held-out loss", 4)} | {f"loss, {source}": (source, 4) for source in SOURCES}
MADE = {
    "frame difference over real": ("frame difference over real", 3),
    "warp error": ("warp error", 2),
    "sharpness over real": ("sharpness over real", 3),
    "MMD, clips": ("squared MMD, clips", 2),
}
ALONE = "image model alone (alpha = 1)"
OTHER_SPACE = "pixels"


def report(lab: Lab, trials: Trials, found: dict[str, dict[int, Figures]], *, page: bool) -> None:
    """Judge the clips that were made, then write everything."""
    real = judging.Real(lab.frames(lab.windows(count=4 * lab.size.held_out)))
    alone: dict[int, Figures] = {}
    image = operations_of_image(lab)
    for variant, seeds in found.items():
        for seed, figures in seeds.items():
            trial = trials.trial(variant, seed)
            figures |= real.figures(judging.kept_frames(trial, "made"))
            if variant != OTHER_SPACE:
                figures["operations of layers, G"] = figures["operations, G"] - image
            if variant == BASELINE:
                own = {
                    "loss" + name.removeprefix("loss of the image model"): value
                    for name, value in figures.items()
                    if name.startswith("loss of the image model")
                }
                alone[seed] = own | real.figures(judging.kept_frames(trial, "alone"))
    everything = {**found, ALONE: alone}
    latent = {variant: rows for variant, rows in everything.items() if variant != OTHER_SPACE}
    less = results.differences(latent, BASELINE, "loss")
    tables = {
        "cost": results.table(found, COST),
        "loss": results.table(latent, LOSS),
        "differences": results.markdown(
            ["less the baseline, seed by seed", "held-out loss x 1000"],
            [[variant, estimate.times(1000).told(2)] for variant, estimate in less.items()],
        ),
        "made": results.table(everything, MADE),
    }
    for name, table in tables.items():
        print(name, table, sep="\n")
        if page:
            results.put_table(results.PAGES / "ablations.md", name, table)
    if page:
        results.keep("ablations", everything, trials.settings)
        gains = {variant: less.times(-1000) for variant, less in results.differences(latent, ALONE, "loss").items()}
        title = "What layers take from the image model's loss on held-out clips"
        results.plot_bars(results.PAGES / "ablations.png", title, gains, axis="squared error of v, times 1000")
