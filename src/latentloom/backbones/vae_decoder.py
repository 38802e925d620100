"""Sites of the decoder of ``AutoencoderKL``: after each of its ResBlocks, and after its last convolution.

Paper, section 3.2: only the decoder sees time; the encoder stays per frame, so it has no sites.
"""

from typing import cast

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from latentloom.backbones.site import Site
from latentloom.backbones.unet import res_block_site


def decoder_sites(vae: AutoencoderKL) -> list[Site]:
    """All sites, from the latents to the pixels."""
    stages = [("decoder.mid_block", vae.decoder.mid_block)]
    stages += [(f"decoder.up_blocks.{i}", block) for i, block in enumerate(vae.decoder.up_blocks)]
    sites = [
        res_block_site(f"{name}.resnets.{i}", cast(ResnetBlock2D, resnet))
        for name, block in stages
        for i, resnet in enumerate(cast(nn.ModuleList, block.resnets))
    ]
    return [*sites, Site(name="decoder.conv_out", kind="output", channels=vae.decoder.conv_out.out_channels)]
