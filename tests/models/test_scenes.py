import torch

from latentloom.layers.scene import PLACE
from latentloom.models.scenes import SceneEncoder
from latentloom.scenes import MAX_BOXES, NUMBERS, SceneTensors


def of_scene(encoder: SceneEncoder, scene: SceneTensors) -> torch.Tensor:
    return encoder(scene.batch(encoder.device))[0]


def tokens(encoder: SceneEncoder, *rows: list[float]) -> torch.Tensor:
    """Of the slots."""
    return of_scene(encoder, SceneTensors.of(rows))[:MAX_BOXES]


def test_every_corner_and_the_label_matter_and_empty_slots_are_alike():
    torch.manual_seed(0)
    encoder = SceneEncoder(16, 6)
    row = [0.2, 0.3, 0.6, 0.7, 0.0]
    plain = tokens(encoder, row)
    assert plain.shape == (MAX_BOXES, 16 + PLACE)
    torch.testing.assert_close(plain[0, -PLACE:], torch.tensor([0.2, 0.3, 0.6, 0.7, 1.0]))
    assert torch.equal(plain[1], plain[2]) and not torch.equal(plain[0], plain[1])
    for change in range(5):
        other = [value + (1.0 if place == 4 else 0.05) * (place == change) for place, value in enumerate(row)]
        assert not torch.allclose(tokens(encoder, other)[0, :16], plain[0, :16], atol=1e-3)
    assert torch.equal(tokens(encoder)[0], plain[1])


def test_what_is_told_of_light_and_traffic_has_a_token_each_and_what_is_not_told_another():
    torch.manual_seed(0)
    encoder = SceneEncoder(16, 6)
    for embedding in encoder.numbers:
        torch.nn.init.normal_(embedding.linear2.weight)
    nothing = of_scene(encoder, SceneTensors.of())
    assert nothing.shape == (MAX_BOXES + len(NUMBERS), 16 + PLACE) and not nothing[:, -PLACE:].any()
    day, night = (of_scene(encoder, SceneTensors.of(night=night)) for night in (0.0, 1.0))
    few, many = (of_scene(encoder, SceneTensors.of(vehicles=count)) for count in (1, 9))
    light, traffic = MAX_BOXES, MAX_BOXES + 1
    for one, other in ((day, night), (day, nothing), (night, nothing)):
        assert not torch.allclose(one[light], other[light], atol=1e-3) and torch.equal(one[traffic], other[traffic])
    for one, other in ((few, many), (few, nothing), (many, nothing)):
        assert not torch.allclose(one[traffic], other[traffic], atol=1e-3) and torch.equal(one[light], other[light])
    untold = SceneTensors.of([[0.1, 0.2, 0.3, 0.4, 0.0]], night=1.0, vehicles=3).batch(encoder.device).untold()
    assert torch.equal(encoder(untold)[0], nothing)
    assert not torch.equal(of_scene(encoder, SceneTensors.of([]))[0], nothing[0]), "no box is not: no boxes told"


def test_boxes_a_pixel_apart_are_told_apart_and_far_ones_are_not_taken_for_each_other():
    torch.manual_seed(0)
    encoder = SceneEncoder(16, 6)
    places = torch.linspace(0, 0.9, 91).tolist()
    made = torch.stack([tokens(encoder, [x, 0.4, x + 0.1, 0.6, 0.0])[0, :16] for x in places])
    distances = torch.cdist(made, made) + 1e9 * torch.eye(len(places))
    assert distances.min() > 1e-3


def test_a_box_covers_the_cells_it_touches():
    scenes = SceneTensors.of([[0.3, 0.5, 0.55, 0.8, 0.0]]).batch(torch.device("cpu"))
    expected = torch.zeros(1, 4, 8)
    expected[0, 2:4, 2:5] = 1
    assert torch.equal(scenes.covered(4, 8), expected)
    assert not SceneTensors.of([]).batch(torch.device("cpu")).covered(4, 8).any()
    assert not scenes.untold().covered(4, 8).any()


def test_in_bfloat16_the_tokens_are_those_of_float32_rounded():
    torch.manual_seed(0)
    encoder = SceneEncoder(16, 6)
    row = [0.213, 0.317, 0.619, 0.733, 2.0]
    exact = tokens(encoder, row)
    rounded = tokens(encoder.to(torch.bfloat16), row).float()
    assert (rounded - exact).norm() < 0.02 * exact.norm()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    encoder = SceneEncoder(16, 6)
    encoder.save_pretrained(tmp_path)
    row = [0.2, 0.3, 0.6, 0.7, 2.0]
    assert torch.equal(tokens(SceneEncoder.from_pretrained(tmp_path), row), tokens(encoder, row))
