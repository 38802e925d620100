"""Clips as training items: rates, labels, what is dropped."""

import torch

from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.training.clips import LatentClips
from latentloom.training.order import Draw


def items(
    dataset: Dataset, cache: LatentCache, *, rates: tuple[float, ...] = (8.0,), dropout: float = 0.0
) -> LatentClips:
    dropouts = {"caption_dropout": dropout, "number_dropout": dropout}
    return LatentClips(dataset, cache, num_frames=4, rates=rates, labels_rate=len(rates) > 1, **dropouts)


def test_steering_and_speed_are_told_per_frame_where_they_are_known(dataset: Dataset, cache: LatentCache) -> None:
    clips = items(dataset, cache)
    known, unknown = clips[Draw(2, 0)], clips[Draw(len(clips) - 1, 0)]
    torch.testing.assert_close(known["numbers"]["steering"], torch.tensor([0.2, 0.3, 0.4, 0.5]))
    assert known["numbers"]["speed"].tolist() == [9.0] * 4
    assert unknown["numbers"]["steering"].isnan().all() and unknown["numbers"]["speed"].isnan().all()
    assert known["numbers"]["fps"].item() == 8.0 and "rate" not in known["numbers"]


def test_several_rates_are_told_apart(dataset: Dataset, cache: LatentCache) -> None:
    clips = items(dataset, cache, rates=(4.0, 8.0))
    numbers = [clips[Draw(place, 0)]["numbers"] for place in range(len(clips))]
    assert {(n["rate"].item(), n["fps"].item()) for n in numbers} == {(0.0, 4.0), (1.0, 8.0)}
    assert [window.fps for window in clips.windows] == [n["fps"].item() for n in numbers]


def test_captions_and_ego_numbers_are_dropped_each_by_its_own_chance_and_fps_never(
    dataset: Dataset, cache: LatentCache
) -> None:
    clips = items(dataset, cache, dropout=0.3)
    drawn = [clips[Draw(0, seed)] for seed in range(400)]
    dropped = torch.tensor(
        [
            [not d["caption"], bool(d["numbers"]["steering"].isnan().all()), bool(d["numbers"]["speed"].isnan().all())]
            for d in drawn
        ]
    ).float()
    assert bool(((dropped.mean(0) - 0.3).abs() < 0.08).all())
    assert abs(dropped.T.corrcoef().triu(1)).max() < 0.2
    assert all(d["numbers"]["fps"].item() == 8.0 for d in drawn)
