import pytest
import torch

from latentloom.evaluation import memorisation
from latentloom.evaluation.memorisation import NearestClips, nearest_frames, small_frames


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


def nearest_clips(clips, training, **more):
    search = NearestClips(clips, **more)
    for name, frames in training:
        search.offer(name, frames)
    return search.found


def film(count, seed, speed):
    """Small frames of a smooth random strip that is panned over."""
    strip = pictures(1, seed, (32, 64 + speed * count))[0]
    return small_frames(torch.stack([strip[:, speed * k : speed * k + 64] for k in range(count)]))


def test_a_planted_clip_is_found_with_the_frame_it_begins_at_whatever_its_video():
    training = {f"film{k}": film(20, k, 2) for k in range(4)}
    clips = [training["film2"][7:12], film(5, 9, 2)]
    copy, other = nearest_clips(clips, training.items())
    assert (copy.name, copy.first) == ("film2", 7) and copy.distance < 1e-4
    assert other.distance > 5


def test_the_distance_is_the_root_of_the_mean_squared_difference_over_frames():
    dark, bright = torch.full((6, 1536), 20.0), torch.full((2, 1536), 50.0)
    bright[1] += 10
    (found,) = nearest_clips([bright], [("dark", dark)])
    assert found.distance == pytest.approx(((30**2 + 40**2) / 2) ** 0.5)
    assert found.first == 0, "the first of equal ones"


def test_clips_are_compared_frame_by_frame_at_their_stride():
    known = film(20, 3, 2)
    (found,) = nearest_clips([known[5:14:3]], [("film", known)], stride=3)
    assert found.first == 5 and found.distance < 1e-4
    (slower,) = nearest_clips([known[5:14:3]], [("film", known)])
    (backward,) = nearest_clips([known[5:14:3].flip(0)], [("film", known)], stride=3)
    assert slower.distance > 1 and backward.distance > 1


def test_many_clips_and_many_videos_give_what_a_search_by_hand_gives(monkeypatch):
    monkeypatch.setattr(memorisation, "CLIPS_AT_ONCE", 3)
    monkeypatch.setattr(memorisation, "CHUNK", 5)
    training = {f"film{k}": film(9 + k, 20 + k, 1) for k in range(5)}
    clips = [film(4, 40 + k, 3) for k in range(8)]
    for clip, found in zip(clips, nearest_clips(clips, training.items()), strict=True):
        places = {
            (name, first): (clip - frames[first : first + 4]).square().mean().item()
            for name, frames in training.items()
            for first in range(len(frames) - 3)
        }
        best = min(places, key=places.get)
        assert (found.name, found.first) == best and found.distance == pytest.approx(places[best] ** 0.5, rel=1e-5)


def test_one_frame_that_was_copied_is_found_by_clips_of_one_frame():
    known = film(12, 3, 2)
    other = film(5, 9, 2)
    other[3] = known[8]
    found = nearest_clips(list(other[:, None]), [("film", known)])
    assert (found[3].first, found[3].distance) == (8, 0) and min(one.distance for one in found[:3]) > 5


def test_training_videos_shorter_than_a_clip_are_passed_over():
    assert nearest_clips([film(5, 0, 1)], [("short", film(4, 0, 1))]) == [None]
    with pytest.raises(ValueError, match="of one length"):
        nearest_clips([film(5, 0, 1), film(4, 0, 1)], [])
    with pytest.raises(ValueError, match="0 clips"):
        nearest_clips([], [])
