"""What the options of ``train`` become: the recipe's settings with the user's in their place.

Imported by the commands when they run: it imports torch, diffusers and transformers.
"""

import json
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import Any, Literal, TypeVar

from latentloom.cli.options import parsed_weights
from latentloom.cli.training_options import Recipe, TrainingOptions
from latentloom.precision import preferred_dtype
from latentloom.recipes import driving, text, tiny
from latentloom.stack_folder import UPSCALER, StackFolder
from latentloom.stages.interpolation import FACTOR
from latentloom.stages.request import MAX_FPS, MAX_FRAMES, check_count, check_number
from latentloom.training.autoencoder import AutoencoderTraining
from latentloom.training.decoder import DecoderTraining
from latentloom.training.image import ImageTraining
from latentloom.training.scenes import SceneTraining
from latentloom.training.temporal import TemporalTraining
from latentloom.training.upsampler import UpsamplerTraining

TemporalStage = Literal["keyframes", "prediction", "interpolation"]
LORA_SPEED = 100  # adapters begin as nothing: diffusers' DreamBooth trains them at 1e-4, whole networks at 1e-6
Config = TypeVar(
    "Config",
    AutoencoderTraining,
    SceneTraining,
    DecoderTraining,
    ImageTraining,
    TemporalTraining,
    UpsamplerTraining,
)


def autoencoder_config(options: TrainingOptions, *, decoder_only: bool) -> AutoencoderTraining:
    """The recipe's settings with the user's in their place."""
    if options.recipe is Recipe.TINY:
        config = tiny.autoencoder()
        config = replace(config, adversarial_start=0, train_encoder=False) if decoder_only else config
    else:
        config = driving.decoder_texture() if decoder_only else driving.autoencoder()
    return changed(config, options)


def recipe_of(options: TrainingOptions, source: str | None) -> Any:
    """The module of settings: the one asked for, else that of the model ``source``, else of the embedded stack."""
    if options.recipe is not None:
        return {Recipe.DRIVING: driving, Recipe.TEXT: text, Recipe.TINY: tiny}[options.recipe]
    folder = None if source is None else _folder(source)
    return driving if folder is None else recipe_for(folder)


def has_upscaler(source: str) -> bool:
    """Whether a stack's upsampler is Stable Diffusion's."""
    folder = _folder(source)
    return folder is not None and UPSCALER["unet"] in folder.members


def _folder(source: str) -> StackFolder | None:
    """The stack's folder; None where it cannot be opened: whoever trains opens it again and says why."""
    try:
        return StackFolder.open(source)
    except ValueError:
        return None


def recipe_for(folder: StackFolder) -> Any:
    """The module of settings for a model: ``text`` for one that reads any word, as Stable Diffusion does."""
    return text if folder.open_vocabulary else driving


def image_config(options: TrainingOptions, source: str | None) -> ImageTraining:
    """The recipe's settings with the user's in their place."""
    return changed(recipe_of(options, source).image(), options)


def dreambooth_config(options: TrainingOptions, source: str, *, lora_rank: int | None = None) -> ImageTraining:
    """The recipe's settings with the user's in their place.

    Raises:
        ValueError: as ``changed``; a LoRA of rank 0, or without the package that trains it.
    """
    config: ImageTraining = recipe_of(options, source).dreambooth()
    if lora_rank is not None:
        check_count("lora", lora_rank, 1024)
        if find_spec("peft") is None:
            raise ValueError("--lora needs the package peft: pip install 'latentloom[train]'")
        faster = replace(config.optimizer, kind="adamw", learning_rate=LORA_SPEED * config.optimizer.learning_rate)
        config = replace(config, lora_rank=lora_rank, optimizer=faster)
    return changed(config, options)


