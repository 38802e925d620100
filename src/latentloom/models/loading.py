"""The members of a model folder, one loader each: strict, checked before and after, never running foreign code.

Stock classes load themselves (their own key conversions for old checkpoints included); what they are lenient about is
checked here: missing, unexpected or mismatched tensors, values that are not finite, classes named by a file.
"""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from latentloom.align import TemporalLayers
from latentloom.models.scenes import SceneEncoder
from latentloom.models.untrusted import check_member_folder, printable, read_json
from latentloom.models.upsampler import PixelUpsampler
from latentloom.models.weights import DIFFUSERS, TRANSFORMERS, Weights, check_weights

Network = TypeVar("Network", bound=nn.Module)
Result = TypeVar("Result")
TEMPORAL = "temporal"
# The class names a tokenizer_config.json may ask for; transformers 5 saves PreTrainedTokenizerFast under the first.
TOKENIZERS: dict[str, type[PreTrainedTokenizerBase]] = {
    "TokenizersBackend": PreTrainedTokenizerFast,
    "PreTrainedTokenizerFast": PreTrainedTokenizerFast,
    "CLIPTokenizer": CLIPTokenizer,
    "CLIPTokenizerFast": CLIPTokenizer,
}
MAX_PROMPT_TOKENS = 4096
MAX_TRAIN_TIMESTEPS = 100_000


def load_unet(folder: Path, dtype: torch.dtype) -> UNet2DConditionModel:
    """The image network. Raises ``ValueError`` naming the file and what is wrong with it."""
    return _load_network(UNet2DConditionModel, folder, dtype)


def load_vae(folder: Path, dtype: torch.dtype) -> AutoencoderKL:
    """The autoencoder. Raises ``ValueError`` naming the file and what is wrong with it."""
    return _load_network(AutoencoderKL, folder, dtype)


def load_text_encoder(folder: Path, dtype: torch.dtype) -> CLIPTextModel:
    """The text encoder. Raises ``ValueError`` naming the file and what is wrong with it."""
    weights = check_weights(folder, TRANSFORMERS)
    options = {"dtype": dtype, **_options(weights), "output_loading_info": True}
    model, info = _told(folder, lambda: cast(Any, CLIPTextModel).from_pretrained(folder, **options))
    _check_loaded(folder, model, info)
    return model


def load_temporal(folder: Path, dtype: torch.dtype) -> TemporalLayers:
    """One set of temporal layers. Raises ``ValueError`` naming the folder and what is wrong with it."""
    check_weights(folder, DIFFUSERS)
    options = {"torch_dtype": dtype, "local_files_only": True}
    return _told(folder, lambda: TemporalLayers.from_pretrained(folder, **options)).eval()


def load_upsampler(folder: Path, dtype: torch.dtype) -> PixelUpsampler:
    """The pixel upsampler. Raises ``ValueError`` naming the file and what is wrong with it."""
    return _load_network(PixelUpsampler, folder, dtype)


def load_scene_encoder(folder: Path, dtype: torch.dtype) -> SceneEncoder:
    """The encoder of scenes. Raises ``ValueError`` naming the file and what is wrong with it."""
    return _load_network(SceneEncoder, folder, dtype)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A word-level or CLIP tokenizer.

    Raises:
        ValueError: another tokenizer class, files it cannot read, or no usable maximum length.
    """
    check_member_folder(folder, ["tokenizer_config.json"])
    name = read_json(folder / "tokenizer_config.json").get("tokenizer_class")
    if name not in TOKENIZERS:
        known = ", ".join(TOKENIZERS)
        raise ValueError(f"{printable(folder)}: tokenizer class {printable(name)[:60]} is none of {known}")
    tokenizer = _told(folder, lambda: TOKENIZERS[name].from_pretrained(folder, local_files_only=True))
    if not 3 <= tokenizer.model_max_length <= MAX_PROMPT_TOKENS or tokenizer.pad_token_id is None:
        raise ValueError(
            f"{printable(folder)}: expected a padding token and a model_max_length from 3 to {MAX_PROMPT_TOKENS}"
        )
    return tokenizer


def load_scheduler(folder: Path) -> SchedulerMixin:
    """Any diffusers scheduler.

    Raises:
        ValueError: a class that is no scheduler of diffusers, or settings it does not take.
    """
    check_member_folder(folder, ["scheduler_config.json"])
    config = read_json(folder / "scheduler_config.json")
    name = config.get("_class_name")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type) or not issubclass(kind, SchedulerMixin):
        raise ValueError(f"{printable(folder)}: {printable(name)[:60]} is no scheduler of diffusers")
    steps = config.get("num_train_timesteps", 1000)
    if not isinstance(steps, int) or not 1 <= steps <= MAX_TRAIN_TIMESTEPS:
        raise ValueError(f"{printable(folder)}: num_train_timesteps must be from 1 to {MAX_TRAIN_TIMESTEPS}")
    return _told(folder, lambda: cast(Any, kind).from_config(config))


def save_member(member: Any, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write a network, tokenizer or scheduler as its library does, weights in ``dtype``, without any machine's paths.

    Raises:
        ValueError: a tensor that is not finite, before or after the change of dtype.
    """
    if isinstance(member, nn.Module):
        if dtype is not None:
            member = nn.Module.to(copy.deepcopy(member), dtype)  # diffusers' own `to` warns about an empty list
        _check_finite(folder, member)
    cast(Any, member).save_pretrained(folder)
    for path in folder.glob("*config.json"):
        config = read_json(path)
        kept = {key: value for key, value in config.items() if key not in {"_name_or_path", "name_or_path"}}
        if "dtype" in kept:
            # the dtype transformers loads into; diffusers loads float16 files into float32, and both must agree
            kept["dtype"] = "float32"
        path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _load_network(kind: type[Network], folder: Path, dtype: torch.dtype) -> Network:
    weights = check_weights(folder, DIFFUSERS)
    options = {"torch_dtype": dtype, **_options(weights), "output_loading_info": True}
    network, info = _told(folder, lambda: cast(Any, kind).from_pretrained(folder, **options))
    _check_loaded(folder, network, info)
    return network.eval()


def _options(weights: Weights) -> dict[str, Any]:
    return {"use_safetensors": True, "local_files_only": True, "variant": weights.variant}


def _told(folder: Path, load: Callable[[], Result]) -> Result:
    try:
        return load()
    except Exception as error:  # the libraries raise anything on a malformed config; all of it is the folder's fault
        reason = printable(error).strip() or type(error).__name__
        raise ValueError(f"{printable(folder)} cannot be loaded: {reason[:300]}") from error


def _check_loaded(folder: Path, network: nn.Module, info: Mapping[str, Any]) -> None:
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(str(key) for key in info.get(problem, ())):
            raise ValueError(
                f"the weights in {printable(folder)} do not fit their config.json: {len(keys)}"
                f" {problem.replace('_', ' ')}, first {printable(', '.join(keys[:5]))}"
            )
    _check_finite(folder, network)


def _check_finite(folder: Path, network: nn.Module) -> None:
    bad = [name for name, tensor in network.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise ValueError(f"{printable(folder)}: {len(bad)} tensors hold NaN or infinity, first {', '.join(bad[:5])}")
