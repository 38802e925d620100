"""Patch discriminators of images and of video (pix2pix's PatchGAN, as in LDM), and their hinge losses.

They judge overlapping patches, not whole pictures, so they ask for texture and leave layout to the reconstruction loss.
For images in 2D; for video in 3D (paper, Sec. 3.1.1), which sees whether texture stays where it is.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentloom.shapes import fold_frames, unfold_frames


class PatchDiscriminator(nn.Module):
    """Images in [-1, 1] to one logit per patch; three stride-2 levels see patches of 70 pixels."""

    def __init__(self, width: int = 32, num_levels: int = 3):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for level in range(1, num_levels + 1):
            wide, narrow = width * min(2**level, 8), width * min(2 ** (level - 1), 8)
            stride = 2 if level < num_levels else 1
            layers += [
                nn.Conv2d(narrow, wide, 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(8, wide),  # LDM uses batch norm; groups do not depend on the batch, so resume is exact
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(width * min(2**num_levels, 8), 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 y x"]:
        return self.layers(images)


class VideoPatchDiscriminator(nn.Module):
    """Clips in [-1, 1] to one logit per patch of space and time: 3D convolutions that halve space, never time.

    A patch is 70 pixels wide and 11 frames long at the default depth; shorter clips are seen whole.
    """

    def __init__(self, width: int = 32, num_levels: int = 3):
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(num_levels + 1)]
        down = {"kernel_size": (3, 4, 4), "stride": (1, 2, 2), "padding": 1}
        layers: list[nn.Module] = [nn.Conv3d(3, width, **down), nn.LeakyReLU(0.2)]
        for level in range(1, num_levels + 1):
            stride = (1, 2, 2) if level < num_levels else (1, 1, 1)
            options = {**down, "stride": stride}
            layers += [
                nn.Conv3d(widths[level - 1], widths[level], bias=False, **options),
                nn.GroupNorm(8, widths[level]),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv3d(widths[-1], 1, (3, 4, 4), padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b 1 t y x"]:
        return self.layers(clips.transpose(1, 2))


class FramePatchDiscriminator(nn.Module):
    """The image discriminator on each frame of a clip: the paper's negative result, to be shown again."""

    def __init__(self) -> None:
        super().__init__()
        self.images = PatchDiscriminator()

    def forward(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t 1 y x"]:
        return unfold_frames(self.images(fold_frames(clips)), clips.shape[1])


def discriminator_loss(real: Float[Tensor, "..."], fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Hinge loss of the discriminator: (E max(0, 1 - D(real)) + E max(0, 1 + D(fake))) / 2."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def generator_loss(fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Hinge loss of the generator: -E D(fake)."""
    return -fake.mean()
