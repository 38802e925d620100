"""The model folder: which members a stack has, loading, saving and describing them (paper, Fig. 3: the whole cascade).

A stack is a diffusers folder that stock ``StableDiffusionPipeline`` loads (unet, vae, text_encoder, tokenizer,
scheduler) plus ``temporal/<set>/`` and ``stack.json``. Folders come from strangers: every file is checked, see
``models.untrusted``, and no code is ever imported from one. Not here: sampling (``stages``), diffusers' calls
(``pipeline``).
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from latentloom.align import TemporalLayers
from latentloom.models.untrusted import (
    check_member_folder,
    num_values,
    printable,
    read_json,
    safetensors_header,
    sha256_of,
)
from latentloom.stages.request import ClipRequest

ASSETS = Path(__file__).parent / "assets"
NETWORK_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
MEMBER_FILES: dict[str, tuple[str, ...]] = {
    "unet": NETWORK_FILES,
    "vae": NETWORK_FILES,
    "text_encoder": ("config.json", "model.safetensors"),
    "tokenizer": ("tokenizer_config.json",),
    "scheduler": ("scheduler_config.json",),
}
# The class names that tokenizer_config.json may ask for; transformers 5 saves PreTrainedTokenizerFast under the first.
TOKENIZERS: dict[str, type[PreTrainedTokenizerBase]] = {
    "TokenizersBackend": PreTrainedTokenizerFast,
    "PreTrainedTokenizerFast": PreTrainedTokenizerFast,
    "CLIPTokenizer": CLIPTokenizer,
    "CLIPTokenizerFast": CLIPTokenizer,
}


@dataclass(frozen=True, kw_only=True)
class StackInfo:
    """What a stack was trained for and is sampled with unless told otherwise; kept in ``stack.json``.

    Attributes:
        size: height and width in pixels.
        num_frames: frames per clip in training.
        fps: frames per second of those clips.
        note: one line about the schedule or the training, for readers.
    """

    name: str
    size: tuple[int, int]
    num_frames: int
    fps: float
    guidance_scale: float
    num_inference_steps: int
    note: str = ""

    def __post_init__(self) -> None:
        self.request("")  # the ranges are those of a request

    @classmethod
    def from_json(cls, content: Mapping[str, Any], source: Path) -> Self:
        """The info part of ``stack.json``.

        Raises:
            ValueError: a value missing, of the wrong kind, or out of range; names ``source``.
        """
        try:
            values = {field.name: content[field.name] for field in fields(cls) if field.name != "note"}
            height, width = values.pop("size")
            name, note = str(values.pop("name")), str(content.get("note", ""))
            return cls(**values, name=printable(name), note=printable(note), size=(height, width))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{printable(source)} is no stack description: {printable(error)}") from error

    def request(self, prompt: str, **changes: Any) -> ClipRequest:
        """A request for one clip with this stack's defaults, ``changes`` replacing some of them."""
        defaults: dict[str, Any] = {
            "num_frames": self.num_frames,
            "height": self.size[0],
            "width": self.size[1],
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "fps": self.fps,
        }
        return ClipRequest(prompt=prompt, **{**defaults, **changes})


class Stack:
    """The members of a stack, each loaded when first used, or given as they are by training.

    Attributes:
        info: defaults and name.
        checksums: file in the folder to sha256, empty for a plain diffusers folder or before saving.
    """

    def __init__(self, info: StackInfo, **members: Any) -> None:
        """Members that exist already: ``unet``, ``vae``, ``text_encoder``, ``tokenizer``, ``scheduler``, ``temporal``.

        ``temporal`` maps the name of a layer set (``"keyframes"``) to its layers. ``load`` makes a stack from a folder.

        Raises:
            ValueError: a member of an unknown name.
        """
        unknown = sorted(members.keys() - {*MEMBER_FILES, "temporal"})
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no member of a stack; members are {', '.join(MEMBER_FILES)}, temporal")
        self.info = info
        self.folder: Path | None = None
        self.checksums: dict[str, str] = {}
        self.dtype = torch.float32
        self.device = torch.device("cpu")
        self.__dict__.update(members)  # a cached property reads what lies under its name
        if not members.keys() & {"temporal"} and members:
            self.__dict__["temporal"] = {}
