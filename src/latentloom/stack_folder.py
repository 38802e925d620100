"""The folder of a stack, found and checked without loading any member: this imports neither diffusers nor transformers,
which take seconds, so that a stack that is not there or not whole is refused at once.

    unet/ vae/ text_encoder/ tokenizer/ scheduler/    what stock ``StableDiffusionPipeline`` loads
    temporal/<set>/                                   temporal layers of the UNet
    decoder_temporal/                                 those of the autoencoder's decoder
    upsampler/ upsampler_temporal/                    the upsampler and its temporal layers: a pixel upsampler, or the
                                                      folders of Stable Diffusion's upscaler (unet/, vae/, ...)
    scene/encoder/ scene/layers/                      boxes, light and traffic as tokens; the layers attending to them
    temporal_text_encoder/                            what temporal layers were trained with, where it is another
    stack.json                                        defaults, and every file with its checksum

Not here: the members themselves (``stack``, ``models.loading``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from latentloom.files import digest_of, printable
from latentloom.models.hub import is_repository, snapshot
from latentloom.models.single_file import converted, is_single_file
from latentloom.models.untrusted import check_member_folder, read_json
from latentloom.models.weights import DIFFUSERS, TRANSFORMERS, check_weights
from latentloom.stages.request import ClipRequest, check_prompt

ASSETS = Path(__file__).parent / "assets"
TEMPORAL = "temporal"
DECODER = "decoder_temporal"
UPSAMPLER, UPSAMPLER_LAYERS = "upsampler", "upsampler_temporal"
SCENE_ENCODER, SCENE_LAYERS = "scene/encoder", "scene/layers"
TEMPORAL_TEXT = "temporal_text_encoder"
IMAGE_MEMBERS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
LOW_RES_SCHEDULER = "low_res_scheduler"  # what makes an image model an upscaler: the noise on its small frames
UPSCALER = {name: f"{UPSAMPLER}/{name}" for name in (*IMAGE_MEMBERS, LOW_RES_SCHEDULER)}
"""Member of Stable Diffusion's upscaler, a model folder of its own, to its name in a stack."""
UPSAMPLERS = (UPSAMPLER, *UPSCALER.values(), UPSAMPLER_LAYERS)
OPTIONAL = (
    DECODER,
    *UPSAMPLERS,
    SCENE_ENCODER,
    SCENE_LAYERS,
    TEMPORAL_TEXT,
    LOW_RES_SCHEDULER,
)
TEXT_ENCODERS = ("text_encoder", TEMPORAL_TEXT)
_SCHEDULER_CONFIG = "scheduler_config.json"
_CONFIGS = {  # of members without weights
    "tokenizer": "tokenizer_config.json",
    "scheduler": _SCHEDULER_CONFIG,
    LOW_RES_SCHEDULER: _SCHEDULER_CONFIG,
}


@dataclass(frozen=True, kw_only=True)
class StageInfo:
    """What a further set of temporal layers was trained for.

    Attributes:
        num_frames: frames per window.
        fps: the rates of its clips, the coarse one first.
        context_noise: diffusion step of the noise on given frames, 0 to 999.
        context_guidance_scale: of the given frames, 1 is plain.
        guidance_scale: of the text; None is that of the key frames. What given frames on both sides decide needs none.
        num_inference_steps: denoising steps; None is as many as the key frames get.
        strength: the share of them that is walked, from a guess by the given frames; 1 is the whole, from noise.

    Raises:
        ValueError: a value out of the range of ``ClipRequest``.
    """

    num_frames: int
    fps: tuple[float, ...]
    context_noise: int = 0
    context_guidance_scale: float = 1.0
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        plain = ClipRequest(prompt="", num_frames=1, height=1, width=1)
        for fps in self.fps:
            replace(self.window(plain), fps=fps)

    def window(self, clip: ClipRequest) -> ClipRequest:
        """``clip`` as one window of these layers; its rate stays. Frames attend as far as in training."""
        return replace(
            clip,
            num_frames=self.num_frames,
            context_noise=self.context_noise,
            context_guidance_scale=self.context_guidance_scale,
            guidance_scale=clip.guidance_scale if self.guidance_scale is None else self.guidance_scale,
            num_inference_steps=self.num_inference_steps or clip.num_inference_steps,
            strength=self.strength,
            attention_distance=None,
        )


