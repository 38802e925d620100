"""``evaluate`` on files, folders and datasets: what it prints, writes and refuses."""

import hashlib
import json
import shutil
import warnings

import pytest
import torch
from PIL import Image
from tests.cli.evaluation_films import AT, QUICK, worse_films
from tests.command import files_under, refusal

from latentloom.data.video import read_video, write_video

pytestmark = pytest.mark.filterwarnings("ignore:a Frechet distance of")


@pytest.fixture(scope="module")
def worse(films, tmp_path_factory):
    return worse_films(films, tmp_path_factory.mktemp("evaluate") / "worse")


def test_videos_are_judged_beside_real_ones(latentloom, films, worse, tmp_path):
    result = latentloom("evaluate", films, worse, "-o", tmp_path / "figures.json", "--paired", *AT)
    assert result.code == 0, result.err
    for said in (
        "real, 2 videos",
        "generated / real",
        "flicker power, brightness",
        "Frechet distance: ",
        "loom features",
        "PSNR",
        "flicker (error of frame differences)",
        "figures.json; plots: ",
    ):
        assert said in result.out
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["frame_difference_ratio"] > 1.2
    assert report["fake"]["warp_error"] > 0 and report["real"]["warp_error"] > 0
    assert report["fake"]["pixel_flicker"] > report["real"]["pixel_flicker"]
    assert report["real"]["windows"] == 6
    assert report["flicker"] > 5 and 15 < report["psnr"] < 30
    assert report["frechet"]["distance"] > 0 and report["frechet"]["vectors"] == {"real": 6, "fake": 6}
    assert Image.open(tmp_path / "figures.png").width > 800


def test_videos_beside_themselves_are_perfect_also_as_a_dataset(latentloom, films, tmp_path):
    latentloom("prepare", films, "-o", tmp_path / "data", "--size", "32x64")
    options = ("-o", tmp_path / "figures.json", "--paired", *QUICK)
    shutil.copytree(films, tmp_path / "copy")
    assert latentloom("evaluate", films, tmp_path / "copy", *options).code == 0
    report = json.loads((tmp_path / "figures.json").read_text())
    assert (report["psnr"], report["flicker"]) == (None, 0), "JSON has no infinity"
    result = latentloom("evaluate", films, tmp_path / "data", *options, "--force")
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["frame_difference_ratio"] == pytest.approx(1)
    assert report["frechet"]["distance"] < 1e-6 and report["frechet"]["interval"] is None
    assert report["real"]["warp_error"] is None
    assert not (tmp_path / "figures.png").exists(), "--no-plots"


def test_single_videos_pair_whatever_their_names_and_one_window_a_side_has_no_distance(latentloom, films):
    first, second = sorted(films.iterdir())
    result = latentloom("evaluate", first, second, "--paired", *QUICK, "--window", 12)
    assert result.code == 0, result.err
    assert "Frechet distance: none, it needs 2 windows of each" in result.out
    result = latentloom("evaluate", first, second, *QUICK)
    assert result.code == 0 and "with other videos" not in result.out, "one video has no interval"


def test_the_help_is_that_of_judging_and_names_explain(latentloom):
    out = latentloom("evaluate", "--help").out
    assert "Usage: latentloom evaluate [OPTIONS]" in out and "evaluate explain" in out and "--i3d" in out
    assert "Usage: latentloom evaluate explain" in latentloom("evaluate", "explain", "--help").out
    assert "REAL" in refusal(latentloom("evaluate"))


