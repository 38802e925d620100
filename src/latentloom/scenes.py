"""What a start frame should hold, as numbers: boxes, light, how many vehicles (paper, Sec. 4.1; spec, section 8).

Every part may be untold, which is something else than none. Not here: scene files and the boxes of datasets
(``data.scenes``), tokens (``models.scenes``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

LABELS = ("vehicle", "person", "bicycle", "motorcycle", "traffic_light", "traffic_sign")
NUMBERS = ("night", "vehicles")
"""Of a picture: 1 by night and 0 by day; how many vehicles it shows."""
MAX_BOXES = 16
"""What a scene file may hold, and how many of a frame's boxes are told to a network: the largest."""
EMPTY, UNTOLD = -1, -2
"""Labels of slots: no box, and boxes that were not told."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneTensors:
    """One scene or a batch of them: ``MAX_BOXES`` slots, the largest boxes first, and the numbers of ``NUMBERS``.

    Attributes:
        corners: x0, y0, x1, y1 in fractions.
        labels: of ``LABELS``; ``EMPTY`` in slots without a box, ``UNTOLD`` in all slots where no boxes were told.
        numbers: in the order of ``NUMBERS``; NaN where not told.
    """

    corners: Float[Tensor, "*b n 4"]
    labels: Int64[Tensor, "*b n"]
    numbers: Float[Tensor, "*b k"]

    @classmethod
    def of(
        cls,
        rows: Sequence[Sequence[float]] | None = None,
        *,
        night: float | None = None,
        vehicles: float | None = None,
    ) -> "SceneTensors":
        """From rows x0, y0, x1, y1, label (of more than ``MAX_BOXES`` the largest); None is not told."""
        largest = sorted(rows or (), key=lambda row: (row[0] - row[2]) * (row[3] - row[1]))[:MAX_BOXES]
        corners, labels = torch.zeros(MAX_BOXES, 4), torch.full((MAX_BOXES,), UNTOLD if rows is None else EMPTY)
        for slot, row in enumerate(largest):
            corners[slot] = torch.tensor(row[:4], dtype=torch.float32)
            labels[slot] = int(row[4])
        numbers = torch.tensor([math.nan if value is None else float(value) for value in (night, vehicles)])
        return cls(corners=corners, labels=labels, numbers=numbers)

    def batch(self, device: torch.device) -> "SceneTensors":
        """One scene as a batch of one, on ``device``."""
        corners, labels, numbers = (x[None].to(device) for x in (self.corners, self.labels, self.numbers))
        return SceneTensors(corners=corners, labels=labels, numbers=numbers)

    def covered(self, rows: int, columns: int) -> Float[Tensor, "*b rows columns"]:
        """1 in the cells of a grid over each picture that a box touches, 0 elsewhere."""
        left, top, right, bottom = (side.unsqueeze(-1) for side in self.corners.unbind(-1))  # b n 1
        y, x = (torch.arange(n, device=self.corners.device) / n for n in (rows, columns))
        down = (y + 1 / rows > top) & (y < bottom)  # b n rows
        across = (x + 1 / columns > left) & (x < right)
        touched = down[..., :, None] & across[..., None, :] & (self.labels >= 0)[..., None, None]
        return touched.any(-3).float()

    def untold(self) -> "SceneTensors":
        """As many scenes of which nothing is told."""
        labels, numbers = torch.full_like(self.labels, UNTOLD), torch.full_like(self.numbers, torch.nan)
        return SceneTensors(corners=torch.zeros_like(self.corners), labels=labels, numbers=numbers)