@dataclass(frozen=True, kw_only=True)
class StackInfo:
    """What a stack was trained for, and the defaults it is sampled with; kept in ``stack.json``.

    Attributes:
        size: height and width in pixels.
        num_frames: frames per clip in training.
        fps: frames per second of those clips.
        note: one line for readers, about the schedule or the training.
        stages: name of a set of temporal layers beside the key frames' (``"prediction"``) to what it was trained for.

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
    stages: Mapping[str, StageInfo] = field(default_factory=dict)

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
            values = {field.name: content[field.name] for field in fields(cls) if field.name != "stages"}
            height, width = values.pop("size")
            stages = {name: _stage_of(stage) for name, stage in content.get("stages", {}).items()}
            return cls(size=(height, width), stages=stages, **values)
        except KeyError as error:
            raise ValueError(f"{printable(path)} does not state {error}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{printable(path)}: {printable(error)}") from error

    def request(self, prompt: str, **changes: Any) -> ClipRequest:
        """A request for one clip with these defaults, ``changes`` replacing some of them.

        In a clip longer than those of training frames attend as far as they did there (spec, section 10).
        """
        longer = 1 < self.num_frames < changes.get("num_frames", self.num_frames)
        defaults = {
            "num_frames": self.num_frames,
            "height": self.size[0],
            "width": self.size[1],
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "fps": self.fps,
            "attention_distance": self.num_frames - 1 if longer else None,
        }
        return ClipRequest(prompt=prompt, **(defaults | changes))


def _stage_of(content: Mapping[str, Any]) -> StageInfo:
    return StageInfo(**{**content, "fps": tuple(content["fps"])})


@dataclass(frozen=True, kw_only=True)
class StackFolder:
    """A model folder whose files are there and whole; what their values are worth shows when they load.

    Attributes:
        members: ``unet``, ..., ``temporal/keyframes``.
        checksums: file to sha256; empty for a plain diffusers folder, an image model without ``stack.json``.
    """

    path: Path
    info: StackInfo
    members: tuple[str, ...]
    checksums: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, source: str | Path) -> Self:
        """Find and check a folder, the embedded one of a name (``"drive-small"``), the Hub's of ``"owner/name"``, or
        the one that a single file is converted to.

        Raises:
            ValueError: unknown name, a member missing or damaged, a pickle, a checksum that differs; names the file.
        """
        path = _find(source)
        members = member_names(path)
        files = files_of(path, members)
        if not (path / "stack.json").is_file():
            return cls(path=path, info=_folder_info(path, Path(source).stem), members=members)
        info = StackInfo.from_json(path / "stack.json")
        return cls(path=path, info=info, members=members, checksums=_check_sums(path, files))

    @property
    def open_vocabulary(self) -> bool:
        """Whether it reads any word, in pieces, as Stable Diffusion does, and not those of a list of its own."""
        path = self.path / "tokenizer" / "tokenizer.json"
        return not path.is_file() or (read_json(path).get("model") or {}).get("type") != "WordLevel"


def member_names(folder: Path) -> tuple[str, ...]:
    """The members a folder should have, and the further ones it has."""
    sets = sorted(path for path in (folder / TEMPORAL).glob("*") if path.is_dir())
    further = tuple(name for name in OPTIONAL if (folder / name).is_dir())
    if UPSCALER["unet"] in further:
        further = tuple(name for name in further if name != UPSAMPLER)  # a folder of members
    return (*IMAGE_MEMBERS, *further, *(f"{TEMPORAL}/{path.name}" for path in sets))


def kind_of(member: str) -> str:
    """``"unet"`` of ``"upsampler/unet"``: what a member is, wherever it stands."""
    return member.rpartition("/")[2]


def files_of(folder: Path, members: Iterable[str]) -> list[str]:
    """Every file of the members, relative, each member's folder, JSON and headers checked.

    Raises:
        ValueError: a file is missing, damaged, or one that a library would follow elsewhere.
    """
    files = []
    for name in members:
        if config := _CONFIGS.get(kind_of(name)):
            check_member_folder(folder / name, [config])
            read_json(folder / name / config)
        else:
            check_weights(folder / name, TRANSFORMERS if kind_of(name) in TEXT_ENCODERS else DIFFUSERS)
        files += [path.relative_to(folder).as_posix() for path in sorted((folder / name).iterdir()) if path.is_file()]
    return files


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


def _folder_info(folder: Path, name: str) -> StackInfo:
    unet, vae = (read_json(folder / name / "config.json") for name in ("unet", "vae"))
    if unet.get("addition_embed_type") is not None:
        raise ValueError(
            f"{printable(folder)} is a Stable Diffusion XL or of its kind: its UNet wants the text of two encoders, and"
            " stacks have one; take a 1.x or 2.x (in Python `latentloom.attach` puts temporal layers on its UNet, too)"
        )
    return default_info(name, unet, vae)


def _find(source: str | Path) -> Path:
    embedded = sorted(path.parent for path in ASSETS.glob("*/stack.json"))
    names = {path.name.replace("_", "-"): path for path in embedded}
    if isinstance(source, str) and source in names:
        return names[source]
    if isinstance(source, str) and is_repository(source):
        source = snapshot(source, (*IMAGE_MEMBERS, *OPTIONAL, TEMPORAL))
    folder = Path(source)
    if is_single_file(folder):
        folder = converted(folder)
    if not str(source) or not folder.is_dir():
        known = f"the embedded stacks are: {', '.join(names)}" if names else "no stack is embedded"
        raise ValueError(f"{printable(source) or 'an empty name'} is no folder and no known stack; {known}")
    if not (folder / "stack.json").exists() and not (folder / "model_index.json").exists():
        raise ValueError(f"{printable(folder)} is no model folder: neither stack.json nor model_index.json in it")
    return folder


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
        if digest_of(folder / name) != listed[name]:
            raise ValueError(f"{printable(folder / name)} differs from its checksum in stack.json; copy it again")
    return dict(listed)