def test_the_receipt_says_what_the_numbers_owe_to(latentloom, films, tmp_path):
    assert latentloom("evaluate", films, films, "-o", tmp_path / "a.json", *QUICK).code == 0
    receipt = json.loads((tmp_path / "a.json").read_text())["receipt"]
    assert receipt["settings"]["size"] == [32, 64] and "Lanczos" in receipt["settings"]["resize"]
    assert receipt["settings"]["window"] == 4 and receipt["settings"]["stride"] == 1 and receipt["seed"] == 0
    real = receipt["inputs"]["real"]
    assert (real["videos"], real["windows"], real["sizes"], real["rates"]) == (2, 6, {"32x64": 2}, {"6.000": 2})
    assert real["codecs"] == {"h264": 2} and real["containers"] == {"mov": 2} and len(real["files"]) == 2
    digest = hashlib.sha256((films / "drive0.mp4").read_bytes()).hexdigest()
    assert real["files"]["drive0"] == digest
    own = receipt["networks"]["own"]
    assert len(own["sha256"]) == 64 and "64x128" in own["preprocessing"]
    assert receipt["environment"]["versions"]["torch"] and receipt["environment"]["versions"]["pillow"]


def test_what_cannot_be_judged_is_refused_and_nothing_is_written(latentloom, films, worse, tmp_path):
    shutil.copytree(worse, tmp_path / "worse")
    worse = tmp_path / "worse"
    (worse / "drive1.mp4").rename(worse / "other.mp4")
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.json").write_text("{}")
    latentloom("prepare", films, "-o", tmp_path / "data", "--size", "16x32")
    write_video(torch.zeros(9, 32, 64, 3, dtype=torch.uint8), tmp_path / "short.mp4", fps=12)
    before = files_under(tmp_path)

    def refused(*words):
        return refusal(latentloom("evaluate", *words, "-o", tmp_path / "out.json"))

    assert "has no partner" in refused(films, worse, "--paired", *AT)
    message = refused(films / "drive1.mp4", tmp_path / "short.mp4", "--paired", *AT)
    assert "short.mp4 has 9 frames, its partner" in message and "drive1.mp4 12" in message
    assert "no such folder" in refused(films, tmp_path / "nothing")
    assert "no videos in this folder" in refused(films, tmp_path / "empty")
    message = refused(films, films, *QUICK, "--window", 100)
    assert "no real video has 100 frames, the longest 12" in message and "--window" in message
    assert "judge at that size, --size 16x32" in refused(films, tmp_path / "data", *AT)
    assert "expected at least 1x1" in refused(films, films, "--size", "0x64")
    assert "features describe 4 frames or more" in refused(films, films, *AT, "--window", 3)
    assert "expected a whole number from 1 to" in refused(films, films, *AT, "--processes", 0)
    assert "JSON; plots go beside them" in refusal(latentloom("evaluate", films, films, "-o", tmp_path / "out.png"))
    message = refusal(latentloom("evaluate", films, films, "-o", tmp_path / "there.json"))
    assert "exists" in message and "--force" in message
    assert files_under(tmp_path) == before


def test_plots_that_exist_are_not_overwritten_without_being_asked(latentloom, films, tmp_path):
    (tmp_path / "out.png").write_bytes(b"mine")
    message = refusal(latentloom("evaluate", films, films, "-o", tmp_path / "out.json", *AT))
    assert "out.png exists" in message and "--force" in message
    assert {path.name for path in tmp_path.iterdir()} == {"out.png"}


@pytest.mark.filterwarnings("ignore:.*equally many")
def test_odd_videos_are_judged_or_refused_by_name(latentloom, films, tmp_path):
    odd = tmp_path / "odd"
    odd.mkdir()
    frames = read_video(films / "drive0.mp4").frames
    write_video(frames[:1], odd / "still.mp4", 6)
    message = refusal(latentloom("evaluate", films, odd, *QUICK))
    assert "still.mp4: 1 frame is a picture, not a video" in message
    (odd / "still.mp4").unlink()
    write_video(frames[..., :1].expand(-1, -1, -1, 3).contiguous(), odd / "grey.mp4", 6)
    write_video(frames[:2], odd / "short.mp4", 6)
    result = latentloom("evaluate", films, odd, *QUICK)
    assert result.code == 0, result.err
    assert "1 of 2 generated videos are shorter than a window of 4 frames" in result.out
    (odd / "text.mp4").write_text("no video")
    assert "text.mp4" in refusal(latentloom("evaluate", films, odd, *QUICK))


