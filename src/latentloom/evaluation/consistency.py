"""Whether a video holds together: flicker, with and without a reference, and what is left when motion is taken out.

``flicker`` is for reconstructions and upsampled video, where the right frames are known; ``flicker_power`` needs the
frames alone, the warp error the flow too. All are blind to a picture that is wrong in every frame in the same way.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from latentloom.evaluation.drift import LUMA


@dataclass(frozen=True, kw_only=True)
class FlickerPower:
    """Power of high temporal frequencies in squared levels of luma, 0 to 127.5 squared; its root is an amplitude.

    Attributes:
        brightness: of the mean of each frame: the whole picture pulses. Motion hardly adds to it.
        pixels: of each pixel, as a mean: noise and local flicker too, and so does fine detail that moves.
    """

    brightness: float
    pixels: float


def flicker_power(frames: UInt8[Tensor, "t h w 3"]) -> FlickerPower:
    """How much a video trembles, without a reference: the mean square of ``y_k = (x_k-1 - 2 x_k + x_k+1) / 4``.

    ``x`` is the luma of a pixel or, for ``brightness``, its mean over the frame; the mean is over all k that have both
    neighbours. The filter passes a frequency f (in cycles per frame, 0 to 1/2) with the gain ``sin(pi f)^2``: what
    alternates between ``x + a`` and ``x - a`` counts whole, ``a^2``, half of the frame rate's Nyquist limit a quarter
    of it, and what is constant or changes steadily nothing, so that fades and drift are left out. White noise of
    deviation s counts ``0.375 s^2``. ``brightness`` is never above ``pixels``.

    Compare with real video of the same size, rate and kind of scene. Blind to frozen frames, which only lower it, and
    to flicker slower than a few frames (``drift``).

    Raises:
        ValueError: fewer than three frames.
    """
    if len(frames) < 3:
        raise ValueError(f"flicker power needs at least 3 frames, given {len(frames)}")
    weights = torch.tensor(LUMA, dtype=torch.float64)
    brightness, pixels = list[Tensor](), list[Tensor]()
    for before, at, after in zip(frames[:-2], frames[1:-1], frames[2:], strict=True):
        high = (before.int() - 2 * at.int() + after.int()).double() @ weights / 4
        brightness.append(high.mean().square())
        pixels.append(high.square().mean())
    return FlickerPower(brightness=torch.stack(brightness).mean().item(), pixels=torch.stack(pixels).mean().item())


def flicker(frames: UInt8[Tensor, "t h w 3"], reference: UInt8[Tensor, "u k l 3"]) -> float:
    """Mean absolute error of frame differences, ``|(x_k+1 - x_k) - (y_k+1 - y_k)|``, 0 to 510.

    A constant error costs nothing, an error that changes from frame to frame costs twice.

    Raises:
        ValueError: different shapes, or fewer than two frames.
    """
    if frames.shape != reference.shape:
        raise ValueError(f"frames are {tuple(frames.shape)}, the reference {tuple(reference.shape)}; expected the same")
    if len(frames) < 2:
        raise ValueError(f"flicker needs at least 2 frames, given {len(frames)}")
    errors = [frames[k].int() - reference[k].int() for k in range(len(frames))]
    steps = [(later - earlier).abs().double().mean() for earlier, later in itertools.pairwise(errors)]
    return float(sum(steps) / len(steps))


def warp_error(
    frames: UInt8[Tensor, "t h w 3"],
    flow: Float[Tensor, "steps k l 2"] | None = None,
    valid: Bool[Tensor, "steps k l"] | None = None,
) -> float:
    """Mean absolute difference between a frame and the next one pulled back along the flow, where that is visible.

    Args:
        flow: pixels (right, down) from frame k to k + 1, ``t-1 h w 2``; None estimates it from the frames (OpenCV's
            DIS), which explains part of any change as motion: such errors compare only with each other.
        valid: where the flow is known; points that leave the picture are left out anyway.

    Raises:
        ValueError: fewer than two frames, a flow of another shape, no valid point, or no OpenCV to estimate with.
    """
    if len(frames) < 2:
        raise ValueError(f"a warp error needs at least 2 frames, given {len(frames)}")
    flow = estimated_flow(frames) if flow is None else flow
    if flow.shape != (len(frames) - 1, *frames.shape[1:3], 2):
        raise ValueError(f"the flow is {tuple(flow.shape)} for frames {tuple(frames.shape)}; expected t-1 h w 2")
    total, points = 0.0, 0.0
    for k in range(len(flow)):
        pulled, inside = _pulled_back(frames[k + 1], flow[k])
        counted = inside if valid is None else inside & valid[k]
        total += ((pulled - frames[k].double()).abs().mean(-1) * counted).sum().item()
        points += counted.sum().item()
    if not points:
        raise ValueError("the flow is valid nowhere; a warp error needs a point to compare")
    return total / points


def estimated_flow(frames: UInt8[Tensor, "t h w 3"]) -> Float[Tensor, "t-1 h w 2"]:
    """Optical flow to the next frame by dense inverse search (Kroeger et al. 2016), pixels (right, down).

    Raises:
        ValueError: OpenCV is not installed, or frames are smaller than 16 pixels.
    """
    try:
        import cv2  # an extra, and slow to import
    except ImportError:
        raise ValueError("estimating flow needs OpenCV: pip install 'latentloom[eval]'") from None
    if min(frames.shape[1:3]) < 16:
        raise ValueError(f"frames of {frames.shape[1]}x{frames.shape[2]} are too small for flow, expected 16 or more")
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame.cpu().numpy(), cv2.COLOR_RGB2GRAY) for frame in frames]
    empty = np.zeros((*grey[0].shape, 2), np.float32)
    flows = [search.calc(first, second, empty.copy()) for first, second in itertools.pairwise(grey)]
    return torch.from_numpy(np.stack(flows))


def _pulled_back(frame: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """``frame`` sampled where the flow of each pixel leads, ``h w 3`` float64, and which of these points are inside."""
    height, width = frame.shape[:2]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = columns + flow[..., 0].double(), rows + flow[..., 1].double()
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    grid = torch.stack([2 * x / max(1, width - 1) - 1, 2 * y / max(1, height - 1) - 1], -1)
    picture = frame.double().movedim(-1, 0)[None]
    return F.grid_sample(picture, grid[None], align_corners=True)[0].movedim(0, -1), inside
