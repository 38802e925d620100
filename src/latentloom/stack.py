"""A stack: the members of a video model, loading, saving and describing them (paper, Fig. 3: the whole cascade).

A stack is a diffusers folder that stock ``StableDiffusionPipeline`` loads (unet, vae, text_encoder, tokenizer,
scheduler) plus ``temporal/<set>/`` and ``stack.json``. Not here: whether that folder is whole (``stack_folder``), how
one member is read safely (``models.loading``), sampling (``stages``), diffusers' calling conventions (``pipeline``).
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from latentloom.align import TemporalLayers
from latentloom.files import digest_of, printable, whole_folder
from latentloom.models import loading
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.latent_upsampler import LatentUpsampler
from latentloom.models.scenes import SceneEncoder
from latentloom.models.untrusted import PICKLES
from latentloom.models.upsampler import PixelUpsampler
from latentloom.offload import bring
from latentloom.receipt import library_version
from latentloom.stack_files import PIPELINE, described, described_files, model_card, model_index, write_json
from latentloom.stack_folder import (
    DECODER,
    IMAGE_MEMBERS,
    LOW_RES_SCHEDULER,
    SCENE_ENCODER,
    SCENE_LAYERS,
    TEMPORAL,
    TEMPORAL_TEXT,
    UPSAMPLER,
    UPSAMPLER_LAYERS,
    UPSAMPLERS,
    UPSCALER,
    StackFolder,
    StackInfo,
    files_of,
    kind_of,
)

NETWORK_LOADERS = {
    "unet": loading.load_unet,
    "vae": loading.load_vae,
    "text_encoder": loading.load_text_encoder,
    TEMPORAL_TEXT: loading.load_text_encoder,
    UPSAMPLER: loading.load_upsampler,
    kind_of(SCENE_ENCODER): loading.load_scene_encoder,
}
OTHER_LOADERS = {
    "tokenizer": loading.load_tokenizer,
    "scheduler": loading.load_scheduler,
    LOW_RES_SCHEDULER: loading.load_scheduler,
}


class Stack:
    """The members of a stack, given by training or loaded from a folder when first used.

    Attributes:
        info: name and defaults.
        folder: where members are loaded from, None for a stack that exists in memory only.
        checksums: file of the folder to sha256, as far as stated or computed yet (``digests``).
        dtype, device: of the members loaded from the folder; weights stored as float16 are widened.
        offloads: members lie in the computer's memory, and on ``device`` while they are at work (``bring``).
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
        decoder_temporal: TemporalLayers | None = None,
        upsampler: PixelUpsampler | LatentUpsampler | None = None,
        upsampler_temporal: TemporalLayers | None = None,
        scene: tuple[SceneEncoder, TemporalLayers] | None = None,
        temporal_text_encoder: CLIPTextModel | None = None,
    ) -> None:
        """A stack of members at hand; ``temporal`` maps a layer set's name (``"keyframes"``) to its layers."""
        given = {"unet": unet, "vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "scheduler": scheduler}
        given |= {DECODER: decoder_temporal, UPSAMPLER_LAYERS: upsampler_temporal, TEMPORAL_TEXT: temporal_text_encoder}
        if isinstance(upsampler, LatentUpsampler):
            given |= {UPSCALER[name]: part for name, part in upsampler.parts.items()}
        else:
            given[UPSAMPLER] = upsampler
        given |= dict(zip((SCENE_ENCODER, SCENE_LAYERS), scene or (None, None), strict=True))
        given |= {f"{TEMPORAL}/{name}": layers for name, layers in (temporal or {}).items()}
        self.info = info
        self.folder: Path | None = None
        self.checksums: dict[str, str] = {}
        self.dtype = torch.float32
        self.device = torch.device("cpu")
        self.offloads = False
        self._given: dict[str, Any] = {name: member for name, member in given.items() if member is not None}
        self._lying: dict[str, Path] = {}  # member to the folder it is loaded from
        self._loaded: dict[str, Any] = {}
        self._added: dict[str, str] = {}  # what went into the weights of members, with its sha256

    @classmethod
    def load(
        cls, source: str | Path | StackFolder, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Self:
        """Open the stack in a folder, or the embedded one of a name (``"drive-small"``); networks load when first used.

        Every file is checked at once, but for the values of the weights, which are checked when they load. A diffusers
        folder without ``stack.json`` is an image model without temporal layers.

        Raises:
            ValueError: what ``StackFolder.open`` refuses, a tokenizer or scheduler of an unknown kind; names the file.
        """
        folder = source if isinstance(source, StackFolder) else StackFolder.open(source)
        stack = cls(folder.info)
        stack.folder, stack.dtype, stack.device = folder.path, dtype, torch.device(device)
        stack._lying = {name: folder.path / name for name in folder.members}
        stack.checksums = dict(folder.checksums)
        for name in stack.members:
            if kind_of(name) in OTHER_LOADERS:
                stack._member(name)
        return stack

    @property
    def members(self) -> tuple[str, ...]:
        """Names of what is there: ``unet``, ..., ``temporal/keyframes``."""
        there = {*self._given, *self._lying}
        image = [name for name in IMAGE_MEMBERS if name in there]
        return (*image, *sorted(there.difference(image)))

    @property
    def digests(self) -> dict[str, str]:
        """File to sha256 of every member that lies in a folder, computed at the first call where none states them.

        And of what else its weights were made of (``made_of``).
        """
        files = [(name, path) for name, lies in self._lying.items() for path in lies.iterdir() if path.is_file()]
        named = {f"{name}/{path.name}": path for name, path in files}
        for name in sorted(named.keys() - self.checksums.keys()):
            self.checksums[name] = digest_of(named[name])
        return {name: self.checksums[name] for name in sorted(named)} | self._added

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
    def temporal_text_encoder(self) -> CLIPTextModel | None:
        """What the temporal cross-attention reads, where it is not the image model's own (spec, section 9); or None."""
        return self._member(TEMPORAL_TEXT) if TEMPORAL_TEXT in self.members else None

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
        """The sets of temporal layers by name; all are loaded, where ``temporal_layers`` loads one."""
        prefix = f"{TEMPORAL}/"
        return {name.removeprefix(prefix): self._member(name) for name in self.members if name.startswith(prefix)}

    @property
    def keyframe_set(self) -> str | None:
        """The set of temporal layers that makes key frames, None in an image model.

        Prediction trained with S = 0 is given no frame there, and makes a clip from the text alone (paper, Sec. 3.2).
        """
        return next((name for name in ("keyframes", "prediction") if f"{TEMPORAL}/{name}" in self.members), None)

    @property
    def keyframe_layers(self) -> TemporalLayers | None:
        """The temporal layers that make key frames, None in an image model."""
        return None if self.keyframe_set is None else self._member(f"{TEMPORAL}/{self.keyframe_set}")

    def temporal_layers(self, name: str) -> TemporalLayers:
        """One set of temporal layers; ``"keyframes"`` may be another's (``keyframe_set``).

        Raises:
            ValueError: the stack has none.
        """
        layers = self.keyframe_layers if name == "keyframes" else None
        return layers or self._member(f"{TEMPORAL}/{name}")

    @property
    def autoencoder(self) -> VideoAutoencoder:
        """The autoencoder for video, with the temporal layers of its decoder where the stack has them."""
        return VideoAutoencoder(self.vae, self._member(DECODER) if DECODER in self.members else None)

    @property
    def has_upsampler(self) -> bool:
        """Whether frames can be made larger."""
        return UPSAMPLER in self.members or UPSCALER["unet"] in self.members

    @property
    def upsampler(self) -> PixelUpsampler | LatentUpsampler:
        """Of pixels, or Stable Diffusion's. Raises ``ValueError`` where the stack has none."""
        if UPSCALER["unet"] not in self.members:
            return self._member(UPSAMPLER)
        return LatentUpsampler(**{name: self._member(member) for name, member in UPSCALER.items()})

    @property
    def upsampler_layers(self) -> TemporalLayers | None:
        """The temporal layers of the upsampler, None where it makes each frame for itself."""
        return self._member(UPSAMPLER_LAYERS) if UPSAMPLER_LAYERS in self.members else None

    @property
    def upsampling_networks(self) -> tuple[nn.Module, ...]:
        """The upsampler, and its temporal layers where it has any."""
        return (self.upsampler,) if self.upsampler_layers is None else (self.upsampler, self.upsampler_layers)

    @property
    def scene(self) -> tuple[SceneEncoder, TemporalLayers] | None:
        """The encoder of scenes and the layers that attend to them, None where the stack has none."""
        if SCENE_ENCODER not in self.members:
            return None
        return self._member(SCENE_ENCODER), self._member(SCENE_LAYERS)

    @property
    def execution_device(self) -> torch.device:
        """Where the networks compute."""
        return self.device if self.offloads else self.unet.device

    def bring(self, *networks: nn.Module) -> None:
        """Say which networks work next: where the stack offloads they go to the device, and all others leave it."""
        if self.offloads:
            members = (*self._given.values(), *self._loaded.values())
            bring(networks, [member for member in members if isinstance(member, nn.Module)], self.device)

    def replace(self, info: StackInfo | None = None, **members: Any) -> "Stack":
        """The same stack with other members or info; parameters as in ``Stack``, ``temporal`` replaces single sets."""
        changed = Stack(info or self.info, **members)
        changed.folder, changed.dtype, changed.device = self.folder, self.dtype, self.device
        changed.offloads, changed._added = self.offloads, dict(self._added)
        # another upsampler may be of another kind, and temporal layers were made for the one before
        base = self.without(*UPSAMPLERS) if members.get("upsampler") is not None else self
        changed.checksums = dict(base.checksums)
        changed._given = base._given | changed._given
        changed._lying = {name: path for name, path in base._lying.items() if name not in changed._given}
        changed._loaded = {name: member for name, member in base._loaded.items() if name in changed._lying}
        return changed

    def without(self, *names: str) -> "Stack":
        """The same stack without some of its members, such as layers that no longer fit; absent ones may be named."""
        fewer = self.replace()
        for name in names:
            for kept in (fewer._given, fewer._lying, fewer._loaded):
                kept.pop(name, None)
            for file in [file for file in fewer.checksums if file.rpartition("/")[0] == name]:
                del fewer.checksums[file]
        return fewer

    def taking(self, source: "Stack", names: Mapping[str, str]) -> "Stack":
        """The same stack with members of another one, as they lie: their files are copied when it is saved.

        Args:
            names: member of ``source`` to its name here.
        """
        more = self.without(*names.values())
        for name, here in names.items():
            if name in source._lying:
                more._lying[here] = source._lying[name]
            else:
                more._given[here] = source._member(name)
        return more

    def made_of(self, digests: Mapping[str, str]) -> "Stack":
        """The same stack, of which receipts name further files: what was added to its weights, with its sha256."""
        changed = self.replace()
        changed._added |= digests
        return changed

    def with_upsampler_of(self, source: "Stack") -> "Stack":
        """The same stack with the upsampler of another one, or with ``source`` itself where it is an upscaler.

        Raises:
            ValueError: ``source`` is neither.
        """
        names = {name: name for name in source.members if name.startswith(UPSAMPLER)}
        if LOW_RES_SCHEDULER in source.members:
            names = UPSCALER
        if not names:
            raise ValueError(f"{source.info.name} has no upsampler, and is none of Stable Diffusion's kind")
        return self.without(*UPSAMPLERS).taking(source, names)

    @property
    def num_bytes(self) -> int:
        """Of all weights in ``dtype``, from the headers: none is loaded."""
        rows = self.describe()["members"].values()
        return self.dtype.itemsize * sum(row.get("parameters", 0) for row in rows)

    def describe(self) -> dict[str, Any]:
        """Info, and per member its class, parameters and bytes, read from the headers without loading any weights."""
        rows = {name: described(self._given[name]) for name in self._given}
        rows |= {name: described_files(path) for name, path in self._lying.items()}
        return {**asdict(self.info), "members": {name: rows[name] for name in self.members}}

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = None, card: str | None = None) -> None:
        """Write the folder, which appears under its name when it is whole.

        Members that were only loaded are copied as their files lie; a member changed in memory is saved when it was
        given to ``replace``.

        Args:
            dtype: of the weights of given members as stored; None keeps theirs. float16 halves the file.
            card: README.md, the model card; None writes a short one.

        Raises:
            ValueError: the folder exists and is not empty, a member is missing, or weights are not finite.
            OSError: the disk refuses.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"{printable(folder)} exists and is not empty; choose another folder or remove it")
        if missing := [name for name in IMAGE_MEMBERS if name not in self.members]:
            raise ValueError(f"the stack {self.info.name!r} has no {missing[0]}, a folder needs it; give it to Stack")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(folder) as draft:
            self._write(draft, dtype, card)

    def _member(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        if name not in self._loaded:
            if name not in self._lying:
                raise ValueError(f"the stack {self.info.name!r} has no {name}; it has {', '.join(self.members)}")
            self._loaded[name] = self._load(name, self._lying[name])
        return self._loaded[name]

    def _load(self, name: str, folder: Path) -> Any:
        kind = kind_of(name)
        if kind in OTHER_LOADERS:
            return OTHER_LOADERS[kind](folder)
        network = NETWORK_LOADERS.get(kind, loading.load_temporal)(folder, self.dtype)
        return network if self.offloads else network.to(self.device)

    def _write(self, draft: Path, dtype: torch.dtype | None, card: str | None) -> None:
        for name in self.members:
            if name in self._given:
                loading.save_member(self._given[name], draft / name, dtype)
            else:
                shutil.copytree(self._lying[name], draft / name, ignore=shutil.ignore_patterns(*PICKLES))
        classes = {name: type(self._member(name)).__name__ for name in IMAGE_MEMBERS}
        write_json(draft / "model_index.json", model_index(classes))
        (draft / "pipeline.py").write_text(PIPELINE, encoding="utf-8")
        (draft / "README.md").write_text(card or model_card(self.info, self.describe()["members"]), encoding="utf-8")
        sums = {name: digest_of(draft / name) for name in files_of(draft, self.members)}
        content = asdict(self.info) | {"latentloom_version": library_version("latentloom"), "members": sums}
        write_json(draft / "stack.json", content)
