import hashlib
import json

import pytest
import torch
from tests.command import refusal
from tests.evaluation.stand_ins import TinyI3D, TinyInception, scripted, tiny_clip

from latentloom.data.video import read_video, write_video

AT = ("--size", "32x64", "--window", 4)


@pytest.fixture
def worse(films, tmp_path):
    """The films with noise that changes from frame to frame."""
    folder = tmp_path / "worse"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for path in films.iterdir():
        frames = read_video(path).frames
        noise = 30 * torch.randn(frames.shape, generator=generator)
        write_video((frames + noise).clamp(0, 255).to(torch.uint8), folder / path.name, 6)
    return folder


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_videos_are_judged_beside_real_ones(latentloom, films, worse, tmp_path):
    result = latentloom("evaluate", films, worse, "-o", tmp_path / "figures.json", "--paired", *AT)
    assert result.code == 0, result.err
    for said in ("real, 2 videos", "frame difference, fake over real", "Frechet distance", "no FVD", "PSNR", "flicker"):
        assert said in result.out
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["frame_difference_ratio"] > 1.2
    assert report["fake"]["warp_error"] > 0 and report["real"]["warp_error"] > 0
    assert report["real"]["windows"] == 6
    assert report["flicker"] > 5 and 15 < report["psnr"] < 30
    assert report["frechet_distance"] > 0


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_videos_beside_themselves_are_perfect_also_as_a_dataset(latentloom, films, tmp_path):
    latentloom("prepare", films, "-o", tmp_path / "data", "--size", "32x64")
    result = latentloom("evaluate", films, tmp_path / "data", "-o", tmp_path / "figures.json", "--no-warp", *AT)
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["frame_difference_ratio"] == pytest.approx(1)
    assert report["frechet_distance"] < 1e-6
    assert report["real"]["warp_error"] is None


def test_single_videos_pair_whatever_their_names(latentloom, films, tmp_path):
    first, second = sorted(films.iterdir())
    result = latentloom("evaluate", first, second, "--paired", "--no-warp", *AT, "--window", 12)
    assert result.code == 0, result.err
    assert "Frechet" not in result.out, "one window a side has no covariance"


def test_what_cannot_be_judged_is_refused(latentloom, films, worse, tmp_path):
    (worse / "drive1.mp4").rename(worse / "other.mp4")
    assert "has no partner" in refusal(latentloom("evaluate", films, worse, "--paired", *AT))
    assert "no such folder" in refusal(latentloom("evaluate", films, tmp_path / "nothing"))
    assert "has 100 frames" in refusal(latentloom("evaluate", films, films, "--no-warp", *AT, "--window", 100))
    (tmp_path / "there.json").write_text("{}")
    assert "exists" in refusal(latentloom("evaluate", films, films, "-o", tmp_path / "there.json"))
    latentloom("prepare", films, "-o", tmp_path / "data", "--size", "16x32")
    assert "judge at that --size" in refusal(latentloom("evaluate", films, tmp_path / "data", *AT))


