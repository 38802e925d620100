"""The model folder: which members a stack has, loading, saving and describing them (paper, Fig. 3: the whole cascade).

A stack is a diffusers folder that stock ``StableDiffusionPipeline`` loads (unet, vae, text_encoder, tokenizer,
scheduler) plus ``temporal/<set>/`` and ``stack.json``, which lists every file with its checksum. Not here: how one
member is read safely (``models.loading``), sampling (``stages``), diffusers' calling conventions (``pipeline``).
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from latentloom.align import TemporalLayers
from latentloom.models import loading
from latentloom.models.untrusted import PICKLES, num_values, printable, read_json, sha256_of
from latentloom.receipt import library_version
from latentloom.stages.request import ClipRequest, check_prompt

ASSETS = Path(__file__).parent / "assets"
IMAGE_MEMBERS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True, kw_only=True)
class StackInfo:
    """What a stack was trained for, and the defaults it is sampled with; kept in ``stack.json``.

    Attributes:
        size: height and width in pixels.
        num_frames: frames per clip in training.
        fps: frames per second of those clips.
        note: one line for readers, about the schedule or the training.

    Raises:
        ValueError: a value out of the range of ``ClipRequest``.
    """

    name: str
    size: tuple[int, int]
    num_frames: int
    fps: float
    guidance_scale: float
    num_inference_steps: int
    note: str = ""

    def __post_init__(self) -> None:
        check_prompt("name", self.name)
        check_prompt("note", self.note)
        self.request("")

    @classmethod
    def from_json(cls, path: Path) -> Self:
        """The info part of a ``stack.json``.

        Raises:
            ValueError: unreadable, or a value missing, of the wrong kind or out of range; names the file.
        """
        content = read_json(path)
        try:
            values = {field.name: content[field.name] for field in fields(cls)}
            height, width = values.pop("size")
            return cls(size=(height, width), **values)
        except KeyError as error:
            raise ValueError(f"{printable(path)} does not state {error}") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"{printable(path)}: {printable(error)}") from error

    def request(self, prompt: str, **changes: Any) -> ClipRequest:
        """A request for one clip with these defaults, ``changes`` replacing some of them."""
        defaults = {
            "num_frames": self.num_frames,
            "height": self.size[0],
            "width": self.size[1],
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "fps": self.fps,
        }
        return ClipRequest(prompt=prompt, **(defaults | changes))


class Stack:
    """The members of a stack, given by training or loaded from a folder when first used.

    Attributes:
        info: name and defaults.
        folder: where members are loaded from, None for a stack that exists in memory only.
        checksums: file of the folder to sha256; empty for a plain diffusers folder.
        dtype, device: of the members loaded from the folder; weights stored as float16 are widened.
    """

    def __init__(
        self,
        info: StackInfo,
        *,
        unet: UNet2DConditionModel | None = None,
        vae: AutoencoderKL | None = None,
        text_encoder: CLIPTextModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        scheduler: SchedulerMixin | None = None,
        temporal: Mapping[str, TemporalLayers] | None = None,
    ) -> None:
        """A stack of members at hand; ``temporal`` maps a layer set's name (``"keyframes"``) to its layers."""
        given = {"unet": unet, "vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "scheduler": scheduler}
        given |= {f"{loading.TEMPORAL}/{name}": layers for name, layers in (temporal or {}).items()}
        self.info = info
        self.folder: Path | None = None
        self.checksums: dict[str, str] = {}
        self.dtype = torch.float32
        self.device = torch.device("cpu")
        self._given: dict[str, Any] = {name: member for name, member in given.items() if member is not None}
        self._loaded: dict[str, Any] = {}

    @classmethod
    def load(
        cls, source: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Self:
        """Open the stack in a folder, or the embedded one of a name (``"drive-small"``); members load when first used.

        Every file is checked at once, but for the values of the weights, which are checked when they load. A diffusers
        folder without ``stack.json`` is an image model without temporal layers.

        Raises:
            ValueError: unknown name, a member missing or damaged, a pickle, a checksum that differs; names the file.
        """
        folder = _find(source)
        described = (folder / "stack.json").is_file()
        files = _checked_files(folder)
        stack = cls(StackInfo.from_json(folder / "stack.json") if described else _folder_info(folder))
        stack.folder, stack.dtype, stack.device = folder, dtype, torch.device(device)
        if described:
            stack.checksums = _check_sums(folder, files)
        return stack

    @property
    def members(self) -> tuple[str, ...]:
        """Names of what is there: ``unet``, ..., ``temporal/keyframes``."""
        there = set(self._given) | set(_member_names(self.folder) if self.folder else ())
        image = [name for name in IMAGE_MEMBERS if name in there]
        return (*image, *sorted(there.difference(image)))

    @property
    def unet(self) -> UNet2DConditionModel:
        """The image network, stock."""
        return self._member("unet")

    @property
    def vae(self) -> AutoencoderKL:
        """The image autoencoder, stock."""
        return self._member("vae")

    @property
    def text_encoder(self) -> CLIPTextModel:
        """What turns tokens into the context of the cross-attention."""
        return self._member("text_encoder")

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """What turns a prompt into tokens."""
        return self._member("tokenizer")

    @property
    def scheduler(self) -> SchedulerMixin:
        """The noise schedule and sampler; any other of diffusers made ``from_config`` of it serves as well."""
        return self._member("scheduler")

    @property
    def temporal(self) -> dict[str, TemporalLayers]:
        """The sets of temporal layers by name; all are loaded."""
        prefix = f"{loading.TEMPORAL}/"
        return {name.removeprefix(prefix): self._member(name) for name in self.members if name.startswith(prefix)}

    @property
    def keyframe_layers(self) -> TemporalLayers | None:
        """The temporal layers that make key frames, None in an image model."""
        return self.temporal.get("keyframes")

    @property
    def execution_device(self) -> torch.device:
        """Where the networks compute."""
        return self.unet.device

    def replace(self, info: StackInfo | None = None, **members: Any) -> "Stack":
        """The same stack with other members or info; parameters as in ``Stack``, ``temporal`` replaces single sets."""
        changed = Stack(info or self.info, **members)
        changed.folder, changed.dtype, changed.device = self.folder, self.dtype, self.device
        changed._given = self._given | changed._given
        changed._loaded = {name: member for name, member in self._loaded.items() if name not in changed._given}
        return changed

    def describe(self) -> dict[str, Any]:
        """Info, and per member its class, parameters and bytes, read from the headers without loading any weights."""
        rows = {name: _describe(self._given[name]) for name in self._given}
        if self.folder is not None:
            rows |= {name: _describe_folder(self.folder / name) for name in self.members if name not in rows}
        return {**asdict(self.info), "members": {name: rows[name] for name in self.members}}

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = None, card: str | None = None) -> None:
        """Write the folder under another name first and rename it in the end, ``stack.json`` last within it.

        Members that were only loaded are copied as their files lie; a member changed in memory is saved when it was
        given to ``replace``.

        Args:
            dtype: of the weights of given members as stored; None keeps theirs. float16 halves the file.
            card: README.md, the model card; None writes a short one.

        Raises:
            ValueError: the folder exists and is not empty, a member is missing, or weights are not finite.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"{printable(folder)} exists and is not empty; choose another folder or remove it")
        if missing := [name for name in IMAGE_MEMBERS if name not in self.members]:
            raise ValueError(f"the stack {self.info.name!r} has no {missing[0]}, a folder needs it; give it to Stack")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            draft = Path(scratch) / "stack"
            self._write(draft, dtype, card)
            if folder.exists():
                folder.rmdir()
            draft.replace(folder)

    def _member(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        if name not in self._loaded:
            if self.folder is None or name not in self.members:
                raise ValueError(f"the stack {self.info.name!r} has no {name}; it has {', '.join(self.members)}")
            self._loaded[name] = self._load(name, self.folder / name)
        return self._loaded[name]

    def _load(self, name: str, folder: Path) -> Any:
        if name == "tokenizer":
            return loading.load_tokenizer(folder)
        if name == "scheduler":
            return loading.load_scheduler(folder)
        loaders = {"unet": loading.load_unet, "vae": loading.load_vae, "text_encoder": loading.load_text_encoder}
        return loaders.get(name, loading.load_temporal)(folder, self.dtype).to(self.device)

    def _write(self, draft: Path, dtype: torch.dtype | None, card: str | None) -> None:
        for name in self.members:
            if name in self._given:
                loading.save_member(self._given[name], draft / name, dtype)
            else:
                assert self.folder is not None
                shutil.copytree(self.folder / name, draft / name, ignore=shutil.ignore_patterns(*PICKLES))
        _write_json(draft / "model_index.json", _model_index(self))
        (draft / "README.md").write_text(card or _card(self), encoding="utf-8")
        sums = {name: sha256_of(draft / name) for name in _checked_files(draft)}
        content = asdict(self.info) | {"latentloom_version": library_version("latentloom"), "members": sums}
        _write_json(draft / "stack.json", content)


def _folder_info(folder: Path) -> StackInfo:
    unet, vae = (read_json(folder / name / "config.json") for name in ("unet", "vae"))
    return default_info(folder.name, unet, vae)


def _find(source: str | Path) -> Path:
    embedded = sorted(path.parent for path in ASSETS.glob("*/stack.json"))
    names = {path.name.replace("_", "-"): path for path in embedded}
    if isinstance(source, str) and source in names:
        return names[source]
    folder = Path(source)
    if not folder.is_dir():
        known = f"the embedded stacks are: {', '.join(names)}" if names else "no stack is embedded"
        raise ValueError(f"{printable(source)} is no folder and no known stack; {known}")
    if not (folder / "stack.json").exists() and not (folder / "model_index.json").exists():
        raise ValueError(f"{printable(folder)} is no model folder: neither stack.json nor model_index.json in it")
    return folder


def _member_names(folder: Path) -> list[str]:
    sets = sorted(path for path in (folder / loading.TEMPORAL).glob("*") if path.is_dir())
    return [*IMAGE_MEMBERS, *(f"{loading.TEMPORAL}/{path.name}" for path in sets)]


def _checked_files(folder: Path) -> list[str]:
    """Every file of the members, relative, each member's folder and weights checked as far as possible unread."""
    files = []
    for name in _member_names(folder):
        member = folder / name
        if name == "tokenizer":
            loading.load_tokenizer(member)
        elif name == "scheduler":
            loading.load_scheduler(member)
        else:
            loading.check_weights(member, _weights_of(name))
        files += [path.relative_to(folder).as_posix() for path in sorted(member.iterdir()) if path.is_file()]
    return files


def _weights_of(name: str) -> str:
    return loading.TRANSFORMERS_WEIGHTS if name == "text_encoder" else loading.DIFFUSERS_WEIGHTS


def _check_sums(folder: Path, files: list[str]) -> dict[str, str]:
    """The checksums of ``stack.json``, each verified; names that are not files of a member are never opened."""
    path = folder / "stack.json"
    listed = read_json(path).get("members")
    if not isinstance(listed, dict):
        raise ValueError(f"{printable(path)} does not list its members with their checksums")
    if strange := sorted(set(files) ^ set(listed)):
        side = "is listed in stack.json but missing" if strange[0] in listed else "is not listed in stack.json"
        raise ValueError(f"{printable(folder / strange[0])} {side}; copy the whole folder again")
    for name in files:
        if sha256_of(folder / name) != listed[name]:
            raise ValueError(f"{printable(folder / name)} differs from its checksum in stack.json; copy it again")
    return dict(listed)


def default_info(name: str, unet: Mapping[str, Any], vae: Mapping[str, Any]) -> StackInfo:
    """Defaults for members without a ``stack.json``: Stable Diffusion's, at the size the UNet's config states.

    Raises:
        ValueError: no usable size in the configs.
    """
    side = unet.get("sample_size")
    height, width = side if isinstance(side, list | tuple) and len(side) == 2 else (side, side)
    try:
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        size = (height * factor, width * factor)
        return StackInfo(name=name, size=size, num_frames=8, fps=8.0, guidance_scale=7.5, num_inference_steps=50)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{printable(name)}: the UNet's config states no usable size: {printable(error)}") from error


def _model_index(stack: Stack) -> dict[str, Any]:
    """What diffusers reads first; absent members are spelled out, so that the stock pipeline does not ask for them."""
    library = {"text_encoder": "transformers", "tokenizer": "transformers"}
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": diffusers.__version__}
    for name in IMAGE_MEMBERS:
        index[name] = [library.get(name, "diffusers"), type(stack._member(name)).__name__]
    index |= {name: [None, None] for name in ("feature_extractor", "image_encoder", "safety_checker")}
    return index | {"requires_safety_checker": False}


def _describe(member: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"class": type(member).__name__}
    if isinstance(member, nn.Module):
        row["parameters"] = sum(parameter.numel() for parameter in member.parameters())
    return row


def _describe_folder(folder: Path) -> dict[str, Any]:
    weights = next(iter(sorted(folder.glob("*.safetensors"))), None)
    row: dict[str, Any] = {"bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file())}
    if weights is not None:
        row["parameters"] = num_values(loading.check_weights(folder, weights.name))
    return row


def _card(stack: Stack) -> str:
    lines = [
        f"# {stack.info.name}",
        "",
        stack.info.note or "A latentloom stack.",
        "",
        "| member | parameters |",
        "|---|---|",
    ]
    lines += [f"| {name} | {row.get('parameters', '')} |" for name, row in stack.describe()["members"].items()]
    return "\n".join(lines) + "\n"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
