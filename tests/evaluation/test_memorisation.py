import pytest
import torch

from latentloom.evaluation.memorisation import nearest_frames


def pictures(count, seed, size=(32, 64)):
    """Smooth random pictures: coarse noise, enlarged."""
    coarse = torch.rand((count, 3, 4, 8), generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    return (smooth * 255).to(torch.uint8).movedim(1, -1).contiguous()


def test_a_planted_copy_is_found_whatever_the_chunks():
    training, samples = pictures(50, 0), pictures(4, 1)
    samples[2] = training[37]
    for chunk_size in (1, 7, 64):
        indices, distances = nearest_frames(samples, training, chunk_size=chunk_size)
        assert indices[2] == 37
        assert distances[2] == 0
        assert (distances[[0, 1, 3]] > 100).all()


def test_a_noisy_and_slightly_shifted_copy_is_still_nearest_and_far_nearer_than_a_new_picture():
    training, samples = pictures(50, 0), pictures(2, 1)
    noise = torch.randint(-20, 21, training[5].shape, generator=torch.Generator().manual_seed(2))
    samples[1] = (training[5].roll(1, 1).int() + noise).clamp(0, 255).to(torch.uint8)
    indices, distances = nearest_frames(samples, training)
    assert indices[1] == 5
    assert distances[1] < distances[0] / 10


def test_the_first_of_equal_training_frames_is_named():
    training = pictures(3, 0)[[1, 1, 1]]
    assert nearest_frames(training[:1], training, chunk_size=2)[0].tolist() == [0]


def test_without_training_frames_nothing_is_nearest():
    with pytest.raises(ValueError, match="0 training frames"):
        nearest_frames(pictures(1, 0), pictures(0, 0))
