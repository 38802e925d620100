"""Class probabilities of clips for the inception score of videos: those of a C3D file that the user names.

The paper's inception score on UCF-101 is that of C3D trained on Sports-1M and then on UCF-101's 101 classes, as in TGAN
(Saito et al. 2017) and TGAN-v2. The file is StyleGAN-V's ``c3d_ucf101.pt``, a port of TGAN-v2's network. Called as
``(video)`` with ``video`` ``n 3 16 h w`` uint8, 0..255, RGB; it gives a probability per class. All else happens inside,
as in TGAN-v2: the whole frame is brought to 112x112 whatever its aspect, channels are turned to BGR, and the mean of
the training clips is taken off. TGAN itself resized to 128x128 (bicubic) and cut out the middle 112x112: another
number.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from latentloom.evaluation.torchscript import ScriptedNetwork

FRAMES = 16
"""Its mean clip and its last layers have room for exactly so many."""
CALL = "(video)"
PREPROCESSING = "16 frames, uint8 0..255; the file itself resizes to 112x112, turns to BGR and takes its mean off"


def c3d_probabilities(
    network: ScriptedNetwork, clips: UInt8[Tensor, "n t h w 3"], batch_size: int = 4
) -> Float[Tensor, "n k"]:
    """The probability of each class per clip.

    Raises:
        ValueError: no clip, clips of other than 16 frames, or a network that is not called as ``CALL``.
    """
    if not len(clips) or clips.shape[1] != FRAMES:
        raise ValueError(f"{len(clips)} clips of {clips.shape[1]} frames: C3D takes clips of {FRAMES}")
    parts = [network(part.movedim(-1, 1).contiguous(), rows=len(part), call=CALL) for part in clips.split(batch_size)]
    return torch.cat(parts)
