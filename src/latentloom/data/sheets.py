"""Contact sheets: the frames of a clip side by side in one picture, to be looked at. Not a player, not a plot."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor, from_numpy

from latentloom.files import whole_file

_GAP = 2
_LINE = 12  # pixels
_CHARACTER = 5.7  # pixels, of Pillow's own font on average


def with_boxes(
    frame: UInt8[Tensor, "h w 3"], boxes: Sequence[tuple[float, float, float, float]]
) -> UInt8[Tensor, "h w 3"]:
    """The frame with boxes x0, y0, x1, y1, in fractions of width and height, drawn into it."""
    picture = Image.fromarray(np.asarray(frame))
    draw = ImageDraw.Draw(picture)
    for x0, y0, x1, y1 in boxes:
        corners = (x0 * picture.width, y0 * picture.height, x1 * picture.width - 1, y1 * picture.height - 1)
        draw.rectangle(corners, outline="white")
    return from_numpy(np.array(picture))


def contact_sheet(
    frames: UInt8[Tensor, "t h w 3"],
    path: str | Path,
    *,
    columns: int | None = None,
    labels: Sequence[str] | None = None,
) -> None:
    """Draw ``frames`` row by row into the picture ``path`` (overwritten), ``columns`` a row, a label under each.

    Without ``columns`` the sheet comes out roughly square. Raises ValueError for no frames, columns < 1, or a number of
    labels other than the number of frames.
    """
    num_frames, height, width = frames.shape[:3]
    if not num_frames:
        raise ValueError("a contact sheet needs at least one frame")
    if columns is not None and columns < 1:
        raise ValueError(f"columns is {columns}, expected at least 1")
    if labels is not None and len(labels) != num_frames:
        raise ValueError(f"{len(labels)} labels for {num_frames} frames; give one a frame")
    columns = min(columns or max(1, round((num_frames * height / width) ** 0.5)), num_frames)
    texts = [textwrap.wrap(label, max(1, int(width / _CHARACTER))) for label in labels or ()]
    row = height + _GAP + max((len(text) for text in texts), default=0) * _LINE + (_GAP if labels else 0)
    sheet = Image.new("RGB", (columns * (width + _GAP) - _GAP, -(-num_frames // columns) * row - _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for index, frame in enumerate(np.asarray(frames)):
        left, top = index % columns * (width + _GAP), index // columns * row
        sheet.paste(Image.fromarray(frame), (left, top))
        for number, line in enumerate(texts[index] if labels else ()):
            draw.text((left + 2, top + height + 1 + number * _LINE), line, fill="black")
    with whole_file(Path(path)) as partial, partial.open("wb") as file:
        sheet.save(file, format=Image.registered_extensions().get(Path(path).suffix.lower()))
