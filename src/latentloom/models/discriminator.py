"""The patch discriminator of the image autoencoder (pix2pix's PatchGAN, as in LDM) and its hinge losses.

It judges overlapping patches, not whole images, so it asks for texture and leaves layout to the reconstruction loss.
The video discriminator of 3D convolutions (paper, Sec. 3.1.1) is not here.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


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


def discriminator_loss(real: Float[Tensor, "..."], fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Hinge loss of the discriminator: (E max(0, 1 - D(real)) + E max(0, 1 + D(fake))) / 2."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def generator_loss(fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Hinge loss of the generator: -E D(fake)."""
    return -fake.mean()
