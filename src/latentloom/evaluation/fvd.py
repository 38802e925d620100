"""Features for the Frechet video distance (FVD, Unterthiner et al. 2018): those of an I3D file that the user names.

The file is StyleGAN-V's ``i3d_torchscript.pt``, a port of the network of the original FVD, 400 numbers per clip. Called
as ``(video, rescale=False, resize=False, return_features=True)`` with ``video`` ``n 3 t 224 224`` in [-1, 1]. All that
is left to choose is done here and stated: frames as they come (0..255) are resized to 224x224, bilinear, corners not
aligned, no antialiasing, whatever their aspect, then scaled by ``x / 127.5 - 1``. Inside, the file would do the same
(``rescale=True, resize=True``). Which frames make a clip is the caller's, and matters as much. Our own features
(``features``) never make an FVD.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from latentloom.evaluation.torchscript import ScriptedNetwork

SIDE = 224
MIN_FRAMES = 9
"""Its strides in time come to 8 and its last pooling takes 2: fewer frames leave nothing to pool."""
CALL = "(video, rescale=False, resize=False, return_features=True)"
PREPROCESSING = f"{SIDE}x{SIDE} bilinear, corners not aligned, no antialiasing; x / 127.5 - 1"
KNOWN_SHA256 = "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2"
"""Of the file of 51,235,320 bytes that other projects name with this hash; it was not fetched to write this."""


def i3d_input(clips: UInt8[Tensor, "n t h w 3"]) -> Float[Tensor, "n 3 t 224 224"]:
    """What the network is given: resized and in [-1, 1]."""
    frames = clips.flatten(0, 1).movedim(-1, 1).float()
    frames = F.interpolate(frames, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=False)
    return (frames / 127.5 - 1).unflatten(0, clips.shape[:2]).transpose(1, 2).contiguous()


def i3d_features(
    network: ScriptedNetwork, clips: UInt8[Tensor, "n t h w 3"], batch_size: int = 4
) -> Float[Tensor, "n d"]:
    """One vector per clip; which clips share a batch changes no more than rounding.

    Raises:
        ValueError: no clip, clips of fewer than 9 frames, or a network that is not called as ``CALL``.
    """
    if not len(clips) or clips.shape[1] < MIN_FRAMES:
        raise ValueError(f"{len(clips)} clips of {clips.shape[1]} frames: I3D takes clips of {MIN_FRAMES} or more")
    parts = [
        network(i3d_input(part), rows=len(part), call=CALL, rescale=False, resize=False, return_features=True)
        for part in clips.split(batch_size)
    ]
    return torch.cat(parts)
