"""The dataset folder: what is written is read back, half-written things are not there, damage is named."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from latentloom.data.clips import clip_windows, image_items, source_weights, stride_for
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Caption, Dataset, DatasetWriter
from latentloom.files import partial_path


def clip(count: int, start: int = 0) -> torch.Tensor:
    """Frames that say their own number in every pixel."""
    return torch.arange(start, start + count, dtype=torch.uint8)[:, None, None, None].expand(-1, 4, 8, 3).contiguous()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with DatasetWriter(tmp_path, {"size": [4, 8]}) as writer:
        captions = [Caption(start=0, stop=10, text="left"), Caption(start=10, stop=30, text="right")]
        writer.add("a", clip(30), fps=12.0, captions=captions, labels={"speed": [1.0] * 30})
        writer.add("b", clip(6, 100), fps=6.0, split="val")
        writer.add("stills", clip(5, 200), fps=1.0, contiguous=False)
    return tmp_path


def test_frames_come_back_by_index_in_any_order(folder: Path) -> None:
    dataset = Dataset.load(folder)
    frames = dataset.frames(dataset.records[0], [7, 3, 3])
    assert frames.dtype == torch.uint8 and frames[:, 0, 0, 0].tolist() == [7, 3, 3]
    assert dataset.size == (4, 8) and dataset.captions == ["left", "right"]
    assert dataset.records[0].labels["speed"][2] == 1.0


def test_a_window_is_described_by_the_caption_that_covers_most_of_it(folder: Path) -> None:
    record = Dataset.load(folder).records[0]
    assert [record.caption(0, 9), record.caption(5, 12), record.caption(8, 20)] == ["left", "left", "right"]
    assert Dataset.load(folder).records[1].caption(0) == ""


def test_windows_are_evenly_strided_at_the_nearest_rate_and_never_leave_their_clip(folder: Path) -> None:
    dataset = Dataset.load(folder)
    windows = clip_windows(dataset, 5, 6.0)
    assert {(w.record, w.fps) for w in windows} == {(0, 6.0)}
    assert len(windows) == 30 - 8 and list(windows[-1].indices) == [21, 23, 25, 27, 29]
    assert windows[-1].caption == "right"


def test_frames_of_an_uneven_source_are_chosen_by_time_and_never_across_a_gap(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.2, 0.31, 0.39, 0.5, 0.52, 0.6, 0.7, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5]
    with DatasetWriter(tmp_path / "uneven", {"size": [4, 8]}) as writer:
        writer.add("clip", torch.zeros(len(times), 4, 8, 3, dtype=torch.uint8), fps=10.0, times=times)
    windows = clip_windows(Dataset.load(tmp_path / "uneven"), 3, 5.0)
    assert [list(window.indices) for window in windows] == [
        [0, 2, 4],
        [1, 3, 5],
        [2, 4, 7],
        [3, 5, 8],
        [9, 11, 13],
        [10, 12, 14],
    ]
    assert {window.fps for window in windows} == {5.0}


def test_stills_are_images_and_never_video(folder: Path) -> None:
    dataset = Dataset.load(folder)
    assert all(dataset.records[w.record].contiguous for w in clip_windows(dataset, 2, 1.0))
    assert len(image_items(dataset)) == 35


def test_the_nearest_stride_is_chosen_by_ratio() -> None:
    assert [stride_for(14.2, 6.5), stride_for(10.2, 6.5), stride_for(6.7, 6.5), stride_for(5.0, 30.0)] == [2, 2, 1, 1]


def test_too_few_frames_are_refused_with_the_longest_length(folder: Path) -> None:
    with pytest.raises(ValueError, match="the longest has 30 frames"):
        clip_windows(Dataset.load(folder), 40, 12.0)


def test_source_weights_are_shares_of_all_draws(folder: Path) -> None:
    dataset = Dataset.load(folder)
    records = [record for record, _ in image_items(dataset)]
    weights = source_weights(dataset, records, {"stills": 0.4})
    assert sum(weights) == pytest.approx(1) and sum(weights[-5:]) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="'nothing'"):
        source_weights(dataset, records, {"nothing": 0.1})
    with pytest.raises(ValueError, match="at most 1"):
        source_weights(dataset, records, {"stills": 1.4})


def test_a_continued_preparation_knows_its_clips_and_drops_half_written_ones(folder: Path) -> None:
    with (folder / "manifest.jsonl").open("a") as manifest:
        manifest.write('{"id": "half", "num_fra')
    partial_path(folder / "frames" / "c.safetensors").write_bytes(b"half")
    with DatasetWriter(folder, {"size": [4, 8]}) as writer:
        assert writer.has("a") and not writer.has("half") and not writer.has("c")
        writer.add("c", clip(2), fps=1.0)
    assert [record.id for record in Dataset.load(folder).records] == ["a", "b", "stills", "c"]
    assert not list((folder / "frames").glob("*.partial"))


def test_what_another_process_is_writing_is_left_to_it(folder: Path) -> None:
    ours = partial_path(folder / "frames" / "c.safetensors")
    theirs = ours.with_name(ours.name.replace(str(os.getpid()), str(os.getppid())))
    theirs.write_bytes(b"half")
    with DatasetWriter(folder, {"size": [4, 8]}):
        pass
    assert theirs.exists()


def test_opening_a_whole_dataset_to_continue_it_changes_no_byte(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for row in rows:
        del row["frames_digest"]  # as it was before this was kept
    before = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "manifest.jsonl").write_text(before)
    with DatasetWriter(folder, {"size": [4, 8]}) as writer:
        assert writer.has("stills")
    assert (folder / "manifest.jsonl").read_text() == before


def test_a_clip_whose_frames_are_being_replaced_is_not_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with DatasetWriter(folder, {"size": [4, 8]}) as writer:
        monkeypatch.setattr("latentloom.data.manifest.digest_of", killed)
        with pytest.raises(KeyboardInterrupt):
            writer.add("a", clip(30, 50), fps=12.0)
    assert [record.id for record in Dataset.load(folder).records] == ["b", "stills"]


def test_other_settings_for_the_same_folder_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="prepared with other settings"), DatasetWriter(folder, {"size": [8, 8]}):
        pass


@pytest.mark.parametrize("name", ["../escape", "", "a/b", ".hidden", "x" * 300, "new\nline"])
def test_ids_that_are_not_plain_names_are_refused(tmp_path: Path, name: str) -> None:
    with DatasetWriter(tmp_path, {}) as writer, pytest.raises(ValueError, match="clip id"):
        writer.add(name, clip(2), fps=1.0)
    assert list((tmp_path / "frames").iterdir()) == []


def test_labels_that_do_not_fit_the_frames_are_refused(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, {}) as writer, pytest.raises(ValueError, match="3 speed for 2 frames"):
        writer.add("a", clip(2), fps=1.0, labels={"speed": [1.0] * 3})


def test_a_damaged_file_of_frames_is_named(folder: Path) -> None:
    dataset = Dataset.load(folder)
    path = folder / dataset.records[0].file
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        dataset.frames(dataset.records[0], [0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "../../x"}, "clip id '../../x'"),
        ({"id": 3}, "clip id 3|no record of a clip"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"height": -4}, "height is -4"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"fps": 10**400}, "no record of a clip"),
        ({"times": [0.0]}, "1 times for 6 frames"),
        ({"times": [0.0, 0.2, 0.1, 0.3, 0.4, 0.5]}, "times run backward"),
        ({"labels": {"sp\x1beed": [1.0]}}, r"1 sp\\x1beed for 6 frames"),
        ({"labels": {"speed": ["fast"] * 6}}, "no number|no record of a clip"),
        ({"captions": [{"start": 3, "stop": 3, "text": ""}]}, "a caption covers no frame"),
        ({"split": "../val"}, "split is '../val'"),
        ({"stranger": 1}, "stranger"),
    ],
)
def test_a_strangers_manifest_is_refused_by_its_line(folder: Path, change: dict, message: str) -> None:
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=rf"line 2: .*({message})") as caught:
        Dataset.load(folder)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", ["", "not json\n", '{"id": 1}\n'])
def test_an_empty_or_damaged_manifest_is_refused(folder: Path, content: str) -> None:
    (folder / "manifest.jsonl").write_text(content)
    with pytest.raises(ValueError, match="prepare"):
        Dataset.load(folder)


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="latentloom prepare"):
        Dataset.load(tmp_path)


class Encoder:
    """Latents are the first value of each frame; counts the frames it sees."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        assert len(frames) <= 8
        self.seen += len(frames)
        return frames[:, :1, :1, :1].float().movedim(-1, 1)


