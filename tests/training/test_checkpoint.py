"""Checkpoints are whole or not there (R2, R5, R7, R11)."""

from pathlib import Path

import pytest
import torch
from tests.full_disk import full_disk

from latentloom.training.checkpoint import load_latest, save_checkpoint


def save(folder: Path, step: int, value: float = 1.0) -> Path:
    return save_checkpoint(folder, step, {"net.weights": {"w": torch.full((2, 3), value)}}, {"count": step})


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    save(tmp_path, 7, 0.1)
    found = load_latest(tmp_path)
    assert found is not None and found.step == 7 and found.state == {"count": 7}
    assert torch.equal(found.tensors["net.weights"]["w"], torch.full((2, 3), 0.1))


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert load_latest(tmp_path) is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


def test_a_half_written_checkpoint_is_cleaned_away_and_the_one_before_is_used(tmp_path: Path) -> None:
    save(tmp_path, 1)
    debris = tmp_path / "step-00000002.partial"
    debris.mkdir()
    (debris / "tensors.safetensors").write_bytes(b"half")
    found = load_latest(tmp_path)
    assert found is not None and found.step == 1
    assert not debris.exists()


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(tmp_path: Path, name: str, damage: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    match damage:
        case "flip":
            path.write_bytes(bytes(content))
        case "truncate":
            path.write_bytes(path.read_bytes()[:-3])
        case _:
            path.unlink()
    with pytest.warns(UserWarning, match="falling back"):
        found = load_latest(tmp_path)
    assert found is not None and found.step == 1


def test_when_all_are_damaged_the_error_says_what_to_do(tmp_path: Path) -> None:
    (save(tmp_path, 1) / "state.json").write_text("{}")
    with pytest.warns(UserWarning, match="falling back"), pytest.raises(ValueError, match="remove the folder"):
        load_latest(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_checkpoint_ever_holds_nan(tmp_path: Path, value: float) -> None:
    save(tmp_path, 1)
    with pytest.raises(ValueError, match=r"net\.weights/w"):
        save(tmp_path, 2, value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with full_disk(), pytest.raises(OSError, match="File too large"):
        save_checkpoint(tmp_path, 2, {"net.weights": {"w": torch.zeros(1000)}}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_tensors_that_share_memory_are_saved_apart(tmp_path: Path) -> None:
    weight = torch.arange(4.0)
    save_checkpoint(tmp_path, 1, {"a": {"w": weight, "alias": weight}}, {})
    found = load_latest(tmp_path)
    assert found is not None and torch.equal(found.tensors["a"]["alias"], weight)
