"""Fixtures that several rooms' tests share; shapes are checked while testing, see addopts in pyproject.toml."""

import os
import shutil
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # as the commands do, before any library is imported

import pytest
from tests.tiny import tiny_stack

from latentloom.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Stack:
    """A tiny stack in memory; tests leave its weights alone."""
    return tiny_stack()


@pytest.fixture(scope="session")
def saved_stack_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny stack as a folder, to be read only."""
    folder = tmp_path_factory.mktemp("stacks") / "tiny"
    tiny_stack().save(folder)
    return folder


@pytest.fixture
def stack_folder(saved_stack_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny stack's folder, to be damaged."""
    return Path(shutil.copytree(saved_stack_folder, tmp_path / "stack"))
