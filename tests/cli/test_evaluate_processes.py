"""``--processes``: the same bits from one process and from two, in order; a process that dies ends the command."""

import json
import os

import pytest
from tests.cli.evaluation_films import worse_films
from tests.command import refusal
from tests.evaluation.stand_ins import TinyI3D, TinyInception, scripted

from latentloom.cli import evaluation_processes
from latentloom.cli.evaluation_processes import in_processes

pytestmark = pytest.mark.filterwarnings("ignore:a Frechet distance of")


def figures(path):
    report = json.loads(path.read_text())
    receipt = report.pop("receipt")
    return report, receipt["inputs"], receipt["networks"]


def test_one_process_is_two_processes_to_the_last_bit(latentloom, films, tmp_path):
    worse = worse_films(films, tmp_path / "worse")
    (worse / "drive0.mp4").rename(worse / "made-1.mp4")
    (worse / "drive1.mp4").rename(worse / "made-2.mp4")
    networks = scripted(TinyI3D(), tmp_path / "i3d.pt"), scripted(TinyInception(), tmp_path / "inception.pt")
    options = ("--size", "32x64", "--window", 9, "--resamples", 5, "--no-plots", "--diversity", "--training", films)
    options += ("--i3d", networks[0], "--inception", networks[1], "--inception-score")
    found = []
    for processes in (1, 2):
        output = tmp_path / f"{processes}.json"
        result = latentloom("evaluate", films, worse, *options, "--processes", processes, "-o", output)
        assert result.code == 0, result.err
        assert "real videos: 2/2" in result.out and "generated videos: 2/2" in result.out
        assert result.out.count("its code runs now") == 2, "told once, not by each process"
        found.append(figures(output))
    assert found[0] == found[1]
    assert {"fvd", "fid", "kid", "frechet", "inception_score", "diversity", "memorisation"} <= set(found[0][0])


def test_results_come_in_order_whoever_was_faster():
    assert list(in_processes(abs, [-3, 2, -1, 0], 2)) == [3, 2, 1, 0]
    assert list(in_processes(abs, [], 2)) == []


def test_an_error_is_that_of_the_item_and_a_dead_process_is_told_of_and_not_waited_for():
    with pytest.raises(ValueError, match="invalid literal"):
        list(in_processes(int, ["1", "two", "3"], 2))
    with pytest.raises(ValueError, match=r"one of 2 processes died.*fewer --processes"):
        list(in_processes(os._exit, [9, 9, 9], 2))


def test_a_process_that_dies_ends_the_command_with_one_line(latentloom, films, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_processes, "in_processes", lambda _, items, n: in_processes(os._exit, [9, 9], n))
    options = ("--size", "32x64", "--window", 4, "--no-warp", "--processes", 2, "-o", tmp_path / "out.json")
    message = refusal(latentloom("evaluate", films, films, *options))
    assert "one of 2 processes died" in message and "--batch-size" in message
    assert list(tmp_path.iterdir()) == []
