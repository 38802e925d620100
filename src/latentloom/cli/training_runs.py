"""Trainings as commands: networks to begin with, a run with progress, and a model folder.

Imported by the commands when they run: it imports torch, diffusers and transformers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from latentloom.adapted import image_model
from latentloom.align import TemporalLayers, check_transfer
from latentloom.cli.progress import progress
from latentloom.cli.training_settings import TemporalStage
from latentloom.data.clips import clip_windows
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset
from latentloom.layers.context import ContextSpec
from latentloom.layers.layer_set import LayerSet
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.loading import load_vae
from latentloom.models.scenes import SceneEncoder
from latentloom.models.upsampler import PixelUpsampler
from latentloom.models.weights import DIFFUSERS
from latentloom.scenes import LABELS
from latentloom.stack import Stack
from latentloom.stack_folder import DECODER, TEMPORAL, UPSAMPLER, UPSAMPLER_LAYERS, StackFolder, StackInfo, StageInfo
from latentloom.training.autoencoder import AutoencoderTraining, train_autoencoder
from latentloom.training.decoder import DecoderTraining, train_decoder
from latentloom.training.image import ImageTraining, fill_cache, train_image
from latentloom.training.loop import Progress, Stopped
from latentloom.training.scenes import SceneTraining, train_scenes
from latentloom.training.temporal import TemporalTraining, train_temporal
from latentloom.training.upsampler import UpsamplerTraining, train_upsampler

MOTION: dict[TemporalStage, int] = {"keyframes": 0, "prediction": 48, "interpolation": 0}  # width (`ContextSpec`)
GUIDANCE, SAMPLING_STEPS = 2.0, 25  # of stacks trained from nothing: what drive-small's trial found (docs/log.md)


def run_autoencoder(config: AutoencoderTraining, dataset: Path, output: Path, start: str | None) -> None:
    """Train an autoencoder, from nothing or from another one."""
    prepared = Dataset.load(dataset)
    vae = None if start is None else load_vae(autoencoder_folder(start), torch.float32)
    with training_progress("autoencoder") as report:
        train_autoencoder(config, prepared, output, vae=vae, report=report)
    print(f"done: {output / 'final'}")


def run_image(
    config: ImageTraining, dataset: Path, output: Path, *, autoencoder: str | None, start: str | None
) -> None:
    """Train an image model, new for an autoencoder or a stack's own further; write RUN/stack.

    Raises:
        ValueError: ``start`` denoises latents of another shape than ``autoencoder`` makes, or a file is refused.
    """
    prepared = Dataset.load(dataset)
    vae = None if autoencoder is None else load_vae(autoencoder_folder(autoencoder), torch.float32)
    if start is None:
        assert vae is not None
        stack, begin = Stack(image_info(output, prepared), vae=vae), {"vae": vae}
    else:
        stack = Stack.load(start)
        if vae is not None:
            check_same_latents(stack.vae, vae)
            if DECODER in stack.members:
                print("left out: the temporal layers of the decoder before; train new ones with `train decoder`")
            stack = stack.without(DECODER).replace(vae=vae)
        tell_what_stays(stack)
        begin: dict[str, Any] = {"model": image_model(stack)}
    cache = cached_latents(prepared, stack.vae)
    with training_progress("image") as report:
        model = train_image(config, prepared, cache, output, **begin, report=report)
    stack = stack.replace(replace(stack.info, size=prepared.size))
    members = {"unet": model.unet, "text_encoder": model.text_encoder}
    if start is None:
        members |= {"tokenizer": model.tokenizer, "scheduler": model.scheduler}
    save_once(stack.replace(**members), output / "stack")
    print(f"done: {output / 'stack'}")


def image_info(output: Path, dataset: Dataset) -> StackInfo:
    """The facts of a new image model at the size of its frames."""
    return StackInfo(
        name=output.resolve().name,
        size=dataset.size,
        num_frames=1,
        fps=1.0,
        guidance_scale=GUIDANCE,
        num_inference_steps=SAMPLING_STEPS,
        note="An image model; `latentloom train temporal` makes it a video model.",
    )


def tell_what_stays(stack: Stack, *trained: str) -> None:
    """Name the layers that stay on an image model which is trained further, but for those ``trained`` then.

    They may well fit (paper, Sec. 4.2.1), on the latents of another autoencoder hardly; further training begins there.
    """
    kept = [name for name in stack.members if name.startswith((f"{TEMPORAL}/", "scene/")) and name not in trained]
    if kept:
        print(f"stay as they are, made for the image model before: {', '.join(kept)}; train them further")


def check_same_latents(known: AutoencoderKL, other: AutoencoderKL) -> None:
    """That a denoiser of ``known``'s latents can take ``other``'s.

    Raises:
        ValueError: another number of channels or another factor.
    """
    shapes = [(vae.config["latent_channels"], VideoAutoencoder(vae).factor) for vae in (known, other)]
    if shapes[0] != shapes[1]:
        (channels, factor), (new_channels, new_factor) = shapes
        raise ValueError(
            f"the model denoises latents of {channels} channels at 1/{factor} of the pixels, the autoencoder makes"
            f" {new_channels} at 1/{new_factor}; begin a new model with --autoencoder alone"
        )


def run_temporal(
    config: TemporalTraining,
    dataset: Path,
    output: Path,
    source: str,
    stage: TemporalStage,
    *,
    text: bool | None,
    maps_alone: bool | None = None,
) -> None:
    """Train one set of temporal layers, the stack's own further or new ones; write RUN/stack.

    Args:
        text: whether new layers read it; None is as the model does (``new_layers``).

    Raises:
        ValueError: ``maps_alone`` (``ContextSpec``) is not how the stack's own layers of the stage take given frames.
    """
    prepared = Dataset.load(dataset)
    for rate in config.rates:
        clip_windows(prepared, config.num_frames, rate)  # refuses clips that are too short before any work
    folder = StackFolder.open(source)
    stack, layer_set = Stack.load(folder), new_layers(folder, text)
    context = ContextSpec(own_step=False, first_guess=0) if maps_alone else ContextSpec(motion=MOTION[stage])
    layers = starting_layers(stack, stage, layer_set, config.loop.seed, context)
    own = layers.layer_set.context
    if maps_alone is not None and (own is None or replace(own, motion=context.motion) != context):
        raise ValueError(f"the {stage} layers of {source} take given frames in another way; leave --given out")
    cache = cached_latents(prepared, stack.vae)
    with training_progress("temporal" if stage == "keyframes" else stage) as report:
        layers = train_temporal(config, layers, image_model(stack), prepared, cache, output, report=report)
    info = replace(stack.info, name=output.resolve().name, size=prepared.size)
    if stage == "keyframes":
        info = replace(info, num_frames=config.num_frames, fps=config.fps)
    else:
        info = replace(info, stages={**info.stages, stage: stage_info(stage, config)})
    save_once(stack.replace(info, temporal={stage: layers}), output / "stack")
    print(f"done: {output / 'stack'}")


def new_layers(folder: StackFolder, text: bool | None = None) -> LayerSet:
    """The set of layers that a model begins with: the paper's where it reads any word, else the small one."""
    return LayerSet.text() if text or (text is None and folder.open_vocabulary) else LayerSet.driving()


