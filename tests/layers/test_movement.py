"""Movement of a first guess: still at first, exact where it is known, learned from drives."""

import pytest
import torch

from latentloom.layers.guess import FirstGuess, guessed
from latentloom.layers.movement import EgoMotion, moved
from latentloom.training.movement import movement_loss


def context(given: list[list[int]], num_frames: int = 6) -> torch.Tensor:
    """Random frames; of clip k those of ``given[k]`` are told."""
    mask = torch.zeros(len(given), num_frames, 1, 8, 16)
    for clip, places in enumerate(given):
        mask[clip, places] = 1
    return torch.cat([mask * torch.randn(len(given), num_frames, 4, 8, 16), mask], 2)


def disturbed(layer: torch.nn.Module, by: float = 0.1) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(by * torch.randn_like(parameter))


def test_it_starts_still():
    torch.manual_seed(0)
    layer, told = FirstGuess(4, 8, 8), context([[0], [0, 1]])
    assert torch.allclose(layer.frames(told, {}), guessed(told)[0], atol=1e-5)  # a grid's rounding


def test_only_frames_beyond_the_last_given_one_move():
    torch.manual_seed(0)
    layer, told = FirstGuess(4, 8, 8), context([[0], [0, 1], [], [0, 3], [5]])
    disturbed(layer)
    movement = layer.motion(told, {"fps": torch.tensor(6.5).expand(5)})
    moves = movement.abs().amax(dim=(2, 3, 4)) > 1e-3
    assert moves.tolist() == [
        [False] + [True] * 5,
        [False] * 2 + [True] * 4,
        [False] * 6,
        [False] * 4 + [True] * 2,
        [False] * 6,
    ]
    guess, still = layer.frames(told, {}), guessed(told)[0]
    for clip, first in enumerate([1, 2, 6, 4, 6]):  # no frame given: nothing is guessed
        assert torch.equal(guess[clip, :first], still[clip, :first])


def test_a_movement_reads_the_frame_where_it_was():
    frame = torch.randn(1, 3, 8, 16)
    movement = torch.zeros(1, 2, 2, 8, 16)
    movement[:, 1, 0] = 2 * 3 / (16 - 1)  # three columns to the right
    result = moved(frame, movement)
    assert torch.allclose(result[:, 0], frame, atol=1e-5)
    assert torch.allclose(result[:, 1, :, :, :13], frame[..., 3:], atol=1e-5)
    assert torch.allclose(result[:, 1, :, :, 13:], frame[..., -1:].expand(-1, -1, -1, 3), atol=1e-5)


@pytest.mark.parametrize("number", ["steering", "speed", "fps"])
def test_every_number_matters_from_its_frame_on(number: str):
    torch.manual_seed(0)
    layer, told = EgoMotion(4, 8), context([[0]])
    disturbed(layer)
    values = {"steering": torch.full((1, 6), 0.1), "speed": torch.full((1, 6), 8.0), "fps": torch.full((1, 6), 6.5)}
    other = values[number].clone()
    other[:, 3:] *= 2
    first, second = layer(told, values), layer(told, {**values, number: other})
    assert torch.equal(first[:, :3], second[:, :3]) and not torch.allclose(first[:, 3:], second[:, 3:], atol=1e-4)
    unknown = layer(told, {**values, number: torch.full((1, 6), torch.nan)})
    assert bool(unknown.isfinite().all()) and not torch.allclose(unknown, first, atol=1e-4)


def test_it_learns_where_steering_leads():
    """A textured world that turns by the steering, two columns a frame at a twentieth of full lock."""
    torch.manual_seed(0)
    layer, generator = EgoMotion(2, 16), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(layer.parameters(), 3e-3)

    def drive(steering: torch.Tensor) -> torch.Tensor:
        world = torch.nn.functional.interpolate(torch.randn(1, 2, 3, 40), size=(8, 160), mode="bilinear")
        places = (60 + 40 * torch.cumsum(steering, 0)).round().long()
        return torch.stack([world[0, :, :, place : place + 16] for place in places.tolist()])

    for _ in range(150):
        steering = torch.tensor([0.0, 0.05, -0.05])[torch.randint(3, (8, 1), generator=generator)].expand(8, 6)
        latents = torch.stack([drive(row) for row in steering])
        optimizer.zero_grad()
        loss = movement_loss(layer, latents, {"steering": steering}, generator)
        loss.backward()
        optimizer.step()
    told = torch.cat([latents[:1] * 0, torch.zeros(1, 6, 1, 8, 16)], 2)
    told[:, 0, :2], told[:, 0, 2] = latents[:1, 0], 1.0
    columns = {s: layer(told, {"steering": torch.full((1, 6), s)})[0, :, 0].mean((1, 2)) * 7.5 for s in (-0.05, 0.05)}
    assert -12 < columns[-0.05][5] < -7 and 7 < columns[0.05][5] < 12, columns  # ten columns in five frames


def test_clips_too_short_to_move_are_refused():
    with pytest.raises(ValueError, match="3 or more"):
        movement_loss(EgoMotion(2, 8), torch.zeros(1, 2, 2, 8, 16), {}, torch.Generator())
