"""How the last given frame moves on under the drive: a first guess of the later ones (ours; spec, section 6).

The apparent movement of a still scene is linear in the turn and the speed of the camera, by fields over the frame that
only its depths decide (Longuet-Higgins and Prazdny 1980). So a small network draws a few such fields from what is
given, steering and speed of each frame weigh them, and the movements of the frames add up along the way.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

NUM_FIELDS = 8
_TYPICAL = {"steering": 0.2, "speed": 10.0}  # magnitudes that count as 1
_TOLD = 8  # what weighs the fields is told of a frame


class EgoMotion(nn.Module):
    """Frames beyond the last given one, as that frame moved; it starts with standing still."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(*_conv(2 * channels + 3, width), *_conv(width, width))
        self.middle = nn.Sequential(*_conv(width, width, 2), *_conv(width, width))
        self.coarse = nn.Sequential(*_conv(width, 2 * width, 2), *_conv(2 * width, width))
        self.joined_middle = nn.Sequential(*_conv(2 * width, width))
        self.joined_fine = nn.Sequential(*_conv(2 * width, width))
        self.fields = nn.Conv2d(width, 2 * NUM_FIELDS, 3, padding=1)
        wide = 2 * width
        self.features = nn.Sequential(nn.Linear(wide + _TOLD, wide), nn.SiLU(), nn.Linear(wide, wide), nn.SiLU())
        self.weights = nn.Linear(wide, NUM_FIELDS)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)

    def forward(
        self, context: Float[Tensor, "b t c_plus_1 h w"], numbers: Mapping[str, Shaped[Tensor, "b *t"]]
    ) -> Float[Tensor, "b t 2 h w"]:
        """Where each frame's pixels were in the last given frame, as (x, y) added to places in [-1, 1]; float32.

        Zero but on ``later_frames``. ``numbers`` that matter: ``steering``, ``speed``, ``fps``; NaN is unknown.
        """
        given = context[:, :, -1, 0, 0] > 0
        index = torch.arange(given.shape[1], device=given.device)
        last = torch.where(given, index, -1).amax(1)
        fields, summary = self._fields(context.to(self.weights.weight.dtype), given, last)
        told = _told(numbers, given)
        features = torch.cat([summary[:, None].expand(-1, told.shape[1], -1), told.to(summary)], -1)
        weights = self.weights(self.features(features)).float()  # b t k
        steps = (weights[..., None, None, None] * fields.float()[:, None]).sum(2)  # b t 2 h w
        return _added_up(torch.where(later_frames(context), steps, 0.0))

    def _fields(
        self, context: Tensor, given: Bool[Tensor, "b t"], last: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b k 2 h w"], Float[Tensor, "b n"]]:
        """The fields of movement and a summary, of the last given frame and the one before, if given."""
        rows, end, earlier = torch.arange(len(last), device=last.device), last.clamp(min=0), (last - 1).clamp(min=0)
        frame, before = context[rows, end, :-1], context[rows, earlier, :-1]
        paired = (given[rows, earlier] & (last > 0))[:, None, None, None]
        height, width = frame.shape[-2:]
        places = _places(height, width, frame.device).movedim(-1, 0).to(frame).expand(len(frame), -1, -1, -1)
        flags = paired.to(frame).expand(-1, 1, height, width)
        fine = self.fine(torch.cat([frame, torch.where(paired, frame - before, 0.0), flags, places], 1))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        joined = self.joined_middle(torch.cat([_enlarged(coarse, middle), middle], 1))
        joined = self.joined_fine(torch.cat([_enlarged(joined, fine), fine], 1))
        summary = torch.cat([coarse.mean((2, 3)), fine.mean((2, 3))], 1)
        return self.fields(joined).unflatten(1, (NUM_FIELDS, 2)), summary


def later_frames(context: Float[Tensor, "b t _ h w"]) -> Bool[Tensor, "b t 1 1 1"]:
    """Those behind the last given frame, in clips that are given any."""
    given = context[:, :, -1:, :1, :1] > 0
    return given.any(1, keepdim=True) & ~given.flip(1).cummax(1).values.flip(1)


def moved(frame: Float[Tensor, "b c h w"], movement: Float[Tensor, "b t 2 h w"]) -> Float[Tensor, "b t c h w"]:
    """``frame`` at each time, read where the movement says; beyond its edge the edge itself."""
    num_frames = movement.shape[1]
    source = frame.float().repeat_interleave(num_frames, 0)
    return _read(source, movement.flatten(0, 1)).unflatten(0, (-1, num_frames)).to(frame.dtype)


def _added_up(steps: Float[Tensor, "b t 2 h w"]) -> Float[Tensor, "b t 2 h w"]:
    """Movements since the frame before to movements since the first: each begins where the one before ends."""
    total, totals = torch.zeros_like(steps[:, 0]), []
    for step in steps.unbind(1):
        total = step + _read(total, step)
        totals.append(total)
    return torch.stack(totals, 1)


def _read(source: Float[Tensor, "n c h w"], movement: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n c h w"]:
    height, width = source.shape[-2:]
    grid = _places(height, width, source.device) + movement.movedim(1, -1)
    return F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _places(height: int, width: int, device: torch.device) -> Float[Tensor, "h w 2"]:
    rows, columns = (torch.linspace(-1, 1, count, device=device) for count in (height, width))
    return torch.stack([columns.expand(height, -1), rows[:, None].expand(-1, width)], -1)


def _told(numbers: Mapping[str, Tensor], given: Bool[Tensor, "b t"]) -> Float[Tensor, "b t n"]:
    """Steering and its size, speed, their product (the turn), the time since the frame before; which are known."""
    shape = given.shape

    def known(name: str) -> tuple[Tensor, Tensor]:
        values = numbers.get(name, torch.full((shape[0],), torch.nan, device=given.device))
        values = values.float().reshape(shape[0], -1).expand(shape)
        finite = values.isfinite()
        return values.where(finite, 0.0), finite.float()

    (steering, has_steering), (speed, has_speed) = known("steering"), known("speed")
    steering, speed, (fps, has_fps) = steering / _TYPICAL["steering"], speed / _TYPICAL["speed"], known("fps")
    interval = (10.0 / fps).where(fps > 0, 0.0)
    turn = steering * speed
    return torch.stack([steering, has_steering, speed, has_speed, turn, steering.abs(), interval, has_fps], -1)


def _conv(channels: int, out: int, stride: int = 1) -> Sequence[nn.Module]:
    return nn.Conv2d(channels, out, 3, stride=stride, padding=1), nn.SiLU()


def _enlarged(small: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(small, size=like.shape[-2:], mode="bilinear", align_corners=False)