def stage_info(stage: TemporalStage, config: TemporalTraining) -> StageInfo:
    """What layers with given frames are sampled with: a quarter of the noise on the frames that they saw at most.

    Between given frames the text has nothing to decide: without guidance.
    """
    noise = config.given.most_noise // 4 if config.given is not None else 0
    guidance = 1.0 if stage == "interpolation" else None
    return StageInfo(num_frames=config.num_frames, fps=config.rates, context_noise=noise, guidance_scale=guidance)


def run_decoder(config: DecoderTraining, dataset: Path, output: Path, source: str) -> None:
    """Train the temporal layers of a stack's decoder, its own further or new ones; write RUN/stack."""
    prepared = Dataset.load(dataset)
    stack = Stack.load(source)
    layers = stack.autoencoder.decoder_layers
    if layers is None:
        torch.manual_seed(config.loop.seed)
        layers = TemporalLayers.for_network(stack.vae, LayerSet.decoder())
    cache = cached_latents(prepared, stack.vae)
    with training_progress("decoder") as report:
        layers = train_decoder(config, layers, stack.vae, prepared, cache, output, report=report)
    info = replace(stack.info, name=output.resolve().name)
    save_once(stack.replace(info, decoder_temporal=layers), output / "stack")
    print(f"done: {output / 'stack'}")


