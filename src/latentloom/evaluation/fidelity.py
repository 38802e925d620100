"""How near frames are to the frames they should be, pixel by pixel. For reconstructions, not for free generation."""

from jaxtyping import Float, UInt8
from torch import Tensor


def psnr(frames: UInt8[Tensor, "t h w 3"], reference: UInt8[Tensor, "u k l 3"]) -> Float[Tensor, " t"]:
    """Peak signal-to-noise ratio of each frame in dB, ``20 log10(255 / rmse)``; infinite where frames are equal.

    Blind to structure: a shift by one pixel costs more than a blur that anyone would see, so that blurred pictures win.

    Raises:
        ValueError: the shapes differ.
    """
    if frames.shape != reference.shape:
        raise ValueError(f"frames are {tuple(frames.shape)}, the reference {tuple(reference.shape)}; expected the same")
    error = (frames.double() - reference.double()).square().mean((1, 2, 3))
    return (10 * (255**2 / error).log10()).float()
