"""A tiny pipeline with every temporal member, as diffusers' users call it."""

from pathlib import Path
from typing import TypeVar

import torch
from diffusers import DiffusionPipeline
from tests.small_networks import awake
from tests.tiny import tiny_stack

from latentloom.align import TemporalLayers
from latentloom.layers.layer_set import LayerSet

STEPS = 3  # of the tiny stack
Pipeline = TypeVar("Pipeline", bound=DiffusionPipeline)


def saved_video_stack(path: Path) -> Path:
    """A stack whose decoder has temporal layers too, and whose key frames prediction makes."""
    stack = tiny_stack(layer_set=LayerSet.text().with_context(), sets=("prediction",))
    decoder = awake(TemporalLayers.for_network(stack.vae, LayerSet.decoder()).eval(), seed=3)
    stack.replace(decoder_temporal=decoder).save(path)
    return path


def quiet(pipeline: Pipeline) -> Pipeline:
    """The same, without progress bars."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def call(pipeline, prompt="a road", output_type="latent", **options):
    """The frames of a call, from the same noise each time."""
    generator = torch.Generator().manual_seed(0)
    return pipeline(prompt, output_type=output_type, **({"generator": generator} | options)).frames
