"""The experiment on graded corruptions: its tiny twin from end to end, and what it makes of distances."""

import json

import pytest
import torch
from runs.experiments import corruptions, corruptions_page, results
from runs.experiments.corruptions import (
    LEVELS,
    METRICS,
    Experiment,
    Metric,
    Size,
    held_out_windows,
    main,
    ratio_from_one,
)
from runs.experiments.corruptions_page import in_units, rank_correlation, rising, seen_table
from runs.experiments.trials import Trial, Trials

from latentloom.data.manifest import Dataset, DatasetWriter

pytestmark = pytest.mark.filterwarnings("ignore:a Frechet distance of")


def mean_of(clips: torch.Tensor) -> torch.Tensor:
    return clips.double().mean((1, 2, 3, 4))[:, None]


def darker(clip: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    return (clip * (1 - share)).byte()


BRIGHTNESS = {"brightness": Metric(measure=mean_of, distance=ratio_from_one)}


def test_the_tiny_twin_judges_every_strength_and_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(corruptions, "LEVELS", {name: LEVELS[name] for name in ("noise", "backward")})
    main([str(tmp_path), "--tiny", "--seeds", "0"])
    assert "| backward |" in capsys.readouterr().out
    figures = json.loads((tmp_path / "noise" / "seed-0" / "figures.json").read_text())["figures"]
    assert set(figures) == {f"{metric} at {level}" for metric in METRICS for level in ("0", "2", "4", "8", "16")}
    assert figures["warp error at 16"] != figures["warp error at 0"]
    monkeypatch.setattr(Experiment, "corrupted", None)
    main([str(tmp_path), "--tiny", "--seeds", "0"])


def test_a_stronger_corruption_of_the_second_half_is_farther_from_the_first(monkeypatch, tmp_path):
    monkeypatch.setattr(corruptions, "METRICS", BRIGHTNESS)
    monkeypatch.setattr(
        corruptions, "LEVELS", {"darker": (lambda clip, share, _: (clip * (1 - share)).byte(), (0.2, 0.5))}
    )
    experiment = Experiment(torch.full((6, 4, 8, 8, 3), 100, dtype=torch.uint8))
    figures = experiment.corrupted(Trial(variant="darker", seed=0, folder=tmp_path))
    assert figures == pytest.approx({"brightness at 0": 0, "brightness at 0.2": 0.2, "brightness at 0.5": 0.5})
    first, second = experiment.deal(0, 0)
    assert len(first) == len(second) == 3 and not set(first.tolist()) & set(second.tolist())
    assert not torch.equal(first, experiment.deal(1, 0)[0])


def test_held_out_windows_share_no_frame_and_none_is_of_a_gif(tmp_path):
    with DatasetWriter(tmp_path / "dataset", {"kind": "tiny", "size": [8, 8]}) as writer:
        for name, split in (("lake_a", "train"), ("lake_b", "val"), ("city_gif_2", "val")):
            frames = torch.arange(20, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 8, 8, 3)
            writer.add(name, frames.contiguous(), fps=6.5, split=split)
    windows = held_out_windows(Dataset.load(tmp_path / "dataset"), Size(pixels=(4, 4)))
    assert all(window.shape == (8, 4, 4, 3) for window in windows)
    assert [window[:, 0, 0, 0].tolist() for window in windows] == [list(range(8)), list(range(8, 16))]


def test_units_are_the_deviations_of_clean_halves_and_order_is_told():
    chance = [1.0, 2.0, 3.0]
    seeds = {0: {"a at 0": 2.0, "a at 1": 4.0, "a at 2": 8.0, "another a at 1": 9.0}}
    assert in_units(seeds, "a", chance) == [[0, 2, 6]]
    assert rising([0, 1, 2]) and not rising([0, 2, 2])
    assert rank_correlation([0, 1, 5]) == pytest.approx(1) and rank_correlation([5, 1, 0]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1]) == 0
    assert 0 < rank_correlation([0, 1, 1]) < 1


def test_the_weakest_strength_is_the_one_from_which_on_every_seed_sees():
    units = {"noise": {"sees": [[0, 4, 5], [0, 2, 5]], "blind": [[0, 1, 0.5], [0, 1, 2]]}}
    table = seen_table(units, {"noise": [0, 8, 16]}, ["sees", "blind"])
    assert table.splitlines()[-1] == "| noise | 16 | - (0.75) |"


def test_the_page_the_plot_and_the_figures_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "PAGES", tmp_path)
    places = [f"<!-- table {name} -->\n<!-- end -->" for name in ("seen", "units", "clean")]
    (tmp_path / "corruptions.md").write_text("words\n" + "\n".join(places))
    trials = Trials(work=tmp_path / "work", settings={"levels": {"noise": [8, 16]}})
    found = {"noise": {seed: {"a at 0": 1.0, "a at 8": 2.0, "a at 16": 40.0 + seed} for seed in (0, 1)}}
    corruptions_page.report(trials, found, {0: {"a": 1.0}, 1: {"a": 2.0}}, 12, page=True)
    assert "| noise | 16 |" in (tmp_path / "corruptions.md").read_text()
    assert json.loads((tmp_path / "corruptions.json").read_text())["windows"] == 12
    assert (tmp_path / "corruptions.png").stat().st_size > 1000
