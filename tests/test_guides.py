"""The guides' commands and code run as they stand, on tiny models under the names they use."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from PIL import Image
from tests.stable_diffusion import saved, upscaler
from tests.tiny import TEXT_WIDTH, tiny_stack, tiny_unet

from latentloom.cli.app import run
from latentloom.data.video import write_video
from latentloom.layers.layer_set import LayerSet
from latentloom.stack import Stack

GUIDES = Path(__file__).resolve().parent.parent / "docs" / "guides"
TINY = {
    "train": ("--recipe", "tiny", "--dtype", "fp32", "--threads", "1", "--steps", "2"),
    "generate": ("--dtype", "fp32", "--steps", "2", "--frames", "3"),
    "animate": (
        *("--dtype", "fp32", "--image-steps", "2", "--steps", "2", "--batch-size", "1", "--size", "64x64"),
        *("--fps", "6", "--frames", "4"),
    ),
    "plan": ("--frames", "5"),
}
SIZES = {"320x512": "64x64", "1280x2048": "64x128"}


def blocks(guide: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (GUIDES / guide).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder in which the guides' names mean something small."""
    tiny_stack(layer_set=LayerSet.text()).save(tmp_path / "drive-small")
    tiny_stack().without("temporal/keyframes").replace(unet=tiny_unet(seed=5)).save(tmp_path / "MODEL")
    saved("2.1", tmp_path / "SD")
    upscaler().save_pretrained(tmp_path / "X4")
    (tmp_path / "CLIPS").mkdir()
    for number in range(2):
        frames = torch.full((12, 64, 128, 3), 20 + 30 * number, dtype=torch.uint8)
        for time in range(12):
            frames[time, :, 8 * time : 8 * time + 16] = 220
        write_video(frames, tmp_path / "CLIPS" / f"{number}.mp4", 8)
    (tmp_path / "PHOTOS").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 32), (200, 40 * number, 0)).save(tmp_path / "PHOTOS" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("guide", sorted(path.name for path in GUIDES.glob("*.md")))
def test_the_commands_of_a_guide_run(folder, guide):
    lines = [line for block in blocks(guide, "bash") for line in block.splitlines()]
    assert lines
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "latentloom"
        words = [SIZES.get(word, str(folder / word) if word == "drive-small" else word) for word in words]
        enlarges = words[0] in ("generate", "plan") and {"--upsample", "--upsampler"} & {*words}
        less = ("--upsample-steps", "1") if enlarges else ()
        assert run([*words, *TINY.get(words[0], ()), *less]) == 0, line


def test_the_code_that_moves_svds_layers_runs(folder, monkeypatch):
    torch.manual_seed(0)
    svd = UNetSpatioTemporalConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        cross_attention_dim=TEXT_WIDTH,
        num_attention_heads=4,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
    )
    svd.save_pretrained(folder / "SVD" / "unet")
    (code,) = blocks("move-layers.md", "python")
    exec(compile(code, "move-layers.md", "exec"), {})
    moved = Stack.load(folder / "with-svd-layers")
    assert moved.keyframe_layers is not None and moved.keyframe_layers.reads_text
    shutil.rmtree(folder / "SVD")
