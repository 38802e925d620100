"""Contact sheets: every frame is on the sheet, in order, untouched."""

import numpy as np
import pytest
import torch
from PIL import Image

from latentloom.data.sheets import contact_sheet

FRAMES = torch.arange(5, dtype=torch.uint8).mul(40)[:, None, None, None].expand(5, 8, 16, 3)


def test_frames_are_laid_out_row_by_row(tmp_path):
    contact_sheet(FRAMES, tmp_path / "sheet.png", columns=2)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * 8 + 2 * 2, 2 * 16 + 2, 3)
    corners = [(0, 0), (0, 18), (10, 0), (10, 18), (20, 0)]
    assert [sheet[y : y + 8, x : x + 16].ravel().tolist() for y, x in corners] == [[40 * k] * 384 for k in range(5)]


def test_a_sheet_is_roughly_square_by_itself(tmp_path):
    contact_sheet(FRAMES[:1].expand(32, 8, 16, 3), tmp_path / "sheet.png")
    width, height = Image.open(tmp_path / "sheet.png").size
    assert 0.5 < width / height < 2


def test_labels_stand_below_their_frames(tmp_path):
    contact_sheet(FRAMES, tmp_path / "sheet.png", columns=5, labels=["1 s"] * 5)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert (sheet[:8, :16] == 0).all()
    assert sheet[8:, :16].min() < 128


@pytest.mark.parametrize("keywords", [{"columns": 0}, {"labels": ["one"]}])
def test_sheets_that_make_no_sense_are_refused(tmp_path, keywords):
    with pytest.raises(ValueError, match=r"columns is 0|1 labels for 5 frames"):
        contact_sheet(FRAMES, tmp_path / "sheet.png", **keywords)
