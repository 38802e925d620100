"""Footage and options that the tests of ``evaluate`` share."""

from pathlib import Path

import torch

from latentloom.data.video import read_video, write_video

AT = ("--size", "32x64", "--window", 4)
"""Of the films of twelve frames: three windows each."""
QUICK = (*AT, "--no-warp", "--resamples", 0, "--no-plots")


def worse_films(films: Path, folder: Path) -> Path:
    """The films with noise that changes from frame to frame."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for path in sorted(films.iterdir()):
        frames = read_video(path).frames
        noise = 30 * torch.randn(frames.shape, generator=generator)
        write_video((frames + noise).clamp(0, 255).to(torch.uint8), folder / path.name, 6)
    return folder
