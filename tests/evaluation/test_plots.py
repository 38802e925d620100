import pytest
import torch
from PIL import Image

from latentloom.evaluation import plots
from latentloom.evaluation.comparison import SetFigures
from latentloom.evaluation.video_figures import Windows, video_figures

WINDOWS = Windows(length=4)


def test_the_mean_curve_is_over_the_videos_that_are_as_long():
    mean, deviation = plots.mean_curve([torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([3.0, 2.0]).double()])
    assert mean.tolist() == [2, 2, 3]
    assert deviation.tolist() == [1, 0, 0]


def of(level, count, warp=False):
    videos = []
    for k in range(count):
        frames = torch.full((5 + k, 32, 32, 3), level, dtype=torch.uint8)
        frames[::2] += 3
        videos.append(video_figures(frames, windows=WINDOWS, warp=warp, networks={}))
    return SetFigures.of(videos, WINDOWS)


@pytest.mark.parametrize("report", [{}, {"frechet": {"distance": 0.0, "interval": None}}])
def test_a_picture_is_drawn_of_any_report(tmp_path, report):
    paths = {"real": {"path": "a $1 folder"}, "fake": {"path": "b\nc"}}
    plots.plot_figures(of(60, 2, warp=True), of(90, 1), {**paths, **report}, tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert Image.open(tmp_path / "out.png").size == (1200, 1000)


def test_every_distance_has_its_bar_and_its_interval(tmp_path, monkeypatch):
    drawn = list[str]()
    monkeypatch.setattr("matplotlib.axes.Axes.text", lambda self, x, y, text, **more: drawn.append(text))
    found = {"distance": 2.5, "interval": {"low": 1.0, "high": 4.0}}
    report = {"real": {"path": "a"}, "fake": {"path": "b"}, "frechet": found, "fvd": {**found, "distance": 123.456}}
    plots.plot_figures(of(60, 1), of(90, 1), report, tmp_path / "out.png")
    assert {"2.5", "123.5", "1.00"} <= set(drawn)