def test_the_help_is_that_of_judging_and_names_explain(latentloom):
    out = latentloom("evaluate", "--help").out
    assert "Usage: latentloom evaluate [OPTIONS]" in out and "evaluate explain" in out and "--i3d" in out
    assert "Usage: latentloom evaluate explain" in latentloom("evaluate", "explain", "--help").out
    assert "REAL" in refusal(latentloom("evaluate"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return scripted(TinyI3D(), folder / "i3d.pt"), scripted(TinyInception(), folder / "inception.pt")


LEARNED = ("--size", "32x64", "--window", 10, "--no-warp", "--resamples", 5)


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_named_networks_give_fvd_fid_and_kid_with_their_hashes(latentloom, films, worse, networks, tmp_path):
    digest = hashlib.sha256(networks[0].read_bytes()).hexdigest()
    options = ("--i3d", networks[0], "--i3d-sha256", digest, "--inception", networks[1], "--inception-score")
    result = latentloom("evaluate", films, worse, "-o", tmp_path / "a.json", *LEARNED, *options)
    assert result.code == 0, result.err
    assert f"its code runs now; sha256 {digest} (not StyleGAN-V's file" in result.out
    for said in ("FVD: ", "FID: ", "KID: ", "inception score: real ", "with other videos", digest[:12]):
        assert said in result.out
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["fvd"]["distance"] > 0 and report["fvd"]["vectors"] == {"real": 2, "fake": 2}
    assert report["receipt"]["networks"]["i3d"]["sha256"] == digest
    assert "224x224 bilinear" in report["receipt"]["networks"]["i3d"]["preprocessing"]
    again = latentloom("evaluate", films, worse, "-o", tmp_path / "b.json", *LEARNED, *options)
    assert again.code == 0
    second = json.loads((tmp_path / "b.json").read_text())
    assert {k: v for k, v in second.items() if k != "receipt"} == {k: v for k, v in report.items() if k != "receipt"}


def test_networks_that_are_not_what_they_should_be_are_refused(latentloom, films, networks, tmp_path):
    def refused(*options):
        return refusal(latentloom("evaluate", films, films, *LEARNED, *options))

    assert "--i3d names a TorchScript file" in refused("--i3d", tmp_path / "nothing.pt")
    assert "it was not loaded" in refused("--i3d", networks[0], "--i3d-sha256", "0" * 64)
    assert "name the file with --inception" in refused("--inception-sha256", "0" * 64)
    assert "needs the network of --inception" in refused("--inception-score")
    assert "I3D takes 9 frames or more" in refused("--i3d", networks[0], "--window", 8)
    (tmp_path / "net.pt").write_bytes(b"weights")
    assert "no readable TorchScript file" in refused("--inception", tmp_path / "net.pt")
    assert "expected 0 (none) or 2" in refused("--resamples", 1)


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
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


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_the_receipt_says_what_the_numbers_owe_to(latentloom, films, tmp_path):
    assert latentloom("evaluate", films, films, "-o", tmp_path / "a.json", *AT, "--no-warp").code == 0
    receipt = json.loads((tmp_path / "a.json").read_text())["receipt"]
    assert receipt["settings"]["size"] == [32, 64] and "Lanczos" in receipt["settings"]["resize"]
    assert receipt["settings"]["window"] == 4 and receipt["settings"]["stride"] == 1 and receipt["seed"] == 0
    real = receipt["inputs"]["real"]
    assert (real["videos"], real["windows"], real["sizes"], real["rates"]) == (2, 6, {"32x64": 2}, {"6.000": 2})
    assert real["codecs"] == {"h264": 2} and real["containers"] == {"mov": 2} and len(real["files"]) == 2
    digest = hashlib.sha256((films / "drive0.mp4").read_bytes()).hexdigest()
    assert real["files"]["drive0"] == digest
    assert receipt["networks"]["own"]["sha256"] is None
    assert receipt["environment"]["versions"]["torch"] and receipt["environment"]["versions"]["pillow"]


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_explain_names_what_differs_and_what_usually_matters(latentloom, films, worse, tmp_path):
    settings = {"a": ("--size", "32x64"), "b": ("--size", "16x32", "--videos", 1, "--seed", 1)}
    for name, options in settings.items():
        output = ("-o", tmp_path / f"{name}.json", "--no-warp", "--window", 4)
        assert latentloom("evaluate", films, worse, *output, *options).code == 0
    result = latentloom("evaluate", "explain", tmp_path / "a.json", tmp_path / "b.json")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    heads = [line for line in lines if line.endswith("matters:")]
    assert heads[0] == "usually matters:"
    words = [line.split()[0] for line in lines if line.startswith("  ")]
    fields = [word for word in words if word.startswith(("settings.", "inputs."))]
    assert fields[0] == "settings.size"
    assert fields.index("inputs.fake.videos") < fields.index("inputs.fake.digest")
    assert "frame difference, fake over real" in result.out
    (tmp_path / "c.json").write_text((tmp_path / "a.json").read_text())
    result = latentloom("evaluate", "explain", tmp_path / "a.json", tmp_path / "c.json")
    assert result.code == 0 and "agree in every field" in result.out


@pytest.mark.parametrize(
    ("text", "said"),
    [("{}", "holds no receipt"), ("[", "is no JSON"), ("[" * 100_000, "is no JSON"), ('{"receipt": 1}', "no receipt")],
)
def test_explain_refuses_what_is_no_result(latentloom, tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    assert said in refusal(latentloom("evaluate", "explain", tmp_path / "a.json", tmp_path / "a.json"))
    assert "no such file" in refusal(latentloom("evaluate", "explain", tmp_path / "x.json", tmp_path / "a.json"))


@pytest.fixture
def faster(films, tmp_path):
    """The films at twice the rate and size."""
    folder = tmp_path / "faster"
    folder.mkdir()
    for path in films.iterdir():
        frames = read_video(path).frames.repeat_interleave(2, 1).repeat_interleave(2, 2)
        write_video(frames, folder / path.name, 12)
    return folder


@pytest.mark.filterwarnings("ignore:a Frechet distance of", "ignore:.*equally many")
def test_sets_of_several_rates_are_refused_and_of_several_sizes_warned_of(latentloom, films, faster, tmp_path):
    message = refusal(latentloom("evaluate", films, faster, "--no-warp", *AT))
    assert "videos of 6 to 12 frames a second" in message and "--fps 6" in message
    assert "would repeat some" in refusal(latentloom("evaluate", films, faster, "--no-warp", *AT, "--fps", 12))
    latentloom("prepare", faster, "-o", tmp_path / "data", "--size", "32x64")
    message = refusal(latentloom("evaluate", films, tmp_path / "data", "--no-warp", *AT, "--fps", 6))
    assert "prepare it with --fps 6" in message
    with pytest.warns(UserWarning, match="real 32x64, generated 64x128.*softer"):
        result = latentloom("evaluate", films, faster, "--no-warp", *AT, "--fps", 6)
    assert result.code == 0, result.err


@pytest.mark.filterwarnings("ignore:a Frechet distance of")
def test_fewer_videos_are_drawn_by_seed_and_more_than_there_are_refused(latentloom, films, worse, tmp_path):
    assert "holds 2 real videos" in refusal(latentloom("evaluate", films, worse, "--no-warp", *AT, "--videos", 3))
    names = set()
    for seed in range(4):
        output = ("-o", tmp_path / f"{seed}.json", "--seed", seed)
        assert latentloom("evaluate", films, worse, "--paired", "--no-warp", *AT, "--videos", 1, *output).code == 0
        inputs = json.loads((tmp_path / f"{seed}.json").read_text())["receipt"]["inputs"]
        assert list(inputs["real"]["files"]) == list(inputs["fake"]["files"])
        names |= set(inputs["real"]["files"])
    assert names == {"drive0", "drive1"}


def test_one_window_a_side_has_no_fvd(latentloom, films, networks):
    first, second = sorted(films.iterdir())
    message = refusal(latentloom("evaluate", first, second, *LEARNED, "--i3d", networks[0]))
    assert "at least 2 of each" in message and "--window" in message
