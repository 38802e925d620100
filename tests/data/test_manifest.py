"""The dataset folder: what is written is read back, half-written things are not there, damage is named."""

from pathlib import Path

import pytest
import torch

from latentloom.data.clips import clip_windows, image_items, source_weights, stride_for
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Caption, Dataset, DatasetWriter


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
    assert {(w.record, w.stride, w.fps) for w in windows} == {(0, 2, 6.0)}
    assert len(windows) == 30 - 8 and list(windows[-1].indices) == [21, 23, 25, 27, 29]
    assert windows[-1].caption == "right"


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
    (folder / "frames" / "c.safetensors.partial").write_bytes(b"half")
    with DatasetWriter(folder, {"size": [4, 8]}) as writer:
        assert writer.has("a") and not writer.has("half") and not writer.has("c")
        writer.add("c", clip(2), fps=1.0)
    assert [record.id for record in Dataset.load(folder).records] == ["a", "b", "stills", "c"]
    assert not list((folder / "frames").glob("*.partial"))


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


@pytest.mark.parametrize("content", ["", "not json\n", '{"id": 1}\n'])
def test_an_empty_or_damaged_manifest_is_refused(folder: Path, content: str) -> None:
    (folder / "manifest.jsonl").write_text(content)
    with pytest.raises(ValueError, match="prepare"):
        Dataset.load(folder)


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="latentloom prepare"):
        Dataset.load(tmp_path)


def test_latents_are_encoded_once_and_read_by_index(folder: Path) -> None:
    dataset, calls = Dataset.load(folder), []

    def encode(frames: torch.Tensor) -> torch.Tensor:
        calls.append(len(frames))
        return frames[:, :1, :1, :1].float().movedim(-1, 1)

    cache = LatentCache(dataset, "key")
    cache.fill(encode, batch_size=8)
    assert sum(calls) == 41 and max(calls) == 8
    cache.path(dataset.records[1]).unlink()
    cache.fill(encode)
    assert sum(calls) == 41 + 6
    assert cache.latents(dataset.records[0], [4, 2]).flatten().tolist() == [4.0, 2.0]