def test_unequal_counts_are_warned_of(latentloom, films, tmp_path):
    shutil.copytree(films, tmp_path / "one")
    (tmp_path / "one" / "drive1.mp4").unlink()
    with pytest.warns(UserWarning, match="6 real and 3 generated windows.*take equally many"):
        result = latentloom("evaluate", films, tmp_path / "one", *QUICK)
    assert result.code == 0 and "generated, 1 videos" in result.out


@pytest.fixture
def faster(films, tmp_path):
    """The films at twice the rate and size."""
    folder = tmp_path / "faster"
    folder.mkdir()
    for path in films.iterdir():
        frames = read_video(path).frames.repeat_interleave(2, 1).repeat_interleave(2, 2)
        write_video(frames, folder / path.name, 12)
    return folder


@pytest.mark.filterwarnings("ignore:.*equally many")
def test_sets_of_several_rates_are_refused_and_of_several_sizes_warned_of(latentloom, films, faster, tmp_path):
    message = refusal(latentloom("evaluate", films, faster, *QUICK))
    assert "videos of 6 to 12 frames a second" in message and "--fps 6" in message
    assert "would repeat some" in refusal(latentloom("evaluate", films, faster, *QUICK, "--fps", 12))
    assert "expected a number of frames per second" in refusal(latentloom("evaluate", films, films, "--fps", 0))
    with pytest.warns(UserWarning, match="real 32x64, generated 64x128.*softer"):
        result = latentloom("evaluate", films, faster, *QUICK, "--fps", 6)
    assert result.code == 0, result.err


def test_clips_of_a_dataset_are_brought_to_a_rate_as_files_are(latentloom, films, tmp_path):
    twice = tmp_path / "twice"
    twice.mkdir()
    for path in films.iterdir():
        write_video(read_video(path).frames.repeat_interleave(2, 0), twice / path.name, 12)
    latentloom("prepare", twice, "-o", tmp_path / "data", "--size", "32x64")
    found = []
    for name, fake in (("a", twice), ("b", tmp_path / "data")):
        result = latentloom("evaluate", films, fake, *QUICK, "--fps", 6, "-o", tmp_path / f"{name}.json")
        assert result.code == 0, result.err
        found.append(json.loads((tmp_path / f"{name}.json").read_text()))
    assert found[0]["fake"]["num_frames"] == 24 and found[0]["frame_difference_ratio"] == pytest.approx(1, rel=0.02)
    assert {**found[0]["fake"], "path": ""} == {**found[1]["fake"], "path": ""}


def test_fewer_videos_are_drawn_by_seed_and_more_than_there_are_refused(latentloom, films, worse, tmp_path):
    assert "holds 2 real videos" in refusal(latentloom("evaluate", films, worse, *QUICK, "--videos", 3))
    names = set()
    for seed in range(4):
        output = ("-o", tmp_path / f"{seed}.json", "--seed", seed)
        assert latentloom("evaluate", films, worse, "--paired", *QUICK, "--videos", 1, *output).code == 0
        inputs = json.loads((tmp_path / f"{seed}.json").read_text())["receipt"]["inputs"]
        assert list(inputs["real"]["files"]) == list(inputs["fake"]["files"])
        names |= set(inputs["real"]["files"])
    assert names == {"drive0", "drive1"}


def test_frames_that_are_cropped_are_told(latentloom, films):
    with pytest.warns(UserWarning, match="of those of 32x64 50 % are judged; --size 32x64 judges all of them"):
        assert latentloom("evaluate", films, films, *QUICK, "--size", "16x16").code == 0
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="frames are cropped")
        assert latentloom("evaluate", films, films, *QUICK).code == 0


