import hashlib
import json

import pytest
import torch
from tests.tiny import tiny_stack

from latentloom.receipt import LIBRARIES, cpu_name, make_receipt, write_receipt


def receipt_for(output):
    request = tiny_stack().info.request("a road – at night")
    return make_receipt(
        request=request,
        seed=7,
        dtype=torch.float32,
        device="cpu",
        stack="tiny",
        checksums={"unet/config.json": "ab"},
        outputs=[output],
        settings={"eta": 0.0},
    )


def test_a_receipt_holds_everything_needed_to_make_the_file_again(tmp_path):
    output = tmp_path / "clip.mp4"
    output.write_bytes(b"video")
    receipt = receipt_for(output)
    assert receipt["outputs"] == {"clip.mp4": hashlib.sha256(b"video").hexdigest()}
    assert receipt["request"]["prompt"] == "a road – at night"
    assert receipt["request"]["num_inference_steps"] == 3
    assert receipt["seed"] == 7
    assert receipt["settings"] == {"eta": 0.0}
    assert receipt["stack"] == {"name": "tiny", "members": {"unet/config.json": "ab"}}
    environment = receipt["environment"]
    assert environment["versions"].keys() == set(LIBRARIES)
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["dtype"] == "float32"
    assert environment["threads"] == torch.get_num_threads()
    assert environment["processor"] == cpu_name() != ""


def test_a_receipt_is_written_whole_and_can_be_read_again(tmp_path):
    output = tmp_path / "clip.mp4"
    output.write_bytes(b"video")
    receipt = receipt_for(output)
    write_receipt(receipt, tmp_path / "clip.json")
    assert json.loads((tmp_path / "clip.json").read_text(encoding="utf-8")) == receipt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.json", "clip.mp4"]


def test_a_receipt_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_receipt({"a": 1}, tmp_path / "clip.json")
    with pytest.raises(TypeError):
        write_receipt({"a": object()}, tmp_path / "clip.json")
    assert json.loads((tmp_path / "clip.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["clip.json"]
