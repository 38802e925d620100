"""The page of a stack that has everything, at tiny size."""

import re
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tests.tiny import CAPTIONS, TEXT_WIDTH, tiny_stack

from latentloom.align import TemporalLayers
from latentloom.data.sheets import with_boxes
from latentloom.data.video import read_video
from latentloom.generation.showcase import Sentences, Showcase
from latentloom.layers.layer_set import LayerSet
from latentloom.models.scenes import SceneEncoder
from latentloom.models.upsampler import PixelUpsampler
from latentloom.scenes import LABELS
from latentloom.stack import Stack
from latentloom.stack_folder import StageInfo

SENTENCES = Sentences(video=CAPTIONS[0], road=CAPTIONS[1], scenes=CAPTIONS[1], pairs=((CAPTIONS[1], CAPTIONS[2]),))


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Stack:
    sets = ("keyframes", "prediction", "interpolation")
    whole = tiny_stack(layer_set=LayerSet.driving().with_context(), sets=sets)
    stages = {
        "prediction": StageInfo(num_frames=4, fps=(6.0,)),
        "interpolation": StageInfo(num_frames=9, fps=(6.0, 24.0)),
    }
    info = replace(whole.info, name="a <tiny> stack", stages=stages)
    scene = (
        SceneEncoder(TEXT_WIDTH, len(LABELS)),
        TemporalLayers.for_network(whole.unet, LayerSet.scene(width=TEXT_WIDTH)),
    )
    folder = tmp_path_factory.mktemp("showcase") / "stack"
    whole.replace(info, upsampler=PixelUpsampler(2, (8, 16)), scene=scene).save(folder)
    return Stack.load(folder)


def test_a_whole_stack_shows_the_chain_and_what_each_part_adds(stack, tmp_path):
    showcase = Showcase(stack, tmp_path, SENTENCES, seed=1)
    exhibits = list(showcase.exhibits(showcase.generation()))
    files = [exhibit.file for exhibit in exhibits]
    assert files == ["drive.mp4", "comparison.png", "futures.png", "scenes.png", "prompts.png"]
    video = read_video(tmp_path / "drive.mp4")
    assert tuple(video.frames.shape) == (29, 64, 128, 3) and video.fps == 24
    assert "steered left, straight, right" in exhibits[2].text
    assert Image.open(tmp_path / "comparison.png").size == (8 * 66 - 2, 2 * 34 - 2)
    assert Image.open(tmp_path / "futures.png").size == (4 * 66 - 2, 3 * 34 - 2)
    page = showcase.page(exhibits).read_text()
    assert re.findall(r'src="([^"]+)"', page) == files
    assert "a &lt;tiny&gt; stack" in page and all((tmp_path / file).is_file() for file in files)


def test_boxes_are_drawn_where_they_are():
    frame = with_boxes(torch.zeros(20, 40, 3, dtype=torch.uint8), [(0.25, 0.5, 0.75, 1.0)])
    rows, columns = frame.amax(-1).nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 19, 10, 29)
    assert not frame[11:19, 11:29].any(), "only their outlines"
