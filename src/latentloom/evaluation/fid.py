"""Features of single frames for FID, KID and the inception score: those of an Inception file that the user names.

The file is StyleGAN2-ADA's ``inception-2015-12-05.pt``, a port of the network of the original FID: 2048 numbers a
picture. Called as ``(pictures, return_features=True)`` with ``pictures`` ``n 3 h w`` uint8, 0..255; it resizes to
299x299 by itself, so that no library's resize comes in between. Class probabilities are ``(pictures,
no_output_bias=True)``, as the original inception score takes them. Frames say nothing of motion: see ``fvd``.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from latentloom.evaluation.torchscript import ScriptedNetwork

FEATURES_CALL = "(pictures, return_features=True)"
CLASSES_CALL = "(pictures, no_output_bias=True)"
PREPROCESSING = "uint8 0..255; the file itself resizes to 299x299 and scales"


def inception_features(
    network: ScriptedNetwork, frames: UInt8[Tensor, "n h w 3"], batch_size: int = 32
) -> Float[Tensor, "n d"]:
    """One vector per frame.

    Raises:
        ValueError: no frame, or a network that is not called as ``FEATURES_CALL``.
    """
    return _asked(network, frames, batch_size, FEATURES_CALL, "return_features")


def inception_probabilities(
    network: ScriptedNetwork, frames: UInt8[Tensor, "n h w 3"], batch_size: int = 32
) -> Float[Tensor, "n k"]:
    """The probability of each class per frame.

    Raises:
        ValueError: no frame, or a network that is not called as ``CLASSES_CALL``.
    """
    return _asked(network, frames, batch_size, CLASSES_CALL, "no_output_bias")


def _asked(network: ScriptedNetwork, frames: Tensor, batch_size: int, call: str, option: str) -> Tensor:
    if not len(frames):
        raise ValueError("there is no frame to take features of")
    parts = [
        network(part.movedim(-1, 1).contiguous(), rows=len(part), call=call, **{option: True})
        for part in frames.split(batch_size)
    ]
    return torch.cat(parts)
