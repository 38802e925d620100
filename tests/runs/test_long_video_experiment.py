"""The experiment on long videos: its tiny twin from end to end, and the measures that are its own."""

import json
from itertools import accumulate

import pytest
import torch
from runs.experiments.long_video import CHEAP, SETTINGS, Experiment, main
from runs.experiments.long_video_figures import (
    Footage,
    Look,
    RealWindows,
    figures_of,
    firsts,
    frames_held,
    slope_uncertainty,
    wandering,
)
from runs.experiments.results import PAGES
from tests.tiny import tiny_stack

from latentloom.data.manifest import Caption, Dataset, DatasetWriter
from latentloom.evaluation.drift import slopes
from latentloom.evaluation.features import clip_features
from latentloom.layers.layer_set import LayerSet
from latentloom.stack import Stack
from latentloom.stages.prediction import roll_out

LOOK = Look(every=2, stretch=16, span=8)


def put_footage(folder):
    """What the tiny twin would render, which takes longer than all the rest."""
    frames = torch.randint(256, (3, 32, 32, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with DatasetWriter(folder, {"kind": "tiny", "size": [32, 64]}) as writer:
        for number, split in enumerate(("train", "val", "val")):
            captions = [Caption(start=0, stop=32, text="a road")]
            writer.add(f"tiny{number}_a", frames[number], fps=6.5, captions=captions, split=split)


def test_the_tiny_twin_makes_videos_figures_and_sheets_and_goes_on_where_it_was(tmp_path):
    put_footage(tmp_path / "footage")
    asked = [str(tmp_path), "--tiny", "--starts", "0", "--settings", "the stack's own", "convolutional in time"]
    main(asked)
    judged = next(tmp_path.glob("judged-*"))
    figures = json.loads((judged / "the_stack_s_own" / "seed-0" / "figures.json").read_text())["figures"]
    assert figures["joins over elsewhere"] > 0
    again = judged / "convolutional_in_time" / "seed-0" / "figures.json"
    assert "joins over elsewhere" not in json.loads(again.read_text())["figures"]
    assert (tmp_path / "sheets" / "the_stack_s_own.png").is_file()
    latents = tmp_path / "trials" / "convolutional_in_time" / "seed-0" / "latents.safetensors"
    made = latents.stat().st_mtime_ns
    again.unlink()
    main(asked)
    assert again.is_file()
    assert latents.stat().st_mtime_ns == made, "judging again costs no rollout"


def test_the_page_has_a_place_for_every_table_and_gets_plot_and_figures(tmp_path, monkeypatch):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "long_video.md").write_text((PAGES / "long_video.md").read_text(encoding="utf-8"), encoding="utf-8")
    for module in ("long_video", "long_video_page", "results"):
        monkeypatch.setattr(f"runs.experiments.{module}.PAGES", pages)
    put_footage(tmp_path / "footage")
    main([str(tmp_path), "--tiny", "--page", "--starts", "0", "--settings", "text guidance 1", "strength 1"])
    page = (pages / "long_video.md").read_text(encoding="utf-8")
    assert "not run to the end" not in page
    assert "| strength 1 | text guidance 1 |" in page, "differences from the baseline"
    assert (pages / "long_video.png").is_file() and (pages / "long_video.json").is_file()


@pytest.mark.parametrize("overlap", [1, 2])
def test_joins_are_where_a_rollout_adds_a_window(overlap, tmp_path):
    stack = Stack.load("drive-small")
    experiment = Experiment(
        stack=stack, dataset=Dataset(tmp_path, {}, []), num_frames=44, steps=1, size=stack.info.size
    )
    setting = next(name for name, setting in SETTINGS.items() if setting.overlap == overlap)
    tiny = tiny_stack(layer_set=LayerSet.driving().with_context(), sets=("prediction",))
    window = tiny.info.request("", num_frames=16, num_inference_steps=1)
    pieces = roll_out(tiny, window, torch.zeros(1, 1, 8, 4, 8), 44, overlap=overlap)
    begins = list(accumulate(piece.shape[1] for piece in pieces))[1:-1]
    assert list(experiment.joins(setting)) == begins


def test_a_setting_changes_what_it_names_and_nothing_else(tmp_path):
    stack = Stack.load("drive-small")
    experiment = Experiment(stack=stack, dataset=Dataset(tmp_path, {}, []), num_frames=44, steps=5, size=(128, 256))
    own, noisy = (experiment.window(setting, "a road") for setting in (SETTINGS[CHEAP], SETTINGS["context noise 150"]))
    assert {name for name in vars(own) if getattr(own, name) != getattr(noisy, name)} == {"context_noise"}


def test_the_slope_of_a_line_is_found_and_its_uncertainty_counts_that_neighbours_are_alike():
    line = 3 + 0.25 * torch.arange(100, dtype=torch.float64)
    assert slopes(line).item() == pytest.approx(0.25)
    assert slope_uncertainty(line, 10) == pytest.approx(0, abs=1e-9)
    noise = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slow = noise.repeat_interleave(5)
    assert slope_uncertainty(slow, 20) > 1.5 * slope_uncertainty(slow, 1)
    alone = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert slope_uncertainty(alone, 10) == pytest.approx(slope_uncertainty(alone, 1), rel=0.4)


def test_a_drift_that_stops_shows_in_the_halves():
    values = torch.cat([torch.linspace(0, 50, 51), torch.full((49,), 50.0)]).double() + 1
    found = wandering(values, Look(every=10, span=100))
    assert found["per 100, first half"] == pytest.approx(10)
    assert found["per 100, last half"] == pytest.approx(0, abs=0.2)
    assert found["last/first"] == pytest.approx(51 / values[:10].mean().item())


def test_a_video_is_held_until_one_property_has_left_half_to_twice_its_beginning():
    series = torch.ones(3, 50, dtype=torch.float64)
    assert frames_held(series, LOOK) == 100
    series[1, 20:] = 0.1
    assert 30 <= frames_held(series, LOOK) <= 40
    series[2, 10:] = 5
    assert 12 <= frames_held(series, LOOK) <= 20


def test_the_stretches_lie_at_start_middle_and_end_and_give_the_figures_of_a_video():
    frames = torch.randint(256, (40, 32, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    footage = Footage.seen(40, LOOK, lambda numbers: frames[list(numbers)])
    assert firsts(40, LOOK) == (0, 12, 24)
    assert torch.equal(footage.stretches[2], frames[24:])
    windows = footage.clips.flatten(0, 1)
    real = RealWindows(windows, ["here"] * len(windows), clip_features)
    found = figures_of(footage, range(4, 40, 6), {"features": real}, drive="elsewhere")
    assert found["features, end"] == pytest.approx(0, abs=1e-4)
    assert found["features, end from first window"] > 0.1
    assert found["joins over elsewhere"] == pytest.approx(1, abs=0.1)


def test_a_video_is_not_compared_with_windows_of_its_own_track():
    clips = torch.randint(256, (4, 16, 32, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    clips[2:] //= 4
    real = RealWindows(clips, ["bright", "bright", "dark", "dark"], clip_features)
    places = real.place(clips[:2])
    assert real.distance(places, "dark") == pytest.approx(0, abs=1e-4)
    assert real.distance(places, "bright") > 0.1
