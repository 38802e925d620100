"""``evaluate REAL STACK``: videos after captions of the real ones, kept, each made once, and what is refused."""

import json
import shutil

import pytest
from tests.cli.evaluation_films import QUICK
from tests.command import files_under, refusal

from latentloom.cli.evaluation_stacks import wanted_videos
from latentloom.data.video import read_video
from latentloom.generation import videos

pytestmark = pytest.mark.filterwarnings("ignore:a Frechet distance of", "ignore:.*equally many", "ignore:.*words")


@pytest.fixture
def real(films, tmp_path):
    """The films with a caption each."""
    folder = tmp_path / "real"
    shutil.copytree(films, folder)
    for number, caption in enumerate(("a road at night", "a lake by day")):
        (folder / f"drive{number}.txt").write_text(caption)
    return folder


def test_a_stack_makes_videos_after_the_captions_of_the_real_ones(latentloom, real, saved_stack_folder, tmp_path):
    options = (*QUICK, "--videos", 3, "--steps", 2, "--diversity", "--seed", 5, "-o", tmp_path / "out.json")
    result = latentloom("evaluate", real, saved_stack_folder, *options)
    assert result.code == 0, result.err
    kept = tmp_path / "out-videos"
    assert f"tiny makes 3 videos: 4 frames of 32x64, 6 a second, 2 steps; kept in {kept}" in result.out
    assert "making videos: 3/3" in result.out and "diversity of generated" in result.out
    assert sorted(path.name for path in kept.glob("*.mp4")) == ["prompt001-1.mp4", "prompt001-2.mp4", "prompt002-1.mp4"]
    made = json.loads((tmp_path / "out.json").read_text())["receipt"]["inputs"]["fake"]["made"]
    assert made["stack"]["name"] == "tiny"
    assert made["stack"]["members"] == json.loads((saved_stack_folder / "stack.json").read_text())["members"]
    assert made["request"]["num_inference_steps"] == 2 and made["frames"] == 4 and made["fps"] == 6
    assert {one["prompt"] for one in made["videos"].values()} == {"a road at night", "a lake by day"}
    assert sorted(one["seed"] for one in made["videos"].values()) == [5, 6, 7]
    for name, one in made["videos"].items():
        receipt = json.loads((kept / name).with_suffix(".json").read_text())
        assert (receipt["seed"], receipt["request"]["prompt"]) == (one["seed"], one["prompt"])
        assert (kept / name).with_suffix(".txt").read_text() == one["prompt"] + "\n"
    assert len(read_video(kept / "prompt002-1.mp4").frames) == 4


def test_each_video_is_made_once_also_after_a_run_that_was_stopped(latentloom, real, saved_stack_folder, tmp_path):
    words = ("evaluate", real, saved_stack_folder, *QUICK, "--steps", 2, "--made", tmp_path / "made", "--videos")
    calls = list[str]()
    make = videos.make_video

    def stopping(generation, *more, **named):
        calls.append(generation.outputs[0].video.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return make(generation, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(videos, "make_video", stopping)
        assert latentloom(*words, 3).code == 130
        assert latentloom(*words, 3).code == 0
        assert len(calls) == 2 + 2, "the first was kept"
        before = files_under(tmp_path / "made")
        assert latentloom(*words, 3).code == 0
        assert len(calls) == 4 and files_under(tmp_path / "made") == before
        assert latentloom(*words, 4).code == 0
        assert calls[4:] == ["prompt002-2.mp4"], "one more changes none of those before"


def test_videos_made_otherwise_are_refused_and_with_force_made_again(latentloom, real, saved_stack_folder, tmp_path):
    words = ("evaluate", real, saved_stack_folder, *QUICK, "--videos", 2, "--made", tmp_path / "made", "--steps")
    assert latentloom(*words, 2).code == 0
    first = (tmp_path / "made" / "prompt001-1.mp4").read_bytes()
    before = files_under(tmp_path)
    assert "was made with another" in refusal(latentloom(*words, 3))
    (real / "drive0.txt").write_text("traffic on the bridge")
    (real / "drive1.txt").write_text("traffic on the bridge")
    assert "was made with another" in refusal(latentloom(*words, 2))
    assert set(files_under(tmp_path)) == set(before)
    assert (tmp_path / "made" / "prompt001-1.mp4").read_bytes() == first
    assert "bridge" not in (tmp_path / "made" / "prompt001-1.txt").read_text()
    assert latentloom(*words, 3, "--force").code == 0
    assert (tmp_path / "made" / "prompt001-1.mp4").read_bytes() != first


def test_what_no_stack_can_do_is_refused_before_a_video_is_made(latentloom, real, films, stack_folder, tmp_path):
    made = ("--made", tmp_path / "made")
    before = files_under(tmp_path)

    def refused(fake, *words):
        return refusal(latentloom("evaluate", real, fake, *QUICK, *words))

    message = refused(stack_folder, *made)
    assert "say how many videos it should make, such as --videos 2 (real ones: 2)" in message
    assert "--made FOLDER, or -o FILE" in refused(stack_folder, "--videos", 2)
    assert "is none (no stack.json)" in refused(films, "--steps", 3)
    assert "is none (no stack.json)" in refused(films, *made)
    assert "would make 4 frames, and a window covers 5" in refused(stack_folder, *made, "--videos", 2, "--window", 5)
    assert "what a stack makes is free" in refused(stack_folder, *made, "--videos", 2, "--paired")
    assert "ask for more than 2" in refused(stack_folder, *made, "--videos", 2, "--diversity")
    assert "--i3d names a TorchScript" in refused(
        stack_folder, *made, "--videos", 2, "--frames", 9, "--window", 9, "--i3d", tmp_path / "no.pt"
    )
    assert "frames is 0, expected a whole number" in refused(stack_folder, *made, "--videos", 2, "--frames", 0)
    message = refusal(latentloom("evaluate", stack_folder, films, *QUICK))
    assert "is a stack, no footage" in message
    assert "no such folder" in refused(tmp_path / "drive-smell", *made, "--videos", 2)
    assert files_under(tmp_path) == before
    (stack_folder / "unet" / "config.json").write_text("{}")
    assert "differs from its checksum" in refused(stack_folder, *made, "--videos", 2)


def test_videos_without_captions_are_made_without_a_prompt(latentloom, films, saved_stack_folder, tmp_path):
    options = ("--videos", 2, "--steps", 2, "--made", tmp_path / "made")
    result = latentloom("evaluate", films, saved_stack_folder, *QUICK, *options)
    assert result.code == 0, result.err
    assert "has no captions: tiny makes its videos without a prompt" in result.out
    assert sorted(path.name for path in (tmp_path / "made").glob("*.mp4")) == ["prompt001-1.mp4", "prompt001-2.mp4"]
    assert not list((tmp_path / "made").glob("*.txt"))


def test_prompts_come_in_turn_and_more_videos_change_none_of_the_first():
    few, many = (wanted_videos(["lake", "road", "lake"], count, 7) for count in (4, 7))
    assert many[:4] == few
    assert [one.file for one in few] == ["prompt001-1.mp4", "prompt002-1.mp4", "prompt001-2.mp4", "prompt001-3.mp4"]
    assert [one.seed for one in few] == [7, 8, 9, 10]
    assert len({one.file for one in many}) == 7
