import json

import pytest
import torch
from tests.command import refusal

from latentloom.data.video import read_video, write_video

AT = ("--size", "32x64", "--window", 4)


@pytest.fixture
def worse(films, tmp_path):
    """The films with noise that changes from frame to frame."""
    folder = tmp_path / "worse"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for path in films.iterdir():
        frames = read_video(path).frames
        noise = 30 * torch.randn(frames.shape, generator=generator)
        write_video((frames + noise).clamp(0, 255).to(torch.uint8), folder / path.name, 6)
    return folder


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_videos_are_judged_beside_real_ones(latentloom, films, worse, tmp_path):
    result = latentloom("evaluate", films, worse, "-o", tmp_path / "figures.json", "--paired", *AT)
    assert result.code == 0, result.err
    for said in ("real, 2 videos", "frame difference, fake over real", "Frechet distance", "no FVD", "PSNR", "flicker"):
        assert said in result.out
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["frame_difference_ratio"] > 1.2
    assert report["fake"]["warp_error"] > 0 and report["real"]["warp_error"] > 0
    assert report["real"]["windows"] == 6
    assert report["flicker"] > 5 and 15 < report["psnr"] < 30
    assert report["frechet_distance"] > 0


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_videos_beside_themselves_are_perfect_also_as_a_dataset(latentloom, films, tmp_path):
    latentloom("prepare", films, "-o", tmp_path / "data", "--size", "32x64")
    result = latentloom("evaluate", films, tmp_path / "data", "-o", tmp_path / "figures.json", "--no-warp", *AT)
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["frame_difference_ratio"] == pytest.approx(1)
    assert report["frechet_distance"] < 1e-6
    assert report["real"]["warp_error"] is None


def test_single_videos_pair_whatever_their_names(latentloom, films, tmp_path):
    first, second = sorted(films.iterdir())
    result = latentloom("evaluate", first, second, "--paired", "--no-warp", *AT, "--window", 12)
    assert result.code == 0, result.err
    assert "Frechet" not in result.out, "one window a side has no covariance"


def test_what_cannot_be_judged_is_refused(latentloom, films, worse, tmp_path):
    (worse / "drive1.mp4").rename(worse / "other.mp4")
    assert "has no partner" in refusal(latentloom("evaluate", films, worse, "--paired", *AT))
    assert "no such folder" in refusal(latentloom("evaluate", films, tmp_path / "nothing"))
    assert "has 100 frames" in refusal(latentloom("evaluate", films, films, "--no-warp", *AT, "--window", 100))
    (tmp_path / "there.json").write_text("{}")
    assert "exists" in refusal(latentloom("evaluate", films, films, "-o", tmp_path / "there.json"))
    latentloom("prepare", films, "-o", tmp_path / "data", "--size", "16x32")
    assert "judge at that --size" in refusal(latentloom("evaluate", films, tmp_path / "data", *AT))
