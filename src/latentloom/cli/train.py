"""``latentloom train STAGE``: one stage of training each, into a run folder.

The same command continues a killed run with the same bits. What the options become is in ``training_runs``.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from latentloom.cli.options import check_output_folder, use_threads
from latentloom.cli.shared_options import takes
from latentloom.cli.training_options import TrainingOptions

app = typer.Typer(help="Train one stage; the same command continues a killed run.", no_args_is_help=True)


class DiscriminatorKind(StrEnum):
    """What the decoder's layers are judged by."""

    VIDEO = "video"
    FRAME = "frame"


class NewLayers(StrEnum):
    """The set of temporal layers that a stack without any begins with."""

    DRIVING = "driving"
    TEXT = "text"


class Given(StrEnum):
    """How given frames enter."""

    FRAMES = "frames"
    MAPS = "maps"


GivenOption = Annotated[
    Given | None,
    typer.Option(help="New layers see given frames in their input and as maps, or as the paper's maps alone."),
]
DatasetFolder = Annotated[Path, typer.Argument(help="A dataset folder of `latentloom prepare`.")]
Run = Annotated[Path, typer.Option("-o", "--output", help="The run folder to begin or to continue.")]


@app.command("autoencoder")
@takes(TrainingOptions)
def autoencoder(
    dataset: DatasetFolder,
    output: Run,
    options: TrainingOptions,
    start: Annotated[str | None, typer.Option("--from", help="An autoencoder, run or stack to train further.")] = None,
    decoder_only: Annotated[bool, typer.Option("--decoder-only", help="Sharpen the decoder of --from.")] = False,
) -> None:
    """Train the image autoencoder; RUN/final is the result, a diffusers folder."""
    check_output_folder(output)
    if decoder_only and start is None:
        raise ValueError("--decoder-only sharpens an existing autoencoder: name it with --from")
    use_threads(options.threads)
    from latentloom.cli import training_runs, training_settings

    config = training_settings.autoencoder_config(options, decoder_only=decoder_only)
    if not training_settings.shown(config, options):
        training_runs.run_autoencoder(config, dataset, output, start)