def test_training_footage_of_another_rate_is_searched_and_told_of(latentloom, films, worse, tmp_path):
    slower = tmp_path / "slower"
    slower.mkdir()
    for number, rate in enumerate((3, 12)):
        write_video(read_video(films / "drive0.mp4").frames, slower / f"{number}.mp4", rate)
    result = latentloom("evaluate", worse, worse, *QUICK, "--fps", 6, "--training", slower)
    assert result.code == 0, result.err
    assert "1 of 2 training videos have other rates than 6 a second (3 to 3)" in result.out
    result = latentloom("evaluate", worse, worse, *QUICK, "--training", slower)
    assert "2 of 2 training videos have other rates than 6 a second (3 to 12)" in result.out


def test_without_matplotlib_or_opencv_a_line_says_what_is_left_out(latentloom, films, tmp_path, monkeypatch):
    import importlib.util

    there = importlib.util.find_spec
    missing = {"matplotlib", "cv2"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name in missing else there(name, *more)
    )
    result = latentloom("evaluate", films, films, "-o", tmp_path / "a.json", *AT, "--resamples", 0)
    assert result.code == 0, result.err
    assert "plots: left out, they need matplotlib (pip install 'latentloom[eval]')" in result.out
    assert "warp error: left out, it needs OpenCV (pip install 'latentloom[eval]')" in result.out
    assert {path.name for path in tmp_path.iterdir()} == {"a.json"}


@pytest.mark.filterwarnings("ignore:.*equally many")
def test_futures_of_one_start_are_compared_with_each_other_and_with_real_videos(latentloom, films, tmp_path):
    folder = tmp_path / "futures"
    folder.mkdir()
    first = read_video(films / "drive0.mp4").frames
    for number, frames in enumerate((first, first.flip(0), first), 1):
        write_video(frames, folder / f"out-{number}.mp4", 6)
    result = latentloom(
        "evaluate", films, folder, *QUICK, "--diversity", "-o", tmp_path / "a.json", "--windows-per-video", 2
    )
    assert result.code == 0, result.err
    assert "diversity of generated NAME-1, NAME-2, ...: 3 pairs of 1 names" in result.out
    found = json.loads((tmp_path / "a.json").read_text())["diversity"]
    assert found["fake"]["pairs"] == 3 and found["fake"]["groups"] == 1
    assert found["fake"]["pixels"] > 5 and found["fake"]["features"] > 0
    assert found["real"]["pixels"] > 5
    message = refusal(latentloom("evaluate", films, films, *QUICK, "--diversity"))
    assert "holds no two of one NAME" in message and "--rollouts" in message


def test_a_copy_of_training_footage_is_named(latentloom, films, worse, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    known = read_video(films / "drive0.mp4").frames
    write_video(known[2:10], made / "copy.mp4", 6)
    write_video(torch.full((12, 32, 64, 3), 240, dtype=torch.uint8), made / "new.mp4", 6)
    held_out = tmp_path / "held_out"
    held_out.mkdir()
    write_video(read_video(films / "drive1.mp4").frames.flip(2), held_out / "drive.mp4", 6)
    write_video(known.flip(1).flip(2), held_out / "other.mp4", 6)
    quick = [*QUICK, "--window", 8]
    result = latentloom("evaluate", held_out, made, *quick, "--training", films, "-o", tmp_path / "a.json")
    assert result.code == 0, result.err
    assert "1 of 2 generated videos have a clip nearer than any real one (0.7 would by chance)" in result.out
    assert "copy to drive0 from frame 2" in result.out
    found = json.loads((tmp_path / "a.json").read_text())
    clips = found["memorisation"]["clips"]
    assert clips["clips_each"] == 1, "a video of 8 frames has one window, those of more are asked no more often"
    assert clips["nearest"]["copy"]["distance"] < 3 < clips["real"]["smallest"]
    assert found["memorisation"]["frames"]["nearest"]["copy"]["distance"] <= clips["nearest"]["copy"]["distance"]
    assert found["receipt"]["inputs"]["training"]["videos"] == 2
    result = latentloom("evaluate", films, made, *quick, "--training", films)
    assert result.code == 0 and "2 real videos are in the training footage: give held-out ones" in result.out
    message = refusal(latentloom("evaluate", held_out, made, *quick, "--training", tmp_path / "nothing"))
    assert "nothing" in message