def temporal_config(
    options: TrainingOptions,
    stage: TemporalStage,
    source: str,
    *,
    num_frames: int | None,
    fps: float | None,
    gradient_checkpointing: bool,
    fine_fps: float | None = None,
) -> TemporalTraining:
    """The settings of the recipe for a set of temporal layers, with the user's in their place."""
    recipe = recipe_of(options, source)
    recipes = {"keyframes": recipe.temporal, "prediction": recipe.prediction, "interpolation": recipe.interpolation}
    config: TemporalTraining = replace(recipes[stage](), gradient_checkpointing=gradient_checkpointing)
    config = replace(config, **_given({"num_frames": num_frames, "fps": fps, "fine_fps": fine_fps}))
    check_count("frames", config.num_frames, MAX_FRAMES)
    if stage == "interpolation" and (config.num_frames % FACTOR != 1 or config.num_frames == 1):
        raise ValueError(f"frames is {config.num_frames}: interpolation needs 4 n + 1 frames a clip, such as 13 or 17")
    for rate in config.rates:
        check_number("fps", rate, 1e-3, MAX_FPS)
    return changed(config, options)


def decoder_config(options: TrainingOptions, source: str, **own: Any) -> DecoderTraining:
    """The recipe's settings with the user's in their place; of ``own`` those that are not None."""
    config: DecoderTraining = replace(recipe_of(options, source).decoder(), **_given(own))
    check_count("frames", config.num_frames, MAX_FRAMES)
    check_number("fps", config.fps, 1e-3, MAX_FPS)
    return changed(config, options)


def upsampler_config(
    options: TrainingOptions, upscaler: str | None, *, temporal: bool, **own: Any
) -> UpsamplerTraining:
    """The recipe's settings with the user's in their place; of ``own`` those that are not None.

    Args:
        upscaler: the Stable Diffusion whose upsampler is trained, where it is one.
    """
    recipe = recipe_of(options, upscaler)
    config: UpsamplerTraining = driving.upsampler(temporal=temporal) if recipe is driving else recipe.upsampler()
    config = replace(config, **_given(own))
    check_count("frames", config.num_frames, MAX_FRAMES)
    return changed(config, options)


def scenes_config(options: TrainingOptions) -> SceneTraining:
    """The recipe's settings with the user's in their place."""
    return changed(tiny.scenes() if options.recipe is Recipe.TINY else driving.scenes(), options)


def changed(config: Config, options: TrainingOptions) -> Config:
    """``config`` with every option that was given in its place.

    Raises:
        ValueError: a number out of range, weights not of the form NAME=FRACTION, or TensorBoard is not installed.
    """
    _check_numbers(options)
    preferred_dtype(name=options.dtype)
    if options.report_to and find_spec("tensorboard") is None:
        raise ValueError("--report-to tensorboard needs the package tensorboard: pip install 'latentloom[train]'")
    loop: dict[str, Any] = {
        "accumulation": options.accumulation,
        "seed": options.seed,
        "workers": options.workers,
        "checkpoint_minutes": options.checkpoint_minutes,
        "tensorboard": options.report_to is not None,
        "steps": options.steps,
        "batch_size": options.batch_size,
        "preview_steps": options.preview_steps,
        "dtype": None if options.dtype == "auto" else options.dtype,
    }
    optimizer: dict[str, Any] = {
        "kind": options.optimizer and options.optimizer.value,
        "learning_rate": options.learning_rate,
        "muon_learning_rate": options.muon_learning_rate,
    }
    return replace(
        config,
        loop=replace(config.loop, **_given(loop)),
        optimizer=replace(config.optimizer, **_given(optimizer)),
        source_weights=parsed_weights(options.weight or ()) or config.source_weights,
    )


def shown(config: Config, options: TrainingOptions) -> bool:
    """Print the settings where a dry run was asked for, and whether it was."""
    if options.dry_run:
        print(json.dumps(asdict(config), indent=2))
    return options.dry_run


def _check_numbers(options: TrainingOptions) -> None:
    for name in ("steps", "batch_size", "accumulation"):
        if getattr(options, name) is not None:
            check_count(name, getattr(options, name), 10**9)
    check_number("seed", options.seed, 0, 2**63 - 1)
    check_number("workers", options.workers, 0, 1024)
    check_number("checkpoint_minutes", options.checkpoint_minutes, 0.0, 1e6)
    check_number("preview_steps", options.preview_steps or 0, 0, 10**9)
    for name in ("learning_rate", "muon_learning_rate"):
        if getattr(options, name) is not None:
            check_number(name, getattr(options, name), 0.0, 100.0)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
