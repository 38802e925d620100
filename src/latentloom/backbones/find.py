"""One entry for all stock networks: which sites does this network have?"""

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from latentloom.backbones.site import Site
from latentloom.backbones.unet import block_sites, unet_sites
from latentloom.backbones.vae_decoder import decoder_sites


def latent_channels(network: nn.Module) -> int:
    """Channels of the latents that a denoising network makes.

    Raises:
        ValueError: the network denoises nothing.
    """
    if isinstance(network, UNet2DConditionModel):
        return network.config["out_channels"]
    raise ValueError(f"a {type(network).__name__} makes no latents: given frames need a UNet2DConditionModel")


def find_sites(network: nn.Module, *, blocks: bool = False) -> list[Site]:
    """The sites of a stock network, input to output.

    Args:
        blocks: those of AnimateDiff, behind each ResBlock with its transformer, instead of the paper's.

    Raises:
        ValueError: a class of network we know no sites of.
    """
    if isinstance(network, UNet2DConditionModel):
        return block_sites(network) if blocks else unet_sites(network)
    if isinstance(network, AutoencoderKL):
        return decoder_sites(network)
    raise ValueError(
        f"temporal layers cannot be placed in a {type(network).__name__}: "
        "expected diffusers' UNet2DConditionModel or AutoencoderKL"
    )
