"""Figures of sets: which windows, and the same number in any order and any batch. Processes: tests/cli."""

import pytest
import torch
from tests.evaluation.stand_ins import TinyI3D, TinyInception, scripted

from latentloom.evaluation.comparison import CLASSES, I3D, INCEPTION, OWN, Chance, Windows, compared, figures_of
from latentloom.evaluation.fid import inception_features, inception_probabilities
from latentloom.evaluation.fvd import i3d_features
from latentloom.evaluation.torchscript import load_network, read_network_file
from latentloom.evaluation.video_network import NUM_FEATURES

WINDOWS = Windows(length=10)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return scripted(TinyI3D(), folder / "i3d.pt"), scripted(TinyInception(), folder / "inception.pt")


@pytest.fixture(scope="module")
def videos():
    """Four pictures of blocks, each pushed to the right at a speed of its own."""
    pictures = torch.randint(0, 256, (4, 8, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pictures = pictures.repeat_interleave(4, 1).repeat_interleave(4, 2)
    return [torch.stack([pictures[k].roll(t * k, 1) for t in range(20)]) for k in range(4)]


def networks(files, batch_size=4):
    i3d, inception = (load_network(read_network_file(file, option="--i3d")) for file in files)
    return {
        I3D: lambda windows: i3d_features(i3d, windows, batch_size),
        INCEPTION: lambda windows: inception_features(inception, windows.flatten(0, 1), batch_size),
        CLASSES: lambda windows: inception_probabilities(inception, windows.flatten(0, 1), batch_size),
    }


def judged(real, fake, extractors, **chance):
    sides = [figures_of(side, windows=WINDOWS, warp=False, networks=extractors) for side in (real, fake)]
    return compared(*sides, Chance(resamples=8, **chance))


def worse(videos):
    return [(frames.int() + 40 * (torch.arange(20).view(-1, 1, 1, 1) % 2)).clamp(0, 255).byte() for frames in videos]


def test_windows_follow_one_another_and_share_no_frame():
    frames = torch.arange(10, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 2, 3)
    assert Windows(length=3).of(frames)[..., 0, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert Windows(length=3, stride=2).of(frames)[..., 0, 0, 0].tolist() == [[0, 2, 4], [5, 7, 9]]
    assert Windows(length=3, per_video=1).of(frames)[..., 0, 0, 0].tolist() == [[0, 1, 2]]
    assert Windows(length=11).of(frames).shape == (0, 11, 2, 2, 3)


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_all_distances_are_named_after_their_networks_and_equal_sets_are_at_none(files, videos):
    report = judged(videos, videos, networks(files))
    assert report["fvd"]["width"] == 12 and report["fvd"]["vectors"] == {"real": 8, "fake": 8}
    assert report["fid"]["width"] == 10 and report["fid"]["vectors"] == {"real": 80, "fake": 80}
    assert max(report[name]["distance"] for name in ("fvd", "fid")) < 1e-6
    assert abs(report["kid"]["mean"]) < 3 * report["kid"]["deviation"]
    assert report["inception_score"]["real"] == report["inception_score"]["fake"]
    spoilt = judged(videos, worse(videos), networks(files))
    assert spoilt["fvd"]["distance"] > 1e-4 and spoilt["kid"]["mean"] > report["kid"]["mean"]
    assert spoilt["fvd"]["interval"]["low"] <= spoilt["fvd"]["distance"] <= spoilt["fvd"]["interval"]["high"]


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_without_named_networks_there_is_no_fvd_and_no_fid(videos):
    report = judged(videos, worse(videos), {})
    assert not {"fvd", "fid", "kid", "inception_score"} & set(report)
    assert report["own_kid"]["mean"] > judged(videos, videos, {})["own_kid"]["mean"]
    assert report["frechet"]["distance"] > 0 and report["frechet"]["width"] == NUM_FEATURES


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_any_batch_size_gives_the_same_numbers(files, videos, batch_size):
    one, other = (judged(videos, worse(videos), networks(files, size)) for size in (4, batch_size))
    for name in ("fvd", "fid"):
        assert other[name]["distance"] == pytest.approx(one[name]["distance"], rel=1e-4)
        assert other[name]["interval"]["high"] == pytest.approx(one[name]["interval"]["high"], rel=1e-4)
    assert other["kid"]["mean"] == pytest.approx(one["kid"]["mean"], rel=1e-4)


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_the_order_of_the_videos_changes_no_bit_of_a_distance(files, videos):
    one = judged(videos, worse(videos), networks(files))
    other = judged(videos[::-1], worse(videos)[::-1], networks(files))
    for name in ("fvd", "fid", "kid", "frechet", "own_kid", "inception_score"):
        assert other[name] == one[name]


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_the_same_seed_gives_the_same_interval_and_another_one_another(files, videos):
    extractors = {I3D: networks(files)[I3D]}
    intervals = [judged(videos, worse(videos), extractors, seed=seed)["fvd"]["interval"] for seed in (1, 1, 2)]
    assert intervals[0] == intervals[1] != intervals[2]


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_unequal_counts_warn_one_video_has_no_interval_and_one_window_no_distance(files, videos):
    extractors = {I3D: networks(files)[I3D]}
    with pytest.warns(UserWarning, match="8 real and 4 generated windows.*take equally many"):
        judged(videos, worse(videos)[:2], extractors)
    with pytest.warns(UserWarning, match="8 real and 2 generated"):
        assert judged(videos, worse(videos)[:1], extractors)["fvd"]["interval"] is None
    with pytest.raises(ValueError, match="at least 2 of each"):
        judged(videos, [worse(videos)[0][:10]], extractors)


def test_sets_without_a_window_or_a_video_are_refused(videos):
    with pytest.raises(ValueError, match="no video has 30 frames"):
        figures_of(videos, windows=Windows(length=30), warp=False)
    with pytest.raises(ValueError, match="no video to judge"):
        figures_of([], windows=WINDOWS, warp=False)
    mixed = figures_of([videos[0], videos[1][:5]], windows=WINDOWS, warp=False)
    assert (mixed.num_videos, mixed.windows, mixed.too_short, len(mixed.features(OWN))) == (2, 2, 1, 1)
