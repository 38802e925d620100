import json

import pytest
from tests.command import refusal


def test_a_stack_shows_its_members_and_where_the_temporal_layers_sit(latentloom, saved_stack_folder):
    out = latentloom("inspect", saved_stack_folder).out
    for said in ("stack tiny", "4 frames of 32x64, 6 a second", "temporal/keyframes", "795,272", "README.md"):
        assert said in out
    row = next(line.split() for line in out.splitlines() if "mid_block.resnets.0" in line)
    assert row[1:3] == ["TemporalResBlock", "64"]
    assert 0 < float(row[-1]) < 1


def test_a_set_of_layers_alone_shows_its_fingerprint(latentloom, stack, saved_stack_folder):
    out = latentloom("inspect", saved_stack_folder / "temporal" / "keyframes").out
    assert stack.keyframe_layers.fingerprint in out
    assert out.count("TemporalTransformer") == 4


def test_a_stated_licence_is_shown(latentloom, stack_folder):
    assert "not stated" in latentloom("inspect", stack_folder).out
    card = stack_folder / "README.md"
    card.write_text("---\nlicense: apache-2.0\n---\n" + card.read_text())
    assert "licence     apache-2.0" in latentloom("inspect", stack_folder).out


def test_a_dataset_shows_its_clips_captions_and_latents(latentloom, films, tmp_path):
    latentloom("prepare", films, "-o", tmp_path / "data", "--size", "16x32", "--caption", "a road")
    out = latentloom("inspect", tmp_path / "data").out
    assert "2 clips, 24 frames of 16x32" in out
    assert "drive1" in out
    assert "1 captions\n  a road" in out


def test_a_run_shows_how_far_it_is_even_when_its_log_was_cut(latentloom, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"config": {"loop.steps": 9, "optimizer": "muon"}}))
    (tmp_path / "checkpoints" / "step-00000004").mkdir(parents=True)
    (tmp_path / "log.jsonl").write_text('{"step": 4, "loss": 0.5}\n{"step": 5, "lo')
    out = latentloom("inspect", tmp_path).out
    assert "step 4 of 9" in out
    assert "continues" in out
    assert "step-00000004" in out
    assert "loss 0.5" in out


def test_a_video_shows_its_size_and_rate(latentloom, films):
    assert "12 frames of 32x64, 6 a second" in latentloom("inspect", films / "drive0.mp4").out


@pytest.mark.parametrize("name", ["nowhere", ".", "notes.txt"])
def test_what_is_nothing_of_ours_is_refused(latentloom, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    assert name in refusal(latentloom("inspect", name))
