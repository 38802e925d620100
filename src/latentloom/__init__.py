"""latentloom: temporal layers woven into a frozen image diffusion model make a video model (Align your Latents, 2023).

The public names; each is imported when first used, because torch, diffusers and transformers take seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusers.models.modeling_utils import ModelMixin

    from latentloom.align import Aligned, TemporalLayers, attach, check_transfer
    from latentloom.layers.layer_set import LayerSet
    from latentloom.models.autoencoder import VideoAutoencoder
    from latentloom.pipeline import VideoLDMPipeline
    from latentloom.stack import Stack, StackInfo
    from latentloom.stages.decoding import decode_frames
    from latentloom.stages.interpolation import interpolate_frames
    from latentloom.stages.keyframes import generate_keyframes
    from latentloom.stages.prediction import predict_frames, roll_out
    from latentloom.stages.request import ClipRequest
    from latentloom.stages.start_frame import generate_start_frame

_HOMES = {
    "Aligned": "latentloom.align",
    "ClipRequest": "latentloom.stages.request",
    "LayerSet": "latentloom.layers.layer_set",
    # DiffusionPipeline looks for the base class of our members in the library they come from
    "ModelMixin": "diffusers.models.modeling_utils",
    "Stack": "latentloom.stack",
    "StackInfo": "latentloom.stack",
    "TemporalLayers": "latentloom.align",
    "VideoAutoencoder": "latentloom.models.autoencoder",
    "VideoLDMPipeline": "latentloom.pipeline",
    "attach": "latentloom.align",
    "check_transfer": "latentloom.align",
    "decode_frames": "latentloom.stages.decoding",
    "generate_keyframes": "latentloom.stages.keyframes",
    "generate_start_frame": "latentloom.stages.start_frame",
    "interpolate_frames": "latentloom.stages.interpolation",
    "predict_frames": "latentloom.stages.prediction",
    "roll_out": "latentloom.stages.prediction",
}

__all__ = [
    "Aligned",
    "ClipRequest",
    "LayerSet",
    "ModelMixin",
    "Stack",
    "StackInfo",
    "TemporalLayers",
    "VideoAutoencoder",
    "VideoLDMPipeline",
    "attach",
    "check_transfer",
    "decode_frames",
    "generate_keyframes",
    "generate_start_frame",
    "interpolate_frames",
    "predict_frames",
    "roll_out",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
