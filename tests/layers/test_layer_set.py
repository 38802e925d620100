"""Layer sets as data."""

import json

import pytest

from latentloom.layers.layer_set import LayerSet


@pytest.mark.parametrize("layer_set", [LayerSet.text(), LayerSet.driving(feed_forward=2), LayerSet.decoder()])
def test_a_layer_set_survives_json(layer_set):
    assert LayerSet.from_dict(json.loads(json.dumps(layer_set.to_dict()))) == layer_set


@pytest.mark.parametrize("unknown", [{"reference": 1}, {"transformer": {"flavour": 3}}])
def test_settings_of_another_version_are_refused_by_name(unknown):
    with pytest.raises(ValueError, match="this version of latentloom"):
        LayerSet.from_dict(LayerSet.text().to_dict() | unknown)


def test_driving_has_fps_and_no_text_and_the_decoder_only_convolutions():
    driving, decoder = LayerSet.driving(), LayerSet.decoder()
    assert [number.name for number in driving.numbers] == ["fps"]
    assert driving.transformer is not None
    assert not driving.transformer.text
    assert decoder.transformer is None
    assert not LayerSet.text().numbers
