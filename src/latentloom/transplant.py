"""Temporal layers moved from one video model to another image model of the same architecture (paper, Sec. 4.2.1).

The layers are taken as they are, byte for byte; what they were trained with goes along: frame rates, and the text
encoder where their cross-attention reads text and the new model's encoder is another one.
"""

import copy
from dataclasses import replace

from transformers import CLIPTextModel

from latentloom.align import check_transfer
from latentloom.models.digest import digest_of_network
from latentloom.models.text import make_room
from latentloom.stack import Stack
from latentloom.stack_folder import TEMPORAL_TEXT


def transplanted(source: Stack, onto: Stack) -> Stack:
    """``onto`` with all temporal layers of ``source``'s UNet in the place of its own.

    Raises:
        ValueError: ``source`` has none; layers that do not fit, naming the first site that differs; or layers that read
            text in other tokens than ``onto`` writes.
    """
    sets = source.temporal
    if not sets:
        raise ValueError(f"{source.info.name} is an image model without temporal layers; there is nothing to move")
    for layers in sets.values():
        check_transfer(layers, onto.unet)
    moved = {name: name for name in source.members if name.startswith("temporal/")}
    grown: dict[str, CLIPTextModel] = {}
    if any(layers.reads_text for layers in sets.values()) and _reads_otherwise(source, onto):
        if len(source.tokenizer) == len(onto.tokenizer):
            moved |= {TEMPORAL_TEXT if TEMPORAL_TEXT in source.members else "text_encoder": TEMPORAL_TEXT}
        else:
            grown[TEMPORAL_TEXT] = copy.deepcopy(source.temporal_text_encoder or source.text_encoder)
            make_room(grown[TEMPORAL_TEXT], len(onto.tokenizer))
    trained = {name: getattr(source.info, name) for name in ("num_frames", "fps", "stages")}
    note = f"Temporal layers of {source.info.name} on {onto.info.name}."
    gone = [name for name in onto.members if name.startswith("temporal")]
    return onto.without(*gone).replace(replace(onto.info, note=note, **trained), **grown).taking(source, moved)


def _reads_otherwise(source: Stack, onto: Stack) -> bool:
    """Whether ``onto`` reads text with another encoder than the layers were trained with.

    Raises:
        ValueError: words of ``source`` are not in ``onto``, or under other numbers; it may have learned further ones.
    """
    encoder = source.temporal_text_encoder or source.text_encoder
    if digest_of_network(encoder) == digest_of_network(onto.text_encoder):
        return False
    if not source.tokenizer.get_vocab().items() <= onto.tokenizer.get_vocab().items():
        raise ValueError(
            f"the temporal layers of {source.info.name} read text, and its words are not those of {onto.info.name}:"
            " expected models with one vocabulary"
        )
    return True
