import math
import warnings
from statistics import stdev

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.fid import FrechetInceptionDistance, _compute_fid

from latentloom.evaluation.frechet import (
    FeatureStatistics,
    bootstrap_interval,
    frechet_distance,
    frechet_distance_of,
)


def gaussian(seed: int, width: int = 6, rank: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(width, rank or width, generator=generator, dtype=torch.float64)
    return torch.randn(width, generator=generator, dtype=torch.float64), factor @ factor.T


def test_rotated_gaussians_have_the_closed_form():
    """In two dimensions ``tr((S1 S2)^(1/2)) = sqrt(tr(S1 S2) + 2 sqrt(det S1 det S2))``."""
    for angle in (0.0, 0.3, 1.2, math.pi / 2):
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
        first, second = torch.diag(torch.tensor([4.0, 1.0]).double()), torch.diag(torch.tensor([9.0, 0.25]).double())
        second = turn @ second @ turn.T
        overlap = ((first @ second).trace() + 2 * (first.det() * second.det()).sqrt()).sqrt()
        expected = 5.0 + (first.trace() + second.trace() - 2 * overlap).item()
        means = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 2.0]).double()
        assert frechet_distance(means[0], first, means[1], second) == pytest.approx(expected, rel=1e-9)


def test_it_equals_the_textbook_formula_by_eigenvalues_of_the_product():
    (mu1, sigma1), (mu2, sigma2) = gaussian(0), gaussian(1)
    roots = torch.linalg.eigvals(sigma1 @ sigma2).real.clamp(min=0).sqrt().sum()
    expected = (mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace() - 2 * roots
    assert frechet_distance(mu1, sigma1, mu2, sigma2) == pytest.approx(expected.item(), rel=1e-9)


def by_scipy(mu1: torch.Tensor, sigma1: torch.Tensor, mu2: torch.Tensor, sigma2: torch.Tensor) -> float:
    """The formula as FID and FVD are published, with the matrix square root of the product."""
    root = sqrtm((sigma1 @ sigma2).numpy()).real.trace()
    return ((mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace()).item() - 2 * root


@pytest.mark.parametrize("seed", range(6))
def test_ours_scipys_and_torchmetrics_formula_are_one_number(seed):
    width = (3, 16, 33, 64, 100, 128)[seed]
    first, second = gaussian(2 * seed, width), gaussian(2 * seed + 1, width)
    ours = frechet_distance(*first, *second)
    assert ours == pytest.approx(by_scipy(*first, *second), rel=1e-5)
    assert ours == pytest.approx(_compute_fid(*first, *second).item(), rel=1e-5)


@pytest.mark.parametrize(("count", "width"), [(300, 40), (500, 96), (1024, 400)])
def test_a_public_fvd_formula_and_torchmetrics_on_the_same_features_give_the_same_number(count, width):
    """From feature vectors on: means, sample covariances, distance. The public one is numpy's and scipy's, float64."""
    generator = torch.Generator().manual_seed(count)
    mixing = torch.randn(width, width, generator=generator) / 6
    real = torch.randn(count, width, generator=generator) @ mixing + 3
    fake = torch.randn(count, width, generator=generator) @ (mixing + 0.05) + 3.2
    covariances = [torch.from_numpy(np.cov(rows.double().numpy(), rowvar=False)) for rows in (real, fake)]
    public = by_scipy(real.double().mean(0), covariances[0], fake.double().mean(0), covariances[1])
    ours = frechet_distance_of(fake, real)
    assert ours == pytest.approx(public, rel=1e-5)
    theirs = FrechetInceptionDistance(feature=Given(width))
    theirs.update(real.double(), real=True)
    theirs.update(fake.double(), real=False)
    assert ours == pytest.approx(theirs.compute().item(), rel=1e-5)


class Given(torch.nn.Module):
    """What stands where torchmetrics has its network: the features are what it is given."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


@pytest.mark.parametrize("rank", [64, 5, 1])
def test_equal_gaussians_are_at_no_distance_also_where_they_are_singular(rank):
    mu, sigma = gaussian(4, 64, rank)
    assert frechet_distance(mu, sigma, mu, sigma) < 1e-6
    assert frechet_distance(mu, sigma, mu, sigma) >= 0


def test_it_is_symmetric_and_grows_with_the_mean():
    (mu1, sigma1), (mu2, sigma2) = gaussian(5), gaussian(6, rank=2)
    forth, back = frechet_distance(mu1, sigma1, mu2, sigma2), frechet_distance(mu2, sigma2, mu1, sigma1)
    assert forth == pytest.approx(back, rel=1e-9)
    assert frechet_distance(mu1 + 3, sigma1, mu1, sigma1) == pytest.approx(9.0 * 6, rel=1e-9)


def test_statistics_are_the_mean_and_the_covariance_of_a_sample():
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    statistics = FeatureStatistics.of(features)
    torch.testing.assert_close(statistics.mean, features.double().mean(0))
    torch.testing.assert_close(statistics.covariance, features.double().T.cov())


def test_too_few_vectors_warn_and_too_few_to_speak_of_are_refused():
    features = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="biased upward"):
        frechet_distance_of(features[:4], features)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance_of(features[:5], features)
    with pytest.raises(ValueError, match="no covariance"):
        frechet_distance_of(features[:1], features)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_features_that_are_not_finite_are_refused(bad):
    features = torch.randn(10, 4)
    spoilt = features.clone()
    spoilt[3, 2] = bad
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance_of(features, spoilt)


def test_features_of_two_networks_are_refused():
    with pytest.raises(ValueError, match="features of 6 and of 3 numbers"):
        frechet_distance(*gaussian(0), *gaussian(0, 3))


def test_it_equals_the_formula_with_a_matrix_square_root_by_newtons_iteration():
    """The square root of a product of covariances as Denman and Beavers find it, with nothing of ours in it."""
    (mu1, sigma1), (mu2, sigma2) = gaussian(9, 5), gaussian(10, 5)
    root, inverse = sigma1 @ sigma2, torch.eye(5).double()
    for _ in range(60):
        root, inverse = (root + inverse.inverse()) / 2, (inverse + root.inverse()) / 2
    torch.testing.assert_close(root @ root, sigma1 @ sigma2, rtol=1e-9, atol=1e-9)
    expected = (mu1 - mu2).square().sum() + (sigma1 + sigma2 - 2 * root).trace()
    assert frechet_distance(mu1, sigma1, mu2, sigma2) == pytest.approx(expected.item(), rel=1e-9)


def vectors(seed: int, count: int = 60, width: int = 8) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [60, 8, 3])
@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_vectors_and_their_statistics_are_at_one_distance(count):
    ours, theirs = vectors(0, count), vectors(1, count) * 2 + 1
    statistics = [FeatureStatistics.of(rows) for rows in (ours, theirs)]
    expected = frechet_distance(*(part for one in statistics for part in (one.mean, one.covariance)))
    assert frechet_distance_of(ours, theirs) == pytest.approx(expected, rel=1e-7)


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
@pytest.mark.parametrize("count", [200, 30, 2])
def test_equal_sets_are_at_no_distance_and_no_distance_is_negative(count):
    features = vectors(2, count, 64) * 100 + 1000
    assert 0 <= frechet_distance_of(features, features) < 1e-6
    assert 0 <= frechet_distance_of(features, features.flip(0)) < 1e-6


def test_the_order_of_the_vectors_and_how_they_came_in_batches_change_no_bit():
    ours, theirs = vectors(3), vectors(4) + 0.5
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert frechet_distance_of(ours[order], theirs.flip(0)) == frechet_distance_of(ours, theirs)
    assert frechet_distance_of(torch.cat(ours.split(7)[::-1]), theirs) == frechet_distance_of(ours, theirs)


def test_the_order_of_the_videos_changes_no_bit_of_the_interval_and_the_seed_does():
    ours, theirs = vectors(5).split(3), (vectors(6) + 0.5).split(3)
    interval = bootstrap_interval(ours, theirs, resamples=20, seed=4)
    assert bootstrap_interval(ours[::-1], theirs[::-1], resamples=20, seed=4) == interval
    assert bootstrap_interval(ours, theirs, resamples=20, seed=5) != interval


def test_the_interval_holds_the_distance_and_shrinks_with_more_videos():
    widths = []
    for count in (40, 400):
        ours, theirs = vectors(7, count), vectors(8, count) + 0.5
        interval = bootstrap_interval(ours.split(1), theirs.split(1), resamples=50)
        distance = frechet_distance_of(ours, theirs)
        assert 0 <= interval.low < distance < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2


def test_the_interval_covers_the_distance_that_other_videos_give():
    """Thirty pairs of sets of one kind: the mean of their distances lies in most of their intervals (level 0.95)."""
    sets = [(vectors(2 * k, 50, 4), vectors(2 * k + 1, 50, 4) + 0.5) for k in range(100, 130)]
    distances = [frechet_distance_of(*pair) for pair in sets]
    mean = sum(distances) / len(sets)
    intervals = [bootstrap_interval(ours.split(1), theirs.split(1), resamples=40) for ours, theirs in sets]
    assert sum(one.low <= mean <= one.high for one in intervals) >= 24
    width = sum(one.high - one.low for one in intervals) / len(intervals)
    assert 0.5 < width / (2 * 1.96 * stdev(distances)) < 1.5, "any interval that is too wide covers"


def test_videos_are_drawn_whole_so_that_copies_of_windows_do_not_feign_certainty():
    ours, theirs = vectors(9, 20), vectors(10, 20) + 0.5
    once = bootstrap_interval(ours.split(1), theirs.split(1), resamples=60)
    copied = [[row.expand(10, -1) for row in rows.split(1)] for rows in (ours, theirs)]
    ten_times = bootstrap_interval(*copied, resamples=60)
    assert ten_times.high - ten_times.low > 0.7 * (once.high - once.low)


def test_an_interval_of_one_video_or_of_one_resample_is_refused():
    ours, theirs = vectors(11).split(1), vectors(12).split(1)
    with pytest.raises(ValueError, match="1 and 60 videos have no interval; give at least 2"):
        bootstrap_interval(ours[:1], theirs)
    with pytest.raises(ValueError, match="expected at least 2"):
        bootstrap_interval(ours, theirs, resamples=1)
    with pytest.raises(ValueError, match="level between 0 and 1"):
        bootstrap_interval(ours, theirs, level=1.0)
    with pytest.raises(ValueError, match="use one network for both"):
        bootstrap_interval(ours, [row[:, :3] for row in theirs])
