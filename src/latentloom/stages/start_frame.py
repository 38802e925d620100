"""The first stage: one image from text, or from text and a scene, with the image LDM alone (paper, Sec. 3.2 and 4.1).

The prediction stage starts from it; it is also the picture the image LDM was trained for.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from latentloom.align import TemporalLayers, attach
from latentloom.conditions import Conditions
from latentloom.diffusion.sampler import StepCallback
from latentloom.models.scenes import SceneEncoder
from latentloom.scenes import SceneTensors
from latentloom.shapes import fold_frames, unfold_frames
from latentloom.stages.request import MAX_GUIDANCE, ClipRequest, check_number
from latentloom.stages.sampling import SceneTokens, VideoModel, sample_clip


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneConditions:
    """A scene, the encoder that turns it into tokens, and the layers on the image UNet that attend to these.

    ``scale`` is the guidance from a scene of which nothing is told to this one, 0 to 100; 1 is plain.
    """

    scene: SceneTensors
    encoder: SceneEncoder
    layers: TemporalLayers
    scale: float = 2.0

    def __post_init__(self) -> None:
        check_number("scene_guidance", self.scale, 0.0, MAX_GUIDANCE)

    def tokens(self) -> SceneTokens:
        """The scene and one of which nothing is told, on the encoder's device."""
        scenes = self.scene.batch(self.encoder.device)
        return SceneTokens(asked=self.encoder(scenes), untold=self.encoder(scenes.untold()), scale=self.scale)


def generate_start_frame(
    model: VideoModel,
    request: ClipRequest,
    *,
    scene: SceneConditions | None = None,
    generator: torch.Generator | None = None,
    callback_on_step_end: StepCallback | None = None,
) -> Float[Tensor, "1 1 c h w"]:
    """Latents of one image, whatever number of frames the request has; ``decode_frames`` shows it.

    Args:
        scene: what the image should hold (paper, Sec. 4.1); None is the image model alone.
        callback_on_step_end: called with (step, timestep, latents); may return replacement latents; raising cancels.

    Raises:
        ValueError: a size the model cannot make.
    """

    if scene is not None:
        return _with_scene(model, request.of_length(1), scene, generator, callback_on_step_end)

    def image_model(latents: Tensor, timestep: Tensor, conditions: Conditions) -> Tensor:
        images = model.unet(fold_frames(latents), timestep, encoder_hidden_states=conditions.text).sample
        return unfold_frames(images, 1)

    return sample_clip(model, image_model, request.of_length(1), generator=generator, callback=callback_on_step_end)


@torch.no_grad()
def _with_scene(
    model: VideoModel,
    request: ClipRequest,
    scene: SceneConditions,
    generator: torch.Generator | None,
    callback: StepCallback | None,
) -> Tensor:
    model.bring(scene.encoder)
    tokens = scene.tokens()
    video = attach(model.unet, scene.layers)
    options: dict[str, Any] = {"generator": generator, "callback": callback, "works": video}
    try:
        return sample_clip(model, video.predict, request, scene=tokens, **options)
    finally:
        video.detach()
