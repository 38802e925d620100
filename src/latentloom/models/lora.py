"""Low-rank adapters of an image model (Hu et al. 2021): trained by peft, read and written by diffusers.

A LoRA changes the spatial layers only; temporal layers go on unchanged (paper, Sec. 4.2.1). After ``fuse_...`` the
networks are stock again, their weights moved, so that everything that takes an image model takes this one. peft is
needed by whoever calls these, not to import them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from diffusers import StableDiffusionPipeline
from torch import nn

from latentloom.files import printable
from latentloom.models.image_ldm import ImageLDM

FILE = "pytorch_lora_weights.safetensors"  # diffusers' name
UNET_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]


def add_adapters(model: ImageLDM, rank: int) -> list[nn.Parameter]:
    """Adapters on every attention of UNet and text encoder, in place; they alone learn. Returns their parameters.

    They begin as nothing: the model answers as before.

    Raises:
        ValueError: ``rank`` is below 1.
    """
    if rank < 1:
        raise ValueError(f"a LoRA of rank {rank} was asked for, expected at least 1")
    from peft import LoraConfig

    trained: list[nn.Parameter] = []
    for network, targets in ((model.unet, UNET_TARGETS), (model.text_encoder, TEXT_TARGETS)):
        network.requires_grad_(False)
        cast(Any, network).add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets))
        trained += [parameter for parameter in network.parameters() if parameter.requires_grad]
    return trained


def save_adapters(model: ImageLDM, folder: Path) -> None:
    """Write the adapters as ``FILE``, which diffusers' ``load_lora_weights`` reads."""
    from peft import get_peft_model_state_dict

    networks = cast(tuple[Any, ...], (model.unet, model.text_encoder))
    unet, text = (cast(Any, get_peft_model_state_dict(network, save_embedding_layers=False)) for network in networks)
    StableDiffusionPipeline.save_lora_weights(
        folder, weight_name=FILE, unet_lora_layers=unet, text_encoder_lora_layers=text
    )


def fuse_adapters(model: ImageLDM, scale: float = 1.0) -> None:
    """Add the adapters to the weights they belong to and take them off, in place."""
    pipeline = _stock(model)
    pipeline.fuse_lora(lora_scale=scale)
    pipeline.unload_lora_weights()


def fuse_file(model: ImageLDM, path: Path, scale: float = 1.0) -> None:
    """Add a LoRA in a file to the model's weights, in place; any kind that diffusers reads.

    Raises:
        ValueError: no LoRA, one for another model, or peft is not installed; names the file.
    """
    if find_spec("peft") is None:
        raise ValueError(f"{printable(path)}: a LoRA needs the package peft: pip install 'latentloom[train]'")
    if path.suffix != ".safetensors" or not path.is_file():
        raise ValueError(f"{printable(path)} is no .safetensors file; a LoRA is one")
    pipeline = _stock(model)
    try:
        with _quiet("diffusers", "peft", "transformers"):  # they list every tensor that does not fit
            pipeline.load_lora_weights(str(path.parent), weight_name=path.name, local_files_only=True)
    except Exception as error:  # diffusers and peft raise anything on a file that does not fit
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{printable(path)} is no LoRA for this model: {printable(reason)[:300]}") from error
    if not any("lora" in name for network in (model.unet, model.text_encoder) for name, _ in network.named_modules()):
        raise ValueError(f"{printable(path)} holds no LoRA for this model's UNet or text encoder")
    fuse_adapters(model, scale)


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Loggers of these libraries say nothing within the block."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _stock(model: ImageLDM) -> Any:
    """Diffusers' own pipeline around the networks: it knows how adapters are read, merged and taken off."""
    return StableDiffusionPipeline(
        vae=model.vae,
        text_encoder=model.text_encoder,
        tokenizer=cast(Any, model.tokenizer),
        unet=model.unet,
        scheduler=model.scheduler,
        safety_checker=cast(Any, None),
        feature_extractor=cast(Any, None),
        requires_safety_checker=False,
    )