@app.command("image")
@takes(TrainingOptions)
def image(
    dataset: DatasetFolder,
    output: Run,
    options: TrainingOptions,
    autoencoder: Annotated[str | None, typer.Option(help="An autoencoder, run or stack; stays frozen.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="A stack to train further; on --autoencoder.")] = None,
) -> None:
    """Train the image LDM on single frames; RUN/stack is the result, a model folder.

    With --from and --autoencoder together the model moves to the latents of that autoencoder.
    """
    check_output_folder(output)
    if autoencoder is None and start is None:
        raise ValueError("give --autoencoder, to begin a new image model, or --from, to train one further, or both")
    use_threads(options.threads)
    from latentloom.cli import training_runs, training_settings

    config = training_settings.image_config(options, start)
    if not training_settings.shown(config, options):
        training_runs.run_image(config, dataset, output, autoencoder=autoencoder, start=start)


@app.command("dreambooth")
@takes(TrainingOptions)
def dreambooth(
    photos: Annotated[Path, typer.Argument(help="A folder of three to ten pictures of one subject.")],
    output: Run,
    options: TrainingOptions,
    stack: Annotated[str, typer.Option("--stack", help="A model folder or the name of an embedded stack.")],
    prompt: Annotated[str, typer.Option(help='Names the subject by a word of its own: "a photo of a sks toy".')],
    class_prompt: Annotated[str, typer.Option(help='Names its kind: "a photo of a toy".')],
    class_images: Annotated[int, typer.Option(help="Pictures of its kind that the model makes and keeps.")] = 64,
    lora: Annotated[
        int | None, typer.Option(help="Train a LoRA of this rank instead, a small file.", metavar="RANK")
    ] = None,
) -> None:
    """Teach the image model one subject, from a few photos; RUN/stack moves it with the temporal layers it has."""
    check_output_folder(output)
    use_threads(options.threads)
    from latentloom.cli import training_settings
    from latentloom.cli.dreambooth import run_dreambooth
    from latentloom.training.subject import Subject

    subject = Subject(photos=photos, prompt=prompt, class_prompt=class_prompt, class_images=class_images)
    config = training_settings.dreambooth_config(options, stack, lora_rank=lora)
    if not training_settings.shown(config, options):
        run_dreambooth(config, subject, output, stack)


Model = Annotated[str, typer.Option("--stack", help="A model folder or the name of an embedded stack; stays frozen.")]
Frames = Annotated[int | None, typer.Option("--frames", help="Frames per clip.", show_default="the recipe's")]
Fps = Annotated[float | None, typer.Option("--fps", help="About their rate.", show_default="the recipe's")]


@dataclass(frozen=True, kw_only=True)
class LayerOptions(TrainingOptions):
    """What trainings of temporal layers share beyond all trainings."""

    frames: Frames = None
    fps: Fps = None
    layers: Annotated[
        NewLayers | None,
        typer.Option(
            help="What a stack without layers begins with.", show_default="text for Stable Diffusion, else driving"
        ),
    ] = None
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more time: recompute instead of keeping.")
    ] = False


@app.command("temporal")
@takes(LayerOptions)
def temporal(dataset: DatasetFolder, output: Run, options: LayerOptions, stack: Model) -> None:
    """Train temporal layers on a frozen image model; RUN/final holds them, RUN/stack the whole model folder."""
    _train_layers("keyframes", dataset, output, options, stack)


@app.command("prediction")
@takes(LayerOptions)
def prediction(
    dataset: DatasetFolder,
    output: Run,
    options: LayerOptions,
    stack: Model,
    fine_fps: Annotated[float | None, typer.Option(help="Of further, faster clips.", show_default="none")] = None,
    given: GivenOption = None,
) -> None:
    """Train the layers that continue a clip from its first frames; they begin as those of the key frames.

    They follow steering and speed where the dataset has these labels.
    """
    _train_layers("prediction", dataset, output, options, stack, fine_fps, given)


@app.command("interpolation")
@takes(LayerOptions)
def interpolation(
    dataset: DatasetFolder,
    output: Run,
    options: LayerOptions,
    stack: Model,
    fine_fps: Annotated[float | None, typer.Option(help="Of the second pass.", show_default="the recipe's")] = None,
    given: GivenOption = None,
) -> None:
    """Train the layers that make three frames between each two, at two rates; they begin as those of the key frames."""
    _train_layers("interpolation", dataset, output, options, stack, fine_fps, given)


@app.command("decoder")
@takes(TrainingOptions)
def decoder(
    dataset: DatasetFolder,
    output: Run,
    options: TrainingOptions,
    stack: Model,
    frames: Frames = None,
    fps: Fps = None,
    discriminator: Annotated[
        DiscriminatorKind, typer.Option(help="3D convolutions, or an image discriminator.")
    ] = DiscriminatorKind.VIDEO,
    adversarial_start: Annotated[
        int | None, typer.Option(help="The step it joins at.", show_default="the recipe's")
    ] = None,
) -> None:
    """Train temporal layers in the decoder, against flicker; latents and every other weight stay as they are."""
    check_output_folder(output)
    use_threads(options.threads)
    from latentloom.cli import training_runs, training_settings

    config = training_settings.decoder_config(
        options,
        stack,
        num_frames=frames,
        fps=fps,
        discriminator=discriminator.value,
        adversarial_start=adversarial_start,
    )
    if not training_settings.shown(config, options):
        training_runs.run_decoder(config, dataset, output, stack)


@app.command("upsampler")
@takes(TrainingOptions)
def upsampler(
    dataset: DatasetFolder,
    output: Run,
    options: TrainingOptions,
    stack: Model,
    temporal: Annotated[
        bool, typer.Option("--temporal", help="Temporal layers on the stack's upsampler, which stays as it is.")
    ] = False,
    factor: Annotated[int | None, typer.Option(help="2 or 4, of a new one.", show_default="the recipe's")] = None,
    upsampler: Annotated[
        str | None,
        typer.Option(help="Another model's, such as Stable Diffusion's x4 upscaler.", show_default="the stack's"),
    ] = None,
    frames: Frames = None,
    fps: Fps = None,
) -> None:
    """Train the pixel upsampler on frames of the large size, then, with --temporal, its temporal layers on clips.

    Prepare the dataset at the large size, such as 512x1024."""
    check_output_folder(output)
    use_threads(options.threads)
    from latentloom.cli import training_runs, training_settings

    latent = upsampler or (stack if training_settings.has_upscaler(stack) else None)
    config = training_settings.upsampler_config(
        options, latent, temporal=temporal, factor=factor, num_frames=frames, fps=fps
    )
    if not training_settings.shown(config, options):
        training_runs.run_upsampler(
            config, dataset, output, stack, temporal=temporal, factor=factor, upscaler=upsampler
        )


@app.command("boxes")
@takes(TrainingOptions)
def boxes(dataset: DatasetFolder, output: Run, options: TrainingOptions, stack: Model) -> None:
    """Train boxes, light and traffic of the start frame, on frames whose boxes the dataset knows (boxes/<id>.json)."""
    check_output_folder(output)
    use_threads(options.threads)
    from latentloom.cli import training_runs, training_settings

    config = training_settings.scenes_config(options)
    if not training_settings.shown(config, options):
        training_runs.run_scenes(config, dataset, output, stack)


def _train_layers(
    stage: Literal["keyframes", "prediction", "interpolation"],
    dataset: Path,
    output: Path,
    options: LayerOptions,
    stack: str,
    fine_fps: float | None = None,
    given: Given | None = None,
) -> None:
    check_output_folder(output)
    use_threads(options.threads)
    from latentloom.cli import training_runs, training_settings

    config = training_settings.temporal_config(
        options,
        stage,
        stack,
        num_frames=options.frames,
        fps=options.fps,
        fine_fps=fine_fps,
        gradient_checkpointing=options.gradient_checkpointing,
    )
    if not training_settings.shown(config, options):
        text = None if options.layers is None else options.layers == NewLayers.TEXT
        maps_alone = None if given is None else given == Given.MAPS
        training_runs.run_temporal(config, dataset, output, stack, stage, text=text, maps_alone=maps_alone)
