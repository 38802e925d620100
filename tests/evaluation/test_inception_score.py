import math

import pytest
import torch
from torchmetrics.image.inception import InceptionScore

from latentloom.evaluation.inception_score import inception_score


def test_a_classifier_that_knows_nothing_scores_1():
    score = inception_score(torch.full((40, 8), 1 / 8))
    assert score.mean == pytest.approx(1) and score.deviation == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_certain_pictures_spread_over_k_classes_score_k(classes):
    score = inception_score(torch.eye(10)[torch.arange(60) % classes], splits=1)
    assert score.mean == pytest.approx(classes)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`", "ignore:std..")
@pytest.mark.parametrize(("count", "classes"), [(30, 10), (200, 101), (64, 1008)])
def test_it_equals_torchmetrics(count, classes):
    """Of one part: torchmetrics draws its parts. Its network is left out, it is given the logits."""
    logits = 3 * torch.randn(count, classes, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    theirs = InceptionScore(feature=torch.nn.Identity(), splits=1)
    theirs.update(logits)
    assert inception_score(logits.softmax(1), splits=1).mean == pytest.approx(theirs.compute()[0].item(), rel=1e-6)


def test_one_part_has_no_deviation():
    rows = torch.eye(4)
    assert inception_score(rows, splits=1).deviation is None and inception_score(rows, splits=2).deviation == 0


def test_certain_pictures_of_one_class_score_1():
    assert inception_score(torch.eye(10)[torch.zeros(20, dtype=torch.int64)]).mean == pytest.approx(1)


def test_two_kinds_of_half_certain_pictures_have_the_closed_form():
    p = 0.9
    rows = torch.tensor([[p, 1 - p], [1 - p, p]]).repeat(10, 1)
    expected = math.exp(p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    assert inception_score(rows, splits=1).mean == pytest.approx(expected, rel=1e-6)


def test_splits_are_consecutive_and_scored_apart():
    rows = torch.eye(4)[torch.tensor([0, 0, 0, 0, 0, 1, 2, 3])]
    score = inception_score(rows, splits=2)
    assert score.mean == pytest.approx((1 + 4) / 2) and score.deviation == pytest.approx(1.5)


def test_every_picture_is_in_one_split_where_they_do_not_come_out_even():
    rows = torch.eye(3)[torch.arange(7) % 3]
    assert inception_score(rows, splits=7).mean == pytest.approx(1)
    assert inception_score(rows, splits=2).splits == 2


@pytest.mark.parametrize("rows", [torch.ones(4, 3), -torch.eye(4), torch.full((4, 2), torch.nan)])
def test_rows_that_are_no_probabilities_are_refused(rows):
    with pytest.raises(ValueError, match="sum to 1"):
        inception_score(rows, splits=1)


@pytest.mark.parametrize("splits", [0, 5])
def test_more_splits_than_pictures_and_none_are_refused(splits):
    with pytest.raises(ValueError, match="one picture in each"):
        inception_score(torch.eye(4), splits=splits)
