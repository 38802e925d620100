"""The lessons of the video network: what is shown fits what is told of it, and a training ends with weights."""

import pytest
import torch
from runs.video_features import lessons
from runs.video_features.judge import judged, reading, score
from runs.video_features.lessons import LOOKS, ORDERS, Clips, Lesson, Pupil, drawn_lesson, loss_of, spoiled, taught
from runs.video_features.train import MEASURED_FRAMES, measure, shares_of, trained
from safetensors.torch import load_file
from torch import Tensor

from latentloom.data.clips import spread
from latentloom.data.manifest import Dataset, DatasetWriter
from latentloom.evaluation.video_network import VideoNetwork, prepared
from latentloom.seeds import generator_of
from latentloom.training.loop import LoopConfig
from latentloom.training.order import Draw


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """Two drives to learn from and one to be judged on, of noise."""
    folder = tmp_path_factory.mktemp("drives") / "dataset"
    frames = torch.randint(256, (36, 16, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with DatasetWriter(folder, {"kind": "tiny", "size": [16, 32]}) as writer:
        for name, split in (("world_0", "train"), ("lake_a", "train"), ("world_1", "val")):
            labels = {"steering": [0.03 * k for k in range(36)], "speed": [13.0] * 36}
            writer.add(name, frames, fps=6.5, labels=labels, split=split)
    return Dataset.load(folder)


def batch_of(count: int, num_frames: int = 8) -> dict:
    """Clips whose frames say their number, brighter to the right."""
    frames = 20 * torch.arange(num_frames).view(1, -1, 1, 1, 1) + torch.arange(8).view(-1, 1)
    numbers = {"steering": torch.ones(count), "distance": torch.ones(count)}
    return {"frames": frames.expand(count, -1, 4, -1, 3).byte(), **numbers}


def test_a_clip_knows_its_steering_its_way_per_frame(dataset):
    clips = Clips([dataset], split="train")
    ids = [dataset.records[window.record].id for _, window in clips.places]
    item = clips[Draw(ids.index("world_0"), 0)]
    assert item["frames"].shape == (16, 64, 128, 3) and item["frames"].dtype == torch.uint8
    assert item["distance"] == pytest.approx(13 / 3.25 / lessons.METRES)  # the lowest rate comes first
    assert item["steering"] == pytest.approx(15)  # the mean of 0, 2 .. 30, in deviations of world's
    assert clips[Draw(ids.index("lake_a"), 0)]["steering"] == pytest.approx(15 * 0.03 / 0.15)
    spans = {(window.record, window.first, window.indices[-1]) for _, window in clips.places}
    assert len(spans) == len(clips)
    assert {window.indices[1] - window.indices[0] for _, window in clips.places} == {1, 2}


def test_what_is_told_of_a_clip_is_what_is_shown(monkeypatch):
    monkeypatch.setattr(lessons, "spoiled", lambda clip, generator: (clip, dict.fromkeys(LOOKS, 0.0)))
    shown, truth = taught(batch_of(100), generator_of(5))
    numbers = (shown[:, :, 0, 0, 0] // 20).long()
    mirrored = shown[:, 0, 0, 0, 0] > shown[:, 0, 0, -1, 0]
    whole = truth["order"] == ORDERS.index("in order")
    expected = torch.arange(8)
    assert torch.equal(shown[100:], shown[:100].flip(1))
    for clip in range(200):
        known = truth["order"][clip] != ORDERS.index("shuffled")
        assert truth["backward"][clip] == float(clip >= 100) if known else truth["backward"][clip].isnan()
        order = numbers[clip].flip(0) if clip >= 100 else numbers[clip]
        if whole[clip]:
            assert torch.equal(order, expected) and truth["disorder"][clip] == 0
            assert truth["steering"][clip] == (-1 if mirrored[clip] else 1)
        elif truth["order"][clip] == ORDERS.index("halves swapped"):
            assert torch.equal(order, expected.roll(4))
        elif truth["order"][clip] == ORDERS.index("repeats"):
            assert (order.diff() >= 0).all() and truth["steering"][clip].isnan()
        else:
            assert sorted(order.tolist()) == expected.tolist()
    assert 0.35 < whole.float().mean() < 0.65 and 0.35 < mirrored.float().mean() < 0.65
    assert set(truth["order"].tolist()) == set(range(len(ORDERS)))


def test_disorder_is_how_far_steps_are_from_one():
    lesson = Lesson(indices=torch.tensor([0, 1, 4, 5]), order=2)
    assert lesson.disorder == pytest.approx(torch.log1p(torch.tensor(2 / 3)).item())
    assert drawn_lesson(8, generator_of(1)).indices.shape == (8,)


def test_what_is_not_known_costs_nothing_and_teaches_nothing():
    answers = torch.zeros(3, 1, requires_grad=True)
    loss_of("steering", answers, torch.tensor([float("nan"), 2.0, float("nan")])).backward()
    assert answers.grad is not None and (answers.grad[:, 0] != 0).tolist() == [False, True, False]
    assert loss_of("distance", answers, torch.full((3,), torch.nan)) == 0


def test_what_is_told_of_looks_is_how_much_they_are_spoiled():
    clip = torch.randint(256, (4, 64, 128, 3), dtype=torch.uint8, generator=generator_of(0))
    found = dict[str, list[tuple[float, float]]]()
    for number in range(60):
        shown, told = spoiled(clip, generator_of(1, number))
        names = [name for name, share in told.items() if share]
        assert set(told) == set(LOOKS) and len(names) <= 1
        error = (shown.float() - clip.float()).abs().mean().item()
        assert (error == 0) == (not names) or told[names[0]] < 0.35
        found.setdefault("".join(names), []).append((told[names[0]] if names else 0.0, error))
    assert set(found) == {"", *LOOKS} and 15 < len(found[""]) < 45
    assert max(found["noise"])[1] > min(found["noise"])[1]


def test_every_named_kind_of_drive_gets_its_share(dataset):
    clips = Clips([dataset], split="train")
    weights = torch.tensor(shares_of(clips))
    of_world = torch.tensor([dataset.records[window.record].id == "world_0" for _, window in clips.places])
    assert weights.sum().item() == pytest.approx(1)
    assert weights[of_world].sum().item() == pytest.approx(0.22 / (0.22 + 0.25))


def test_a_training_ends_with_weights_that_it_has_changed(dataset, tmp_path):
    path = trained([dataset], LoopConfig(steps=2, batch_size=2, dtype="fp32"), tmp_path / "run", measured=4)
    network = VideoNetwork()
    network.load_state_dict(load_file(path))
    torch.manual_seed(0)
    assert not torch.equal(network.stem.weight, Pupil().network.stem.weight.half().float())
    assert not torch.equal(network.directions, torch.eye(len(network.directions)))


def test_features_are_nearly_white_over_the_clips_they_are_measured_on(dataset):
    torch.manual_seed(0)
    clips, network = Clips([dataset], split="train"), VideoNetwork().eval()
    measure(network, clips, 12)
    measured = [clips[Draw(item, 0)]["frames"][:MEASURED_FRAMES] for item in spread(len(clips), 12)]
    with torch.no_grad():
        features = network(prepared(torch.stack(measured))).double()
    torch.testing.assert_close(features.mean(0), torch.zeros(96, dtype=torch.float64), atol=0.02, rtol=0)
    covariance = torch.cov(features.T)
    assert covariance.diagonal().max() < 1.02 and covariance.diagonal()[-1] > 0.9
    assert (covariance - covariance.diagonal().diag()).abs().max() < 0.02


def test_a_ridge_regression_reads_what_lies_in_the_features():
    features = torch.randn(400, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    truth = 3 * features[:, 1] + 1
    told = reading(features, truth, 1)(features)
    assert score("distance", told, truth)[0] > 0.99
    classes = (features[:, 2] > 0).long()
    right, chance, count = score("order", reading(features, classes, 2)(features), classes)
    assert right > 0.95 and 0.45 < chance < 0.6 and count == 400
    assert abs(score("distance", reading(features, truth, 1)(features.roll(7, 0)), truth)[0]) < 0.3


def test_held_out_drives_alone_are_judged(dataset):
    def mean_colour(clips: Tensor) -> Tensor:
        return clips.double().mean((1, 2, 3))

    rows = judged([dataset], 16, {"mean colour": mean_colour})
    assert {row["drives"] for row in rows} == {"world"}
    assert {"order", "backward", "disorder"} <= {row["question"] for row in rows}
