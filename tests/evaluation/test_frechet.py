import math
import warnings

import pytest
import torch
from torchmetrics.image.fid import _compute_fid

from latentloom.evaluation.frechet import FeatureStatistics, frechet_distance, frechet_distance_of


def gaussian(seed: int, width: int = 6, rank: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(width, rank or width, generator=generator, dtype=torch.float64)
    return torch.randn(width, generator=generator, dtype=torch.float64), factor @ factor.T


def test_rotated_gaussians_have_the_closed_form():
    """In two dimensions ``tr((S1 S2)^(1/2)) = sqrt(tr(S1 S2) + 2 sqrt(det S1 det S2))``."""
    for angle in (0.0, 0.3, 1.2):
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


def test_it_equals_torchmetrics():
    (mu1, sigma1), (mu2, sigma2) = gaussian(2, 32), gaussian(3, 32)
    theirs = _compute_fid(mu1, sigma1, mu2, sigma2).item()
    assert frechet_distance(mu1, sigma1, mu2, sigma2) == pytest.approx(theirs, rel=1e-5)


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
