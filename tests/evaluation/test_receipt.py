import copy

from latentloom.evaluation.receipt import ABSENT, GIVEN, Weight, differences

RECEIPT = {
    "created": "2026-11-22T08:00:00+00:00",
    "settings": {"size": [128, 256], "fps": None, "window": 16, "split": "val"},
    "seed": 0,
    "inputs": {
        "real": {"videos": 8, "rates": {"6.000": 8}, "codecs": {"h264": 8}, "path": "a", "files": {"x": "1"}},
        "fake": {"videos": 8, "rates": {"6.000": 8}, "codecs": {"h264": 8}, "path": "b", "files": {"y": "2"}},
    },
    "networks": {"i3d": {"name": "i3d.pt", "sha256": "0", "preprocessing": "224x224"}},
    "environment": {"versions": {"torch": "2.13"}, "processor": "X"},
}


def changed(**values):
    """The receipt with values at dotted paths, ``__`` for the dot."""
    receipt = copy.deepcopy(RECEIPT)
    for path, value in values.items():
        *rooms, name = path.split("__")
        room = receipt
        for part in rooms:
            room = room[part]
        room[name] = value
    return receipt


def test_equal_receipts_do_not_differ():
    assert differences(RECEIPT, copy.deepcopy(RECEIPT)) == []


def test_what_usually_matters_comes_first_resize_then_rate_then_number():
    other = changed(
        environment__versions__torch="2.14",
        created="later",
        seed=1,
        inputs__fake__videos=4,
        inputs__fake__codecs={"vp9": 8},
        settings__fps=8.0,
        settings__size=[224, 224],
        networks__i3d__sha256="1",
    )
    found = differences(RECEIPT, other)
    assert [one.field for one in found] == [
        "settings.size",
        "settings.fps",
        "inputs.fake.videos",
        "networks.i3d.sha256",
        "inputs.fake.codecs",
        "seed",
        "environment.versions.torch",
        "created",
    ]
    assert [one.weight for one in found] == [Weight.USUALLY] * 4 + [Weight.SOMETIMES] * 2 + [Weight.RARELY] * 2
    assert all(one.why for one in found)


def test_fields_that_one_receipt_lacks_and_fields_nobody_knows_are_told_too():
    found = differences(RECEIPT, changed(inputs__real__files={"z": "1"}, weather="rain"))
    assert {(one.field, one.first, one.second) for one in found} == {
        ("inputs.real.files.x", "1", ABSENT),
        ("inputs.real.files.z", ABSENT, "1"),
        ("weather", ABSENT, "rain"),
    }


def test_a_part_that_one_receipt_lacks_is_one_field_by_its_name():
    stack = {"stack": {"name": "drive-small", "members": {"a": "0", "b": "1"}}, "frames": 16}
    other = changed(
        inputs__fake__made=stack, networks__c3d={"name": "c3d.pt", "sha256": "2"}, inputs__training={"videos": 2}
    )
    found = differences(RECEIPT, other)
    assert [(one.field, one.first, one.second) for one in found] == [
        ("networks.c3d", ABSENT, "c3d.pt"),
        ("inputs.fake.made", ABSENT, "drive-small"),
        ("inputs.training", ABSENT, GIVEN),
    ]
    assert all(one.why for one in found)
    longer = changed(inputs__fake__made={**stack, "frames": 32})
    assert [one.field for one in differences(changed(inputs__fake__made=stack), longer)] == ["inputs.fake.made.frames"]


def test_counts_of_rates_are_told_whole():
    (one,) = differences(RECEIPT, changed(inputs__real__rates={"6.000": 4, "12.000": 4}))
    assert (one.field, one.weight) == ("inputs.real.rates", Weight.USUALLY)
    assert one.second == {"6.000": 4, "12.000": 4}


def test_fewer_videos_of_the_same_kinds_are_told_once_as_their_number():
    fewer = changed(inputs__real__rates={"6.000": 4}, inputs__real__codecs={"h264": 4}, inputs__real__videos=4)
    assert [one.field for one in differences(RECEIPT, fewer)] == ["inputs.real.videos"]
