import json
from pathlib import Path

import pytest
import torch

from latentloom.data.manifest import Dataset, DatasetWriter
from latentloom.data.scenes import Scene, load_boxes, save_boxes
from latentloom.scenes import EMPTY, LABELS, MAX_BOXES, UNTOLD, SceneTensors

CAR = {"label": "vehicle", "box": [0.4, 0.5, 0.6, 0.7]}


def scene(tmp_path, content) -> Scene:
    path = tmp_path / "scene.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return Scene.read(path)


def test_a_scene_file_becomes_slots_largest_box_first(tmp_path):
    small = {"label": "person", "box": [0.1, 0.1, 0.2, 0.2]}
    boxes = scene(tmp_path, {"version": 1, "boxes": [small, CAR]}).tensors()
    assert boxes.corners.shape == (MAX_BOXES, 4)
    torch.testing.assert_close(boxes.corners[0], torch.tensor(CAR["box"]))
    assert boxes.labels.tolist() == [0, 1] + [EMPTY] * (MAX_BOXES - 2)
    assert boxes.numbers.isnan().all()


def test_the_example_is_a_scene():
    scene = Scene.read(Path(__file__).parents[2] / "examples" / "scene.json")
    assert scene.light == "day" and scene.vehicles == 2 and scene.boxes is not None and len(scene.boxes) == 2


def test_an_empty_road_and_a_scene_of_which_nothing_is_told_are_two_things(tmp_path):
    empty = scene(tmp_path, {"boxes": [], "light": "night", "vehicles": 0}).tensors()
    assert empty.labels.tolist() == [EMPTY] * MAX_BOXES and empty.numbers.tolist() == [1.0, 0.0]
    nothing = scene(tmp_path, {}).tensors()
    assert nothing.labels.tolist() == [UNTOLD] * MAX_BOXES and nothing.numbers.isnan().all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no scene"),
        ("not json", "no scene"),
        ("[]", "no scene"),
        ({"boxes": [{**CAR, "label": "dragon"}]}, "boxes.0.label"),
        ({"boxes": [{**CAR, "box": [0.4, 0.5, 0.6]}]}, "boxes.0.box"),
        ('{"boxes": [{"label": "vehicle", "box": [NaN, 0.5, 0.6, 0.7]}]}', "x0 is nan"),
        ({"boxes": [{**CAR, "box": [-0.1, 0.5, 0.6, 0.7]}]}, "x0 is -0.1, expected a fraction"),
        ({"boxes": [{**CAR, "box": [0.4, 0.5, 1.2, 0.7]}]}, "x1 is 1.2"),
        ({"boxes": [{**CAR, "box": [0.6, 0.5, 0.4, 0.7]}]}, "expected x0 < x1"),
        ({"boxes": [{**CAR, "box": [0.4, 0.5, 0.4, 0.7]}]}, "expected x0 < x1"),
        ({"boxes": [CAR] * 10_000}, "at most 16"),
        ({"boxes": [CAR], "camera": 1}, "camera"),
        ({"version": 2}, "version"),
        ({"light": "noon"}, "light"),
        ({"vehicles": -1}, "vehicles"),
        ({"vehicles": 17}, "vehicles"),
        ({"vehicles": 2.5}, "vehicles"),
        ({"vehicles": "3"}, "vehicles"),
        ({"version": True}, "version"),
        ({"boxes": [{**CAR, "box": ["0.1", 0.5, 0.6, 0.7]}]}, "boxes.0.box.0"),
        ({"boxes": [{**CAR, "box": [False, False, True, True]}]}, "boxes.0.box.0"),
        ('{"light": "day", "light": "night"}', "'light' occurs twice"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_a_scene_that_is_none_is_refused_with_the_place(tmp_path, content, message):
    with pytest.raises(ValueError, match=r"scene\.json") as refused:
        scene(tmp_path, content)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_missing_or_huge_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        Scene.read(tmp_path / "nothing.json")
    with pytest.raises(ValueError, match="bytes are no scene"):
        scene(tmp_path, " " * (2 << 20))
    with pytest.raises(ValueError, match="no regular file"):
        Scene.read(Path("/dev/zero"))


def test_of_more_boxes_than_slots_the_largest_are_told():
    rows = [[0.0, 0.0, 0.01 * k, 0.01 * k, 0] for k in range(1, 41)]
    assert SceneTensors.of(rows).corners[:, 2].tolist() == pytest.approx([0.01 * k for k in range(40, 24, -1)])


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    with DatasetWriter(tmp_path / "data", {"size": [16, 32]}) as writer:
        writer.add("drive", torch.zeros(3, 16, 32, 3, dtype=torch.uint8), fps=8.0)
    return Dataset.load(tmp_path / "data")


def test_the_boxes_of_a_clip_lie_beside_its_frames(dataset):
    record = dataset.records[0]
    assert load_boxes(dataset, record) is None
    frames = [[[0.1, 0.2, 0.3, 0.4, 0]], [], [[0.0, 0.0, 1.0, 1.0, 5], [0.5, 0.5, 0.6, 0.6, 1]]]
    save_boxes(dataset.root, "drive", frames)
    assert load_boxes(dataset, record) == frames


@pytest.mark.parametrize("content", ["[", "[[], []]", "[[], [[1, 2]], []]", "[[], [[0, 0, 1, NaN, 0]], []]", "3"])
def test_boxes_of_a_clip_that_are_none_are_refused(dataset, content):
    save_boxes(dataset.root, "drive", [])
    (dataset.root / "boxes" / "drive.json").write_text(content)
    with pytest.raises(ValueError, match=r"drive\.json"):
        load_boxes(dataset, dataset.records[0])


def test_labels_are_those_of_the_footage():
    assert LABELS == ("vehicle", "person", "bicycle", "motorcycle", "traffic_light", "traffic_sign")


def test_a_mark_before_the_text_is_passed_over_and_other_encodings_are_named(tmp_path):
    path = tmp_path / "scene.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"light": "night", "boxes": [{"label": "vehicle", "box": [0, 0, 1, 1]}]}')
    assert Scene.read(path).light == "night"
    path.write_bytes('{"light": "night"}'.encode("utf-16"))
    with pytest.raises(ValueError, match="expected UTF-8"):
        Scene.read(path)
