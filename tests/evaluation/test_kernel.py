import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd

from latentloom.evaluation.kernel import kernel_distance, squared_mmd


def vectors(seed: int, count: int = 50, width: int = 16) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_vectors_a_side_by_hand():
    """Kernel ``(x y + 1)^3`` of single numbers: within {0, 1} it is 1, within {1, 2} 27, between 1, 1, 8, 27."""
    ours, theirs = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    assert squared_mmd(ours, theirs) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4)


def test_the_kernel_divides_by_the_width():
    ours, theirs = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    wide = squared_mmd(ours.repeat(1, 7), theirs.repeat(1, 7))
    assert wide == pytest.approx(squared_mmd(ours, theirs), rel=1e-6)


def test_it_equals_torchmetrics_on_equal_subsets():
    ours, theirs = vectors(0), vectors(1) + 0.3
    assert squared_mmd(ours, theirs) == pytest.approx(poly_mmd(theirs, ours).item(), rel=1e-9)
    whole = kernel_distance(ours, theirs, subsets=3, subset_size=50)
    assert whole.mean == pytest.approx(squared_mmd(ours, theirs), rel=1e-9)
    assert whole.deviation == pytest.approx(0, abs=1e-12)


@pytest.mark.filterwarnings("ignore:Metric `Kernel")
def test_it_equals_torchmetrics_from_the_vectors_on():
    """Its subsets of a whole set are the set itself, whichever it draws."""
    ours, theirs = vectors(4), vectors(5) * 1.5
    metric = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=2, subset_size=50)
    metric.update(theirs, real=True)
    metric.update(ours, real=False)
    expected, _ = metric.compute()
    assert kernel_distance(ours, theirs, subsets=2, subset_size=50).mean == pytest.approx(expected.item(), rel=1e-6)


def test_it_is_unbiased_sets_of_one_kind_are_around_nothing_however_few():
    values = torch.tensor([squared_mmd(vectors(2 * k, 10), vectors(2 * k + 1, 10)) for k in range(200)])
    assert abs(values.mean()) < 3 * values.std() / 200**0.5
    assert (values < 0).any()


def of_videos(seed, count=6, frames=8):
    """Vectors of videos whose frames are nearly alike."""
    return [video + 0.05 * vectors(1000 + seed, frames) for video in vectors(seed, count)]


def test_frames_of_one_video_are_alike_and_do_not_count_as_a_distance():
    pairs = [(of_videos(2 * k), of_videos(2 * k + 1)) for k in range(200)]
    by_video = torch.tensor([squared_mmd(ours, theirs) for ours, theirs in pairs])
    by_frame = torch.tensor([squared_mmd(torch.cat(ours), torch.cat(theirs)) for ours, theirs in pairs])
    error = by_video.std() / 200**0.5
    assert abs(by_video.mean()) < 3 * error < by_frame.mean()
    subsets = [kernel_distance(*pair, subsets=5, subset_size=3).mean for pair in pairs]
    assert abs(torch.tensor(subsets).mean()) < 3 * torch.tensor(subsets).std() / 200**0.5


def test_another_distribution_is_farther():
    near, far = (kernel_distance(vectors(0), vectors(1) + shift, subset_size=20).mean for shift in (0.2, 1.0))
    assert 0 < near < far


def test_the_seed_decides_the_subsets_and_the_order_of_the_vectors_nothing():
    ours, theirs = vectors(2), vectors(3)
    once = kernel_distance(ours, theirs, subset_size=10, seed=1)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert kernel_distance(ours[order], theirs.flip(0), subset_size=10, seed=1) == once
    assert kernel_distance(ours, theirs, subset_size=10, seed=2) != once
    assert once.deviation > 0


def test_what_has_no_kernel_distance_is_refused():
    with pytest.raises(ValueError, match="ask for smaller ones"):
        kernel_distance(vectors(0), vectors(1, 30))
    with pytest.raises(ValueError, match="at least 2 vectors"):
        kernel_distance(vectors(0), vectors(1), subset_size=1)
    for one_video in (vectors(0, 1), [vectors(0)]):
        with pytest.raises(ValueError, match="at least 2 videos on each side"):
            squared_mmd(one_video, vectors(1))
    with pytest.raises(ValueError, match="one network for both"):
        squared_mmd(vectors(0), vectors(1, 50, 3))
    with pytest.raises(ValueError, match="not finite"):
        squared_mmd(vectors(0) * torch.inf, vectors(1))
