"""The tables and the plot of the transfers, from their trials (``transfer``)."""

from collections.abc import Mapping

from runs.experiments import results
from runs.experiments.transfer import ITSELF, OTHER_SEED, other_seed
from runs.experiments.trials import Figures, Trials

IMAGE = "loss of the image model"
DISTANCE = {
    "distance": ("distance of weights", 3),
    IMAGE: ("image model alone", 4),
    "loss": ("with the layers", 4),
    "kept": ("gain kept, %", 0),
    "gain, other footage": ("gain on other footage, x 1000", 1),
}
TABLES = ("distance", "domains", "encoders", "one less two")
SOURCES = {"lake": "lake", "jungle": "jungle", "world": "rendered world", "highway": "real highway"}


def report(trials: Trials, found: Mapping[str, Mapping[str, Mapping[int, Figures]]], *, page: bool) -> None:
    """What layers are worth: the loss of the image model less that with them."""
    distance = {variant: {seed: dict(row) for seed, row in rows.items()} for variant, rows in found["distance"].items()}
    own = {seed: row[IMAGE] - row["loss"] for seed, row in distance[ITSELF].items()}
    for variant, rows in distance.items():
        for seed, row in rows.items():
            # of what layers that were trained on the receiver gain there; of one seed alone, on the giver
            of = other_seed(seed, len(own)) if variant == OTHER_SEED else seed
            row["kept"] = 100 * (row[IMAGE] - row["loss"]) / own.get(of, own[seed])
            row["gain, other footage"] = 1000 * (row[f"{IMAGE}, other footage"] - row["loss, other footage"])
    gains = {
        name: {variant: {seed: gains_of(row) for seed, row in rows.items()} for variant, rows in found[name].items()}
        for name in ("domains", "encoders")
    }
    columns = {source: (title, 1) for source, title in SOURCES.items()}
    tables = {
        "distance": results.table(distance, DISTANCE),
        "domains": results.table(gains["domains"], columns),
        "encoders": results.table(gains["encoders"], {"all": ("all", 2), **columns}),
        "one less two": results.markdown(
            ["", "gain x 1000"],
            [
                [f"{variant} less that of before, seed by seed", estimate.told(2)]
                for variant, estimate in results.differences(gains["encoders"], "that of before", "all").items()
            ],
        ),
    }
    for name, table in tables.items():
        print(name, table, sep="\n")
        if page:
            results.put_table(results.PAGES / "transfer.md", name, table)
    if page:
        everything = {
            f"{name}: {variant}": rows
            for name, part in (("distance", distance), *gains.items())
            for variant, rows in part.items()
        }
        results.keep("transfer", everything, trials.settings)
        bars = {variant: row["kept"] for variant, row in results.estimates(distance).items()}
        results.plot_bars(
            results.PAGES / "transfer.png", "What layers are worth on other image models", bars, axis="gain kept, %"
        )


def gains_of(row: Figures) -> dict[str, float]:
    """Image model alone less with layers, times 1000, by source."""
    gains = {"all": 1000 * (row[IMAGE] - row["loss"])}
    return gains | {source: 1000 * (row[f"{IMAGE}, {source}"] - row[f"loss, {source}"]) for source in SOURCES}
