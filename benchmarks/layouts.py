"""The networks of the full-size benchmarks in two sizes: the paper's text-to-video stack, and a tiny one.

The tiny one differs in widths, depth, sizes and steps only: it shows on any CPU that a script runs.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from latentloom.recipes import text
from latentloom.stages.cascade import CascadeRequest


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Configurations of the networks and what they are called on.

    Attributes:
        svd: what of diffusers' ``UNetSpatioTemporalConditionModel`` differs from its defaults.
        video: the whole video; its clip states the size of frames before upsampling.
        trained_frames: of a training clip, and of the evaluation that quality goals speak of.
        portion: frames that are enlarged at once.
    """

    unet: dict[str, Any] = field(default_factory=text.stable_diffusion_2_1)
    autoencoder: dict[str, Any] = field(default_factory=text.autoencoder)
    upscaler: dict[str, Any] = field(default_factory=text.upscaler)
    upscaler_autoencoder: dict[str, Any] = field(default_factory=text.upscaler_autoencoder)
    svd: dict[str, Any] = field(default_factory=dict)
    video: CascadeRequest = field(default_factory=text.video)
    trained_frames: int = text.TRAINED_FRAMES
    portion: int = text.UPSAMPLED_AT_ONCE

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of frames before upsampling."""
        return self.video.clip.height, self.video.clip.width

    @property
    def latent_size(self) -> tuple[int, int]:
        """Of these frames, at f = 8."""
        height, width = self.size
        return height // 8, width // 8

    @property
    def text_width(self) -> int:
        """Of the text's states."""
        return self.unet["cross_attention_dim"]


def _tiny() -> Layout:
    narrow = {"block_out_channels": (32, 32, 64, 64), "cross_attention_dim": 32, "layers_per_block": 1}
    full = text.video()
    return Layout(
        unet={**text.stable_diffusion_2_1(), **narrow, "attention_head_dim": (1, 1, 2, 2)},
        autoencoder={**text.autoencoder(), "block_out_channels": (32,) * 4, "layers_per_block": 1},
        upscaler={**text.upscaler(), **narrow, "attention_head_dim": 2},
        upscaler_autoencoder={**text.upscaler_autoencoder(), "block_out_channels": (32,) * 3, "layers_per_block": 1},
        svd={**narrow, "num_attention_heads": (1, 1, 2, 2)},
        video=replace(full, clip=replace(full.clip, height=64, width=64, num_inference_steps=2), num_frames=9),
        trained_frames=3,
        portion=4,
    )


LAYOUTS = {"full": Layout(), "tiny": _tiny()}
