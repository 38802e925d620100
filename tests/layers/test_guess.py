"""The first guess: what it is, where it is absent, that it learns."""

import torch

from latentloom.layers.guess import FirstGuess, guessed


def context(given: list[int], num_frames: int = 9, batch: int = 1) -> torch.Tensor:
    """Frame k is k everywhere; the frames ``given`` are told."""
    frames = torch.arange(num_frames).float().view(1, -1, 1, 1, 1).expand(batch, -1, 4, 2, 3)
    mask = torch.zeros(batch, num_frames, 1, 2, 3)
    mask[:, given] = 1
    return torch.cat([mask * frames, mask], 2)


def values(x: torch.Tensor) -> list[float]:
    return x[0, :, 0, 0, 0].tolist()


def test_between_given_frames_it_is_their_mixture_and_beyond_them_the_nearest():
    guess, difference, distance = guessed(context([2, 6]))
    assert values(guess) == [2, 2, 2, 3, 4, 5, 6, 6, 6]
    assert values(difference) == [0, 0, 0, 4, 4, 4, 0, 0, 0]
    assert distance[0].tolist() == [2, 1, 0, 1, 2, 1, 0, 1, 2]
    guess, difference, distance = guessed(context([0, 1]))
    assert values(guess) == [0] + [1] * 8 and not difference.any()
    assert distance[0].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7]
    assert not any(x.any() for x in guessed(context([])))


def test_it_starts_neutral_leaves_given_frames_alone_and_adds_nothing_without_them():
    torch.manual_seed(0)
    layer = FirstGuess(4, 8)
    prediction, noisy = torch.randn(2, 1, 9, 4, 2, 3).unbind(0)
    steps = torch.full((1, 9), 400)
    assert torch.equal(layer(prediction, noisy, context([0, 8]), steps), prediction)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    made = layer(prediction, noisy, context([0, 8]), steps)
    moved = (made - prediction).abs().amax(dim=(0, 2, 3, 4)) > 1e-4
    assert moved.tolist() == [False] + [True] * 7 + [False]
    assert torch.equal(layer(prediction, noisy, context([]), steps), prediction)
    assert not torch.allclose(layer(prediction, noisy, context([0, 8]), steps + 300), made, atol=1e-3)


def test_every_parameter_learns():
    torch.manual_seed(0)
    layer = FirstGuess(4, 8)
    prediction, noisy, truth = torch.randn(3, 2, 9, 4, 2, 3).unbind(0)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        made = layer(prediction, noisy, context([0, 4, 8], batch=2), torch.full((2, 9), 400))
        (made - truth).square().mean().backward()
        optimizer.step()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in layer.parameters())
