"""What a stack's folder says beside its members: the index diffusers reads first, ``pipeline.py``, the model card.

Not here: the members and their checksums (``stack``), finding and checking a folder (``stack_folder``).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
from torch import nn

from latentloom.models.untrusted import num_values
from latentloom.models.weights import DIFFUSERS, TRANSFORMERS, Weights
from latentloom.stack_folder import TEXT_ENCODERS, StackInfo

PIPELINE = "from latentloom import VideoLDMPipeline  # diffusers looks for its class here\n"  # never run by latentloom


def model_index(classes: Mapping[str, str]) -> dict[str, Any]:
    """What diffusers reads first: image member to its class.

    Absent members are spelled out, so that the stock pipeline does not ask for them.
    """
    library = {"text_encoder": "transformers", "tokenizer": "transformers"}
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": diffusers.__version__}
    index |= {name: [library.get(name, "diffusers"), kind] for name, kind in classes.items()}
    index |= {name: [None, None] for name in ("feature_extractor", "image_encoder", "safety_checker")}
    return index | {"requires_safety_checker": False}


def described(member: Any) -> dict[str, Any]:
    """Class and parameters of a member in memory."""
    row: dict[str, Any] = {"class": type(member).__name__}
    if isinstance(member, nn.Module):
        row["parameters"] = sum(parameter.numel() for parameter in member.parameters())
    return row


def described_files(folder: Path) -> dict[str, Any]:
    """Bytes and parameters of a member in a folder, from its headers."""
    row: dict[str, Any] = {"bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file())}
    if any(folder.glob("*.safetensors")):
        stem = TRANSFORMERS if folder.name in TEXT_ENCODERS else DIFFUSERS
        row["parameters"] = num_values(Weights.find(folder, stem).read_header())
    return row


def model_card(info: StackInfo, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A short README.md of the members in ``rows`` (``described``)."""
    lines = [f"# {info.name}", "", info.note or "A latentloom stack.", "", "| member | parameters |", "|---|---|"]
    lines += [f"| {name} | {row.get('parameters', '')} |" for name, row in rows.items()]
    return "\n".join(lines) + "\n"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Readable, keys sorted."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
