"""Benchmarks of the full-size stack: their CPU twins run, so that a lent GPU is not spent on finding out."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
UPSCALED = ["decoding, f8", "upscaler", "decoding, f4"]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def test_the_video_is_added_up_as_the_cascade_makes_it(benchmark):
    video, layout = benchmark("gpu_video"), benchmark("layouts").LAYOUTS["full"]
    apart, shared = (video.calls(layout, overlap=overlap, predictions=2) for overlap in (0, 2))
    assert list(apart.items())[:2] == [("key frames", 50), ("interpolation", 13 * 50)]
    assert [apart[name] for name in UPSCALED] == [15, 15 * 50 * 2, 113]
    assert shared["upscaler"] == 19 * 50 * 2
    assert video.total(layout, dict.fromkeys(apart, 2.0), overlap=0, predictions=2)["upscaler"] == 2.0 * 1500


@pytest.mark.parametrize("name", ["image", "ours", "SVD, 1 token", "SVD, 77 tokens"])
def test_each_network_of_the_full_evaluation_runs_at_tiny_size(benchmark, name):
    layout = benchmark("layouts").LAYOUTS["tiny"]
    result = benchmark("full_evaluation").evaluated(name, layout)
    assert result.core_seconds > 0 and result.memory > result.weights > result.parameters


@pytest.mark.parametrize("name", ["evaluation", "training step", "key frames", "interpolation", *UPSCALED])
def test_each_job_for_a_gpu_runs_at_tiny_size(benchmark, name):
    jobs, layout = benchmark("gpu_jobs"), benchmark("layouts").LAYOUTS["tiny"]
    (job,) = [job for job in jobs.jobs(layout, recomputing="all") if job.name == name]
    work = job.build(jobs.Place(device=torch.device("cpu"), dtype=torch.float32))
    result = work.call()
    assert work.moved > 0 and job.goal is None
    assert name == "training step" or result.isfinite().all()


def test_a_job_is_counted_and_measured_beside_its_floor(benchmark, monkeypatch, tmp_path):
    asked = ["--size", "tiny", "--rounds", "1", "--jobs", "decoding, f8", "-o", str(tmp_path / "tiny.json")]
    monkeypatch.setattr(sys, "argv", ["gpu_headline.py", *asked])
    benchmark("gpu_headline").main()
    row, *rest = json.loads((tmp_path / "tiny.json").read_text())["rows"]
    assert not rest and row["seconds"] > row["floor"] > 0 and row["operations"] > 1e8
    assert "| decoding, f8 | 4 frames of 64x64 pixels |" in (tmp_path / "tiny.md").read_text()


@pytest.mark.slow
def test_every_job_runs_and_the_whole_video_is_made(tmp_path):
    command = [sys.executable, BENCHMARKS / "gpu_headline.py", "--size", "tiny", "--rounds", "1", "--whole"]
    subprocess.run([*command, "-o", "tiny.json"], cwd=tmp_path, check=True, capture_output=True)
    report = json.loads((tmp_path / "tiny.json").read_text())
    assert [row["name"] for row in report["rows"]] == [
        *("evaluation", "training step", "key frames", "interpolation"),
        *UPSCALED,
    ]
    assert all(row["seconds"] > 0 and row["memory"] > 0 for row in report["rows"])
    assert len(report["extrapolated"]) == len(report["floors"]) == 4
    assert set(UPSCALED) < set(report["whole"])
