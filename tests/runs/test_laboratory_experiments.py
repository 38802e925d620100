"""The laboratory's experiments, their tiny twins: every variant is made, judged, put into a table, and made once."""

import json
from dataclasses import replace

import pytest
import torch
from runs.experiments import ablations, context_guidance, lab, results, transfer
from runs.experiments.ablations import BASELINE, VARIANTS, FrameMixing
from runs.experiments.trials import Trials

from latentloom.align import attach
from latentloom.conditions import Conditions
from latentloom.data.manifest import Caption, DatasetWriter
from latentloom.data.video_writer import write_video
from latentloom.layers.base import Clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A clip of each source to learn from and one held out."""
    folder = tmp_path_factory.mktemp("footage") / "clips"
    generator = torch.Generator().manual_seed(0)
    with DatasetWriter(folder, {"kind": "test", "size": [32, 64]}) as writer:
        for source in lab.SOURCES:
            for split in ("train", "val"):
                frames = torch.randint(256, (6, 32, 64, 3), generator=generator, dtype=torch.uint8)
                captions = [Caption(start=0, stop=6, text=f"a road, {source}")]
                writer.add(f"{source}_{split}", frames, fps=6.5, captions=captions, split=split)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """One work folder for all: the image models are shared."""
    return tmp_path_factory.mktemp("lab")


def test_what_is_compared_has_equally_many_parameters():
    size = lab.Size()
    spec = lab.DenoiserSpec(widths=size.widths, attention=(True,) * len(size.widths), norm_groups=size.norm_groups)
    unet = spec.build((8, 16), 8, 64)
    count = {
        name: sum(p.numel() for p in lab.new_layers(unet, VARIANTS[name].layers, 0).parameters()) for name in VARIANTS
    }
    for first, *others in (("convolution", "attention"), (BASELINE, "wide convolution", "transformer")):
        assert all(abs(count[other] / count[first] - 1) < 0.05 for other in others)


def pages(folder, monkeypatch, name, tables):
    """An empty page with places for its tables."""
    monkeypatch.setattr(results, "PAGES", folder)
    (folder / f"{name}.md").write_text("".join(f"<!-- table {table} -->\n<!-- end -->\n" for table in tables))


def test_ablations_are_made_and_judged_once(clips, work, tmp_path, monkeypatch):
    few = ("convolution", BASELINE, "alpha for each frame", "end to end", "pixels")
    monkeypatch.setattr(ablations, "VARIANTS", {name: VARIANTS[name] for name in few})
    pages(tmp_path, monkeypatch, "ablations", ("cost", "loss", "differences", "made"))
    ablations.main([str(work), str(clips), "--size", "tiny", "--seeds", "1", "--page"])
    page = (tmp_path / "ablations.md").read_text()
    for variant in few:
        assert f"| {variant} |" in page
    found = json.loads((tmp_path / "ablations.json").read_text())["seeds"]
    assert found[BASELINE]["0"]["parameters, M"] > found["convolution"]["0"]["parameters, M"]
    assert found["image model alone (alpha = 1)"]["0"]["loss"] == found[BASELINE]["0"]["loss of the image model"]
    assert 0 < found["convolution"]["0"]["operations of layers, G"] < found["convolution"]["0"]["operations, G"]
    assert (tmp_path / "ablations.png").is_file()

    def never(self, trial):
        raise AssertionError(trial)

    monkeypatch.setattr(ablations.Ablations, "make", never)
    ablations.main([str(work), str(clips), "--size", "tiny", "--seeds", "1"])


def test_context_guidance_is_judged_at_every_scale_on_one_training(clips, work, tmp_path, monkeypatch):
    pages(tmp_path, monkeypatch, "ablations", ("guidance",))
    context_guidance.main([str(work), str(clips), "--size", "tiny", "--seeds", "1", "--page"])
    page = (tmp_path / "ablations.md").read_text()
    assert all(f"| {scale} |" in page for scale in context_guidance.SCALES)
    assert len(list((work / "prediction").iterdir())) == 1


def test_transfers_are_judged_on_image_models_footage_and_text_encoders(clips, work, tmp_path, monkeypatch):
    folder = tmp_path / "video_text"
    folder.mkdir()
    write_video(torch.randint(256, (8, 32, 64, 3), dtype=torch.uint8), folder / "davis_cow.mp4", fps=8)
    clip = {"id": "davis_cow", "file": "video_text/davis_cow.mp4", "source": "", "licence": "", "split": "val"}
    clips_of = [clip | {"id": "davis_goat", "split": "train"}, clip]
    (folder / "captions.json").write_text(json.dumps(clips_of))
    pages(tmp_path, monkeypatch, "transfer", ("distance", "domains", "encoders", "one less two"))
    transfer.main([str(work), str(clips), "--other", str(folder), "--size", "tiny", "--seeds", "1", "--page"])
    found = json.loads((tmp_path / "transfer.json").read_text())["seeds"]
    assert found["distance: itself"]["0"]["distance"] == 0
    assert found["distance: itself"]["0"]["kept"] == pytest.approx(100)
    assert 0 < found["distance: same footage, 1 steps further"]["0"]["distance"] < 0.1
    assert found["distance: another seed"]["0"]["distance"] > 0.5


def test_a_trial_run_is_not_put_in_the_place_of_an_experiment(clips, work):
    for more in (["--size", "tiny"], ["--seeds", "2"], ["--only", BASELINE]):
        with pytest.raises(SystemExit, match="not with tiny sizes"):
            ablations.main([str(work), str(clips), "--page", *more])


def test_a_work_folder_of_other_footage_is_refused(clips, work, tmp_path):
    lab.Lab.open(work, clips, lab.TINY)
    with DatasetWriter(tmp_path, {"kind": "test", "size": [32, 64]}) as writer:
        writer.add("lake_train", torch.zeros(6, 32, 64, 3, dtype=torch.uint8), fps=6.5)
    with pytest.raises(ValueError, match="of"):
        lab.Lab.open(work, tmp_path, lab.TINY)
    with pytest.raises(SystemExit, match="layer_steps"):
        lab.Lab.open(work, clips, replace(lab.TINY, layer_steps=3))


def test_an_alpha_for_each_frame_acts_on_its_frame(clips, work):
    opened = lab.Lab.open(work, clips, lab.TINY)
    unet = opened.image_model(0).unet
    layers = lab.new_layers(unet, lab.BOTH, 0)
    for layer in layers.layers.values():
        layer.mixing = FrameMixing(5)
        torch.nn.init.constant_(layer.mixing.logit[1:], 100.0)  # alpha 1: these frames are the image model's
        for end in (getattr(layer, "conv2", None), getattr(layer, "self_attention", None)):
            for parameter in [] if end is None else end.parameters():
                torch.nn.init.normal_(parameter, 0.0, 0.3)
    video = attach(unet, layers)
    sample, told = torch.randn(1, *opened.clip_shape), Conditions(text=torch.randn(1, 5, 64))
    mixed, alone = (video.predict(sample, 500, told, alpha=alpha) for alpha in (None, 1.0))
    video.detach()
    assert not torch.allclose(mixed[:, 0], alone[:, 0], atol=1e-2)
    torch.testing.assert_close(mixed[:, 1:], alone[:, 1:], atol=1e-3, rtol=1e-3)


def test_frames_of_a_forced_alpha_share_it():
    mixing = FrameMixing(3)
    assert mixing.temporal_share(Clip(num_frames=3, alpha=0.25, strength=0.5)).unique().item() == 0.375
    assert mixing.temporal_share(Clip(num_frames=2)).tolist() == [[0.5], [0.5]]


def test_end_to_end_training_moves_every_network_and_the_others_none(clips, work):
    opened = lab.Lab.open(work, clips, lab.TINY)
    made = ablations.Ablations(opened)
    trials = Trials(work=work / "moved", settings={})
    trial = trials.trial("end to end", 0)
    trial.folder.mkdir(parents=True)
    model, _ = made.trained(trial, VARIANTS["end to end"], None)
    fresh = lab.new_image_model(opened.image_training(0), opened.dataset, opened.vae)
    pairs = zip(model.unet.parameters(), fresh.unet.parameters(), strict=True)
    assert any(not torch.equal(after, before) for after, before in pairs)
    frozen = opened.image_model(0)
    before = {name: x.clone() for name, x in frozen.unet.state_dict().items()}
    other = replace(trial, folder=trial.folder.parent / "fixed")
    other.folder.mkdir()
    _, layers = made.trained(other, VARIANTS["alpha fixed at 0.5"], None)
    assert all(logit.item() == 0 for logit in layers.mixing_parameters())
    assert all(torch.equal(x, before[name]) for name, x in opened.image_model(0).unet.state_dict().items())
