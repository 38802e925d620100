"""Our sampling against an independent DDIM in float64 (Song et al. 2021, Eq. 12 with sigma = 0), written here."""

import numpy as np
import pytest
import torch

from latentloom.diffusion.sampler import denoise
from latentloom.diffusion.schedule import noise_scheduler

SHAPE = (1, 2, 3, 4, 5)


def cumulative_signal(zero_terminal_snr: bool) -> np.ndarray:
    """alpha_t^2 of Stable Diffusion's schedule, rescaled as in Lin et al. 2023, algorithm 1, where asked for."""
    alphas = np.sqrt(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))
    if zero_terminal_snr:
        alphas = (alphas - alphas[-1]) * alphas[0] / (alphas[0] - alphas[-1])
    return alphas**2


def reference(predict, x: np.ndarray, steps: int, kind: str, squared: np.ndarray) -> np.ndarray:
    for t in [round(1000 - 1000 * i / steps) - 1 for i in range(steps)]:
        before = t - 1000 // steps
        a, s = np.sqrt(squared[t]), np.sqrt(1 - squared[t])
        answer = predict(x, t)
        if kind == "v_prediction":
            clean, noise = a * x - s * answer, s * x + a * answer
        elif kind == "sample":
            clean, noise = answer, (x - a * answer) / s
        else:
            clean, noise = (x - s * answer) / a, answer
        kept = squared[before] if before >= 0 else squared[0]
        x = np.sqrt(kept) * clean + np.sqrt(1 - kept) * noise
    return x


@pytest.mark.parametrize("steps", [4, 25, 30])
@pytest.mark.parametrize(
    ("kind", "zero"),
    [("epsilon", False), ("v_prediction", False), ("v_prediction", True), ("sample", False), ("sample", True)],
)
def test_denoising_equals_an_independent_float64_ddim(kind, zero, steps):
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = np.random.default_rng(0).standard_normal((5, 5)) / 5

    def predict(x, t):
        return np.tanh(x @ weights) + 0.1 * np.cos(t / 100)

    expected = reference(predict, noise.numpy(), steps, kind, cumulative_signal(zero))
    ours = denoise(
        lambda x, t: torch.from_numpy(predict(x.double().numpy(), int(t))).float(),
        noise.float(),
        noise_scheduler(kind, zero_terminal_snr=zero),
        steps,
    )
    scale = max(1.0, np.abs(expected).max())
    assert np.abs(ours.double().numpy() - expected).max() <= 5e-6 * scale
