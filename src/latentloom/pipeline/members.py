"""The members of a pipeline: what each is read from, and in which dtype."""

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from latentloom.stack import Stack
from latentloom.stack_folder import IMAGE_MEMBERS, StackFolder

NETWORKS = {"temporal": "unet", "decoder_temporal": "vae", "temporal_text_encoder": "text_encoder"}
"""The temporal members, each with the network whose dtype it has where none is given."""
MEMBERS = (*IMAGE_MEMBERS, *NETWORKS)


def member_dtypes(dtype: torch.dtype | Mapping[str, torch.dtype]) -> dict[str, torch.dtype]:
    """The dtype of each member, from one for all or one for each and a ``default``.

    Raises:
        ValueError: an unknown name, no dtype, or temporal layers in another one than their network.
    """
    given = dict(dtype) if isinstance(dtype, Mapping) else {"default": dtype}
    for name, value in given.items():
        if name not in (*MEMBERS, "default") or not isinstance(value, torch.dtype):
            raise ValueError(
                f"dtype has {name!r}: {value!r}, expected a torch.dtype for {', '.join(MEMBERS)} or default"
            )
    plain = {name: given.get(name, given.get("default", torch.float32)) for name in MEMBERS}
    dtypes = plain | {name: given.get(name, plain[network]) for name, network in NETWORKS.items()}
    for name in ("temporal", "decoder_temporal"):
        if dtypes[name] != dtypes[NETWORKS[name]]:
            raise ValueError(f"dtype has {dtypes[name]} for {name}, expected that of {NETWORKS[name]}, which it is on")
    return dtypes


def stacks_by_dtype(source: str | PathLike[str], dtypes: Iterable[torch.dtype]) -> dict[torch.dtype, Stack]:
    """A folder, checked once, as a stack whose members load in each of ``dtypes``."""
    folder = StackFolder.open(source if isinstance(source, str) else Path(source))
    return {dtype: Stack.load(folder, dtype=dtype) for dtype in dict.fromkeys(dtypes)}


def read_member(stack: Stack, name: str, source: str | PathLike[str]) -> Any:
    """A member of the pipeline. Raises ``ValueError`` where there are no temporal layers for key frames."""
    if name == "decoder_temporal":
        return stack.autoencoder.decoder_layers
    if name != "temporal":
        return getattr(stack, name)
    if stack.keyframe_layers is None:
        raise ValueError(f"{source} is an image model without temporal layers; give temporal=")
    return stack.keyframe_layers
