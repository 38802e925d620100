"""``evaluate`` with networks that the user names: FVD, FID, KID, inception scores, CLIPSIM; hashes; refusals."""

import hashlib
import json

import pytest
import torch
from tests.cli.evaluation_films import worse_films
from tests.command import files_under, refusal
from tests.evaluation.stand_ins import TinyC3D, TinyI3D, TinyInception, scripted, tiny_clip

from latentloom.data.video import write_video

pytestmark = pytest.mark.filterwarnings("ignore:a Frechet distance of")
LEARNED = ("--size", "32x64", "--window", 10, "--no-warp", "--resamples", 5, "--no-plots")


@pytest.fixture(scope="module")
def worse(films, tmp_path_factory):
    return worse_films(films, tmp_path_factory.mktemp("named") / "worse")


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return scripted(TinyI3D(), folder / "i3d.pt"), scripted(TinyInception(), folder / "inception.pt")


def test_named_networks_give_fvd_fid_and_kid_with_their_hashes(latentloom, films, worse, networks, tmp_path):
    digest = hashlib.sha256(networks[0].read_bytes()).hexdigest()
    options = ("--i3d", networks[0], "--i3d-sha256", digest, "--inception", networks[1], "--inception-score")
    result = latentloom("evaluate", films, worse, "-o", tmp_path / "a.json", *LEARNED, *options)
    assert result.code == 0, result.err
    assert f"its code runs now; sha256 {digest} (not StyleGAN-V's file" in result.out
    for said in ("FVD: ", "FID: ", "KID: ", "score of frames: real ", "with other videos", digest[:12]):
        assert said in result.out
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["fvd"]["distance"] > 0 and report["fvd"]["vectors"] == {"real": 2, "fake": 2}
    assert report["receipt"]["networks"]["i3d"]["sha256"] == digest
    assert "224x224 bilinear" in report["receipt"]["networks"]["i3d"]["preprocessing"]
    again = latentloom("evaluate", films, worse, "-o", tmp_path / "b.json", *LEARNED, *options)
    assert again.code == 0
    second = json.loads((tmp_path / "b.json").read_text())
    assert {k: v for k, v in second.items() if k != "receipt"} == {k: v for k, v in report.items() if k != "receipt"}


def test_c3d_gives_the_inception_score_of_clips(latentloom, tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    generator = torch.Generator().manual_seed(0)
    for number in range(3):
        colour = torch.randint(0, 256, (1, 1, 1, 3), generator=generator).to(torch.uint8)
        write_video(colour.expand(32, 32, 64, 3).contiguous(), films / f"{number}.mp4", 6)
    c3d = scripted(TinyC3D(), tmp_path / "c3d.pt")
    digest = hashlib.sha256(c3d.read_bytes()).hexdigest()
    options = ("--size", "32x64", "--no-warp", "--resamples", 0, "--no-plots", "--c3d", c3d)
    result = latentloom("evaluate", films, films, "-o", tmp_path / "a.json", *options, "--c3d-sha256", digest)
    assert result.code == 0, result.err
    assert "inception score of clips, C3D: real " in result.out and "(1 part of 6)" in result.out
    report = json.loads((tmp_path / "a.json").read_text())
    score = report["c3d_inception_score"]
    assert score["real"] == score["fake"] and 1 < score["fake"]["mean"] <= 3 and score["fake"]["deviation"] is None
    assert report["receipt"]["networks"]["c3d"]["sha256"] == digest
    assert "112x112" in report["receipt"]["networks"]["c3d"]["preprocessing"]
    missing = refusal(latentloom("evaluate", films, films, *options[:-1], tmp_path / "nothing.pt"))
    assert "--c3d names a TorchScript file" in missing
    assert "C3D takes 16 frames" in refusal(latentloom("evaluate", films, films, *options, "--window", 8))


def test_networks_that_are_not_what_they_should_be_are_refused(latentloom, films, networks, tmp_path):
    (tmp_path / "net.pt").write_bytes(b"weights")
    before = files_under(tmp_path)

    def refused(*options):
        return refusal(latentloom("evaluate", films, films, *LEARNED, "-o", tmp_path / "out.json", *options))

    assert "--i3d names a TorchScript file" in refused("--i3d", tmp_path / "nothing.pt")
    assert "it was not loaded" in refused("--i3d", networks[0], "--i3d-sha256", "0" * 64)
    assert "name the file with --inception" in refused("--inception-sha256", "0" * 64)
    assert "name the file with --c3d" in refused("--c3d-sha256", "0" * 64)
    assert "needs the network of --inception" in refused("--inception-score")
    assert "I3D takes 9 frames or more" in refused("--i3d", networks[0], "--window", 8)
    assert "no readable TorchScript file" in refused("--inception", tmp_path / "net.pt")
    assert "expected 0 (none) or 2" in refused("--resamples", 1)
    message = refused("--i3d", networks[1])
    assert "drive0.mp4: inception.pt cannot be called as (video, rescale=False" in message
    assert files_under(tmp_path) == before


def test_features_that_are_not_finite_are_refused_with_the_video_they_come_from(latentloom, films, tmp_path):
    spoilt = TinyI3D()
    spoilt.weight.fill_(torch.nan)
    options = (*LEARNED, "--i3d", scripted(spoilt, tmp_path / "spoilt.pt"))
    message = refusal(latentloom("evaluate", films, films, *options))
    assert "drive0.mp4: spoilt.pt gives features that are not finite; is it the right file?" in message


def test_one_window_a_side_has_no_fvd(latentloom, films, networks):
    first, second = sorted(films.iterdir())
    message = refusal(latentloom("evaluate", first, second, *LEARNED, "--i3d", networks[0]))
    assert "at least 2 of each" in message and "--window" in message


def test_texts_beside_the_videos_give_clipsim(latentloom, films, worse, tmp_path):
    clip = tiny_clip(tmp_path / "clip", ["a bar on the road"])
    assert "put NAME.txt beside" in refusal(latentloom("evaluate", films, worse, *LEARNED, "--clip", clip))
    for number in range(2):
        (worse / f"drive{number}.txt").write_text("a bar on the road")
    assert "is no CLIP folder" in refusal(latentloom("evaluate", films, worse, *LEARNED, "--clip", worse))
    result = latentloom("evaluate", films, worse, "-o", tmp_path / "a.json", *LEARNED, "--clip", clip)
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["clipsim"]["real"] is None and report["clipsim"]["fake"]["videos"] == 2
    assert -1 <= report["clipsim"]["fake"]["mean"] <= 1
    assert report["receipt"]["networks"]["clip"]["sha256"]
    assert "CLIPSIM: generated " in result.out
