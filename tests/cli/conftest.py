"""Small footage and the command line, for tests of commands."""

from pathlib import Path

import pytest
import torch
from tests.command import Command

from latentloom.data.video import write_video


@pytest.fixture
def latentloom(capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line, called in this process."""
    return Command(capfd)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of twelve frames, 32x64 at 6 a second, in which a bar moves."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(2):
        frames = torch.full((12, 32, 64, 3), 20 + 30 * number, dtype=torch.uint8)
        for t in range(12):
            frames[t, :, 4 * t : 4 * t + 8] = 220
        write_video(frames, folder / f"drive{number}.mp4", 6)
    return folder
