"""Trials are made once and not mixed; means, intervals and tables say what the trials found."""

import json
from statistics import stdev

import pytest
from runs.experiments import readme, results
from runs.experiments.results import Estimate
from runs.experiments.trials import Trial, Trials, named

FOUND = {
    "base": {0: {"loss": 1.0}, 1: {"loss": 2.0}, 2: {"loss": 6.0}},
    "better": {0: {"loss": 0.9}, 1: {"loss": 1.8}, 2: {"loss": 5.8}},
}


class Counted:
    """Makes figures, and keeps which."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []

    def __call__(self, trial: Trial) -> dict[str, float]:
        self.made.append((trial.variant, trial.seed))
        if len(self.made) == 3:
            raise KeyboardInterrupt
        return {"seed": float(trial.seed)}


def test_a_killed_experiment_goes_on_with_the_trial_it_was_at(tmp_path):
    make = Counted()
    with pytest.raises(KeyboardInterrupt):
        Trials(work=tmp_path, settings={"steps": 3}).run(["a", "b"], range(2), make)
    found = Trials(work=tmp_path, settings={"steps": 3}).run(["a", "b"], range(2), make)
    assert make.made == [("a", 0), ("b", 0), ("a", 1), ("a", 1), ("b", 1)]  # seeds first, the broken one again
    assert found == {"a": {0: {"seed": 0.0}, 1: {"seed": 1.0}}, "b": {0: {"seed": 0.0}, 1: {"seed": 1.0}}}


def test_figures_of_other_settings_are_refused_by_name(tmp_path):
    Trials(work=tmp_path, settings={"steps": 3, "size": (1, 2)})
    Trials(work=tmp_path, settings={"steps": 3, "size": [1, 2]})  # a tuple comes back from JSON as a list
    with pytest.raises(SystemExit, match="another steps"):
        Trials(work=tmp_path, settings={"steps": 4, "size": (1, 2)})


def test_variants_have_plain_folder_names():
    assert named("alpha fixed at 0.5") == "alpha_fixed_at_0.5"
    assert named("other footage, 30 steps") == "other_footage_30_steps"


def test_an_interval_is_students():
    estimate = Estimate.of([1.0, 2.0, 6.0])
    assert estimate.mean == 3.0
    assert estimate.half == pytest.approx(4.303 * stdev([1, 2, 6]) / 3**0.5)
    assert estimate.told(1) == "3.0 ± 6.6"
    assert Estimate.of([5.0]).told(0) == "5"
    assert not estimate.differs_from_zero


def test_differences_are_taken_seed_by_seed():
    less = results.differences(FOUND, "base", "loss")["better"]
    assert less.mean == pytest.approx(-0.5 / 3)
    assert less.half == pytest.approx(4.303 * stdev([0.1, 0.2, 0.2]) / 3**0.5)  # what seeds share is out of it
    assert less.differs_from_zero


def test_a_table_has_a_row_for_each_variant_and_leaves_out_what_one_lacks():
    lines = results.table(FOUND | {"alone": {0: {"other": 1.0}}}, {"loss": ("held-out loss", 2)}).splitlines()
    assert lines[0] == "|  | held-out loss |"
    assert lines[2].startswith("| base | 3.00 ± ")
    assert lines[4] == "| alone |  |"


def test_a_table_is_put_in_its_place_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("words\n<!-- table a -->\nold\n<!-- end -->\nmore\n<!-- table b -->\nkept\n<!-- end -->\n")
    results.put_table(page, "a", r"new \1")
    assert page.read_text() == (
        "words\n<!-- table a -->\nnew \\1\n<!-- end -->\nmore\n<!-- table b -->\nkept\n<!-- end -->\n"
    )
    with pytest.raises(SystemExit, match="no place for the table 'c'"):
        results.put_table(page, "c", "new")


def test_figures_are_kept_with_settings_and_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "PAGES", tmp_path)
    results.keep("name", FOUND, {"steps": 3})
    kept = json.loads((tmp_path / "name.json").read_text())
    assert kept["settings"] == {"steps": 3} and kept["machine"]["torch"]
    assert kept["seeds"]["better"]["2"] == {"loss": 5.8}
    assert kept["estimates"]["base"]["loss"]["mean"] == 3.0


def test_the_readmes_table_of_experiments_is_what_their_pages_say():
    assert readme.table() in readme.README.read_text(encoding="utf-8")


def test_a_line_of_the_readme_is_a_difference_and_says_when_it_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "PAGES", tmp_path)
    line = readme.Line(
        question="q", paper="p", page="page", first="better", second="base", figure="loss", unit="losses", digits=1
    )
    assert line.told() is None
    results.keep("page", FOUND, {})
    assert line.told() == ["[q](docs/results/page.md)", "p", "-0.2 ± 0.1 losses (3 seeds)"]
    results.keep("page", {"base": FOUND["base"], "better": {0: {"loss": 0.9}, 1: {"loss": 2.2}}}, {})
    assert line.told()[2] == "0.1 ± 1.9 losses, not told from 0 (2 seeds)"


def test_a_plot_is_a_picture(tmp_path):
    rows = {variant: row["loss"] for variant, row in results.estimates(FOUND).items()}
    results.plot_bars(tmp_path / "plot.png", "title", rows, axis="loss", lines={"real": 2.0})
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