def filled(folder: Path, encoder: Encoder) -> LatentCache:
    cache = LatentCache(Dataset.load(folder), "key")
    cache.fill(encoder, batch_size=8)
    return cache


def test_latents_are_encoded_once_and_read_by_index(folder: Path) -> None:
    encoder = Encoder()
    cache = filled(folder, encoder)
    assert encoder.seen == 41
    cache.path(cache.dataset.records[1]).unlink()
    filled(folder, encoder)
    assert encoder.seen == 41 + 6
    assert cache.latents(cache.dataset.records[0], [4, 2]).flatten().tolist() == [4.0, 2.0]


def test_latents_of_frames_that_were_replaced_are_encoded_again(folder: Path) -> None:
    encoder = Encoder()
    filled(folder, encoder)
    with DatasetWriter(folder, {"size": [4, 8]}) as writer:
        writer.add("b", clip(6, 100), fps=6.0, captions=[Caption(start=0, stop=6, text="new words, same frames")])
        writer.add("a", clip(30, 50), fps=12.0)
    cache = filled(folder, encoder)
    assert encoder.seen == 41 + 30
    assert [record.id for record in cache.dataset.records] == ["a", "b", "stills"]
    assert cache.latents(cache.dataset.records[0], [4]).flatten().tolist() == [54.0]


def test_latents_from_before_digests_were_kept_are_valid_where_their_number_fits(folder: Path) -> None:
    encoder = Encoder()
    cache = filled(folder, encoder)
    first, second = (cache.path(record) for record in cache.dataset.records[:2])
    save_file({"latents": torch.zeros(30, 1, 1, 1)}, first)
    save_file({"latents": torch.zeros(5, 1, 1, 1)}, second)
    filled(folder, encoder)
    assert encoder.seen == 41 + 6
