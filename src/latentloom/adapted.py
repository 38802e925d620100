"""A stack whose image model was moved to a subject or a style, its temporal layers as they are (paper, Sec. 4.2.1).

The temporal cross-attention goes on reading the text encoder that it was trained with. Not here: how adapters are read
and merged (``models.lora``), training (``training.image``).
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import CLIPTextModel

from latentloom.files import digest_of
from latentloom.models.digest import digest_of_network
from latentloom.models.image_ldm import ImageLDM
from latentloom.models.lora import fuse_file
from latentloom.stack import Stack
from latentloom.stack_folder import TEMPORAL_TEXT


def image_model(stack: Stack) -> ImageLDM:
    """The image side of a stack, all of it loaded."""
    return ImageLDM(
        vae=stack.vae,
        unet=stack.unet,
        text_encoder=stack.text_encoder,
        tokenizer=stack.tokenizer,
        scheduler=stack.scheduler,
    )


def text_as_before(stack: Stack, original: CLIPTextModel) -> dict[str, CLIPTextModel]:
    """The member by which temporal layers of ``stack`` go on reading ``original``; none where they read no text."""
    reads = any(layers.reads_text for layers in stack.temporal.values())
    return {TEMPORAL_TEXT: original} if reads and TEMPORAL_TEXT not in stack.members else {}


def with_lora(stack: Stack, path: Path, scale: float = 1.0) -> Stack:
    """The same stack with a LoRA in the weights of its image model, ``scale`` times as strong as it was trained.

    Raises:
        ValueError: no LoRA, or one for another model; names the file.
    """
    model, original = image_model(stack), stack.text_encoder
    model = replace(model, unet=copy.deepcopy(model.unet), text_encoder=copy.deepcopy(original))
    fuse_file(model, path, scale)
    members: dict[str, Any] = {"unet": model.unet}
    if digest_of_network(model.text_encoder) != digest_of_network(original):
        members |= {"text_encoder": model.text_encoder, **text_as_before(stack, original)}
    before = stack.digests
    number = 1 + sum(name.startswith("lora-") for name in before)
    return stack.replace(**members).made_of({**before, f"lora-{number}/{path.name}@{scale:g}": digest_of(path)})