def run_upsampler(
    config: UpsamplerTraining,
    dataset: Path,
    output: Path,
    source: str,
    *,
    temporal: bool,
    factor: int | None,
    upscaler: str | None,
) -> None:
    """Train a stack's upsampler, its own further or a new one, or temporal layers on it; write RUN/stack.

    Args:
        upscaler: a model whose upsampler the stack gets first, such as Stable Diffusion's.

    Raises:
        ValueError: temporal layers for a stack without an upsampler, or another ``factor`` than its upsampler's.
    """
    prepared, stack = Dataset.load(dataset), Stack.load(source)
    if upscaler is not None:
        stack = stack.with_upsampler_of(Stack.load(upscaler))
    known = stack.upsampler if stack.has_upsampler or temporal else None
    if known is not None:
        config = replace(config, factor=factor or known.factor)
    if isinstance(known, PixelUpsampler):
        config = replace(config, widths=tuple(known.config["widths"]))
    layers = None
    if temporal and known is not None:
        torch.manual_seed(config.loop.seed)
        layers = stack.upsampler_layers or TemporalLayers.for_network(known.unet, known.layer_set)
    with training_progress("upsampler") as report:
        trained = train_upsampler(config, prepared, output, upsampler=known, layers=layers, report=report)
    info = replace(stack.info, name=output.resolve().name)
    if not temporal and UPSAMPLER_LAYERS in stack.members:
        print("left out: the upsampler's temporal layers, which were trained on what it was before")
        stack = stack.without(UPSAMPLER_LAYERS)
    member = {UPSAMPLER_LAYERS if temporal else UPSAMPLER: trained}
    save_once(stack.replace(info, **member), output / "stack")
    print(f"done: {output / 'stack'}")


def run_scenes(config: SceneTraining, dataset: Path, output: Path, source: str) -> None:
    """Train a stack's scene conditioning, its own further or a new one; write RUN/stack."""
    prepared, stack = Dataset.load(dataset), Stack.load(source)
    torch.manual_seed(config.loop.seed)
    width = stack.unet.config["cross_attention_dim"]
    encoder, layers = stack.scene or (
        SceneEncoder(width, len(LABELS)),
        TemporalLayers.for_network(stack.unet, LayerSet.scene(width=width)),
    )
    cache = cached_latents(prepared, stack.vae)
    with training_progress("scenes") as report:
        train_scenes(config, encoder, layers, image_model(stack), prepared, cache, output, report=report)
    info = replace(stack.info, name=output.resolve().name)
    save_once(stack.replace(info, scene=(encoder, layers)), output / "stack")
    print(f"done: {output / 'stack'}")


def starting_layers(
    stack: Stack, stage: TemporalStage, layer_set: LayerSet, seed: int, context: ContextSpec | None = None
) -> TemporalLayers:
    """The stack's own layers of a stage; else those of its key frames, told of given frames; else new ones.

    Args:
        layer_set: of new layers.
        context: how given frames enter layers that took none before; None is as usual.
        seed: new tensors are drawn from it.
    """
    torch.manual_seed(seed)
    if f"temporal/{stage}" in stack.members or (stage == "keyframes" and stack.keyframe_set is not None):
        layers = with_movement(stack.temporal_layers(stage), stack, context)
    elif stage == "keyframes":
        layers = TemporalLayers.for_network(stack.unet, layer_set)
    elif (known := stack.keyframe_layers) is None:
        layers = TemporalLayers.for_network(stack.unet, layer_set.with_context(context))
    else:
        layers = known.extended(stack.unet, known.layer_set.with_context(context))
    check_transfer(layers, stack.unet)
    return layers


def with_movement(layers: TemporalLayers, stack: Stack, context: ContextSpec | None) -> TemporalLayers:
    """The layers, with a first guess that moves where ``context`` asks for one and theirs stands still."""
    own = layers.layer_set.context
    if context is None or own is None or not context.motion or not own.first_guess or own.motion:
        return layers
    moving = replace(layers.layer_set, context=replace(own, motion=context.motion))
    return layers.extended(stack.unet, moving)


def autoencoder_folder(source: str) -> Path:
    """The folder of the autoencoder in a run (``final``), a stack (``vae``), or itself.

    Raises:
        ValueError: there is none.
    """
    for folder in (Path(source) / "final", Path(source) / "vae", Path(source)):
        if any(folder.glob(f"{DIFFUSERS}*.safetensors")):
            return folder
    raise ValueError(
        f"{source} holds no autoencoder: expected a folder with {DIFFUSERS}.safetensors, a finished run of"
        " `latentloom train autoencoder`, or a stack"
    )


def cached_latents(dataset: Dataset, vae: AutoencoderKL) -> LatentCache:
    """The latents of every frame, encoded now where they are missing, with progress."""
    with progress("latents") as advance:
        return fill_cache(dataset, vae.requires_grad_(False), advance)


@contextmanager
def training_progress(title: str) -> Iterator[Callable[[Progress], None]]:
    """``progress`` for the reports of a training loop."""
    with progress(title) as advance:

        def report(state: Progress) -> None:
            note = f"loss {state.values['loss']:.4f}, {state.values['seconds']:.2f} s a step"
            advance(state.step, state.steps, note)

        try:
            yield report
        except Stopped:
            print(f"{title}: stopped and saved; the same command continues", flush=True)
            raise


def save_once(stack: Stack, folder: Path) -> None:
    """Write the model folder unless an earlier, equal run has; it is only ever there as a whole."""
    if not (folder / "stack.json").is_file():
        stack.save(folder)
