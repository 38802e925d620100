import torch

from latentloom.data.boxes import MAX_BOXES, Boxes
from latentloom.models.boxes import BoxEncoder


def tokens(encoder: BoxEncoder, *rows: list[float]) -> torch.Tensor:
    boxes = Boxes.of(rows)
    return encoder(boxes.corners[None], boxes.labels[None])[0]


def test_every_corner_and_the_label_matter_and_empty_slots_are_alike():
    torch.manual_seed(0)
    encoder = BoxEncoder(16, 6)
    row = [0.2, 0.3, 0.6, 0.7, 0.0]
    plain = tokens(encoder, row)
    assert plain.shape == (MAX_BOXES, 16)
    assert torch.equal(plain[1], plain[2]) and not torch.equal(plain[0], plain[1])
    for change in range(5):
        other = [value + (1.0 if place == 4 else 0.05) * (place == change) for place, value in enumerate(row)]
        assert not torch.allclose(tokens(encoder, other)[0], plain[0], atol=1e-3)
    assert torch.equal(tokens(encoder)[0], plain[1])


def test_boxes_a_pixel_apart_are_told_apart_and_far_ones_are_not_taken_for_each_other():
    torch.manual_seed(0)
    encoder = BoxEncoder(16, 6)
    places = torch.linspace(0, 0.9, 91).tolist()
    made = torch.stack([tokens(encoder, [x, 0.4, x + 0.1, 0.6, 0.0])[0] for x in places])
    distances = torch.cdist(made, made) + 1e9 * torch.eye(len(places))
    assert distances.min() > 1e-3


def test_in_bfloat16_the_tokens_are_those_of_float32_rounded():
    torch.manual_seed(0)
    encoder = BoxEncoder(16, 6)
    row = [0.213, 0.317, 0.619, 0.733, 2.0]
    exact = tokens(encoder, row)
    rounded = tokens(encoder.to(torch.bfloat16), row).float()
    assert (rounded - exact).norm() < 0.02 * exact.norm()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    encoder = BoxEncoder(16, 6)
    encoder.save_pretrained(tmp_path)
    row = [0.2, 0.3, 0.6, 0.7, 2.0]
    assert torch.equal(tokens(BoxEncoder.from_pretrained(tmp_path), row), tokens(encoder, row))
