"""Named TorchScript files: hashed before they run, called as the well-known ones are, refused with what to do."""

import hashlib

import pytest
import torch
from tests.evaluation.stand_ins import Shapeless, TinyC3D, TinyI3D, TinyInception, scripted

from latentloom.evaluation.c3d import c3d_probabilities
from latentloom.evaluation.fid import inception_features, inception_probabilities
from latentloom.evaluation.fvd import MIN_FRAMES, i3d_features, i3d_input
from latentloom.evaluation.torchscript import load_network, read_network_file


def loaded(network, path):
    return load_network(read_network_file(scripted(network, path), option="--i3d"))


@pytest.fixture(scope="module")
def i3d(tmp_path_factory):
    return loaded(TinyI3D(), tmp_path_factory.mktemp("i3d") / "i3d.pt")


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    return loaded(TinyInception(), tmp_path_factory.mktemp("inception") / "inception.pt")


def clips(count: int = 5, frames: int = 10) -> torch.Tensor:
    shape = (count, frames, 24, 40, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_hash_is_that_of_the_file_and_a_right_one_is_let_in(tmp_path):
    path = scripted(TinyI3D(), tmp_path / "i3d.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_network_file(path, option="--i3d", sha256=digest.upper()).sha256 == digest


def test_files_that_are_not_what_they_should_be_are_refused_before_they_run(tmp_path):
    path = scripted(TinyI3D(), tmp_path / "i3d.pt")
    with pytest.raises(ValueError, match=r"--i3d-sha256 says 0000.*it was not loaded"):
        read_network_file(path, option="--i3d", sha256="0" * 64)
    with pytest.raises(ValueError, match="expected 64 hexadecimal digits"):
        read_network_file(path, option="--i3d", sha256="abc")
    with pytest.raises(ValueError, match="no such file; --i3d names a TorchScript file"):
        read_network_file(tmp_path / "nothing.pt", option="--i3d")


@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04" + bytes(100)])
def test_files_that_are_no_torchscript_are_refused(tmp_path, content):
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.pt is no readable TorchScript file"):
        load_network(read_network_file(tmp_path / "net.pt", option="--i3d"))


def test_weights_that_torch_saved_are_no_torchscript_and_are_not_unpickled(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "net.pt")
    with pytest.raises(ValueError, match="no readable TorchScript file"):
        load_network(read_network_file(tmp_path / "net.pt", option="--i3d"))


def test_i3d_is_given_frames_of_224_from_minus_1_to_1():
    black_and_white = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1, 1).expand(2, 9, 24, 40, 3)
    given = i3d_input(black_and_white)
    assert given.shape == (2, 3, 9, 224, 224)
    torch.testing.assert_close(given, given.sign(), atol=1e-6, rtol=0)
    assert (given[0] < 0).all() and (given[1] > 0).all()


def test_our_preprocessing_is_that_of_the_file_itself(i3d):
    """``rescale`` and ``resize`` in the file, on frames as they come, give the same features."""
    video = clips(3).movedim(-1, 1).float()
    with torch.no_grad():
        theirs = i3d.module(video, rescale=True, resize=True, return_features=True)
    torch.testing.assert_close(i3d_features(i3d, clips(3)), theirs, atol=1e-6, rtol=1e-5)


def test_features_are_one_vector_per_clip_the_same_again_and_in_any_batch(i3d):
    whole = i3d_features(i3d, clips())
    assert whole.shape == (5, 12)
    assert torch.equal(i3d_features(i3d, clips()), whole)
    for batch_size in (1, 2, 5):
        torch.testing.assert_close(i3d_features(i3d, clips(), batch_size), whole, atol=1e-6, rtol=1e-5)


def test_clips_too_short_for_i3d_are_refused(i3d):
    with pytest.raises(ValueError, match="I3D takes clips of 9 or more"):
        i3d_features(i3d, clips(frames=MIN_FRAMES - 1))


def test_inception_gives_features_and_probabilities_of_frames(inception):
    frames = clips()[0]
    features, probabilities = inception_features(inception, frames), inception_probabilities(inception, frames, 3)
    assert features.shape == (10, 10)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(10))
    torch.testing.assert_close(inception_features(inception, frames, 3), features, atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="no frame"):
        inception_features(inception, frames[:0])


def test_c3d_is_given_16_frames_as_they_are_and_gives_probabilities_of_clips(i3d, tmp_path):
    c3d = loaded(TinyC3D(), tmp_path / "c3d.pt")
    whole = c3d_probabilities(c3d, clips(frames=16))
    assert whole.shape == (5, 7)
    torch.testing.assert_close(whole.sum(1), torch.ones(5))
    torch.testing.assert_close(c3d_probabilities(c3d, clips(frames=16), 2), whole, atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="C3D takes clips of 16"):
        c3d_probabilities(c3d, clips(frames=15))
    with pytest.raises(ValueError, match=r"cannot be called as \(video\)"):
        c3d_probabilities(loaded(TinyInception(), tmp_path / "inception.pt"), clips(frames=16))


def test_a_network_of_another_kind_is_refused_with_the_call_it_should_take(i3d, inception, tmp_path):
    with pytest.raises(ValueError, match=r"inception\.pt cannot be called as \(video, rescale=False"):
        i3d_features(inception, clips())
    with pytest.raises(ValueError, match=r"i3d\.pt cannot be called as \(pictures, no_output_bias=True\)"):
        inception_probabilities(i3d, clips()[0])
    with pytest.raises(ValueError, match=r"gives \(\) for 4 inputs, expected a vector each"):
        i3d_features(loaded(Shapeless(), tmp_path / "shapeless.pt"), clips())
    spoilt = TinyI3D()
    spoilt.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite; is it the right file"):
        i3d_features(loaded(spoilt, tmp_path / "spoilt.pt"), clips())
