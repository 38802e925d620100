"""The small laboratory of the ablations and transfers: an image LDM of drives, and temporal layers trained on it.

Everything is the package's own: ``drive-small``'s autoencoder on frames of 64x128 (latents of 8x16), a small UNet
trained as an image model on them, temporal layers trained on that. What is trained once is read again afterwards. Not
here: how it is judged (``judging``), what is compared (``ablations``, ``transfer``).
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from runs.experiments import results
from runs.experiments.trials import Trials
from safetensors.torch import load_file
from torch import Tensor

from latentloom.align import TemporalLayers
from latentloom.backbones.unet import matmul_attention
from latentloom.data.clips import Window, clip_windows, spread
from latentloom.data.latents import LatentCache
from latentloom.data.manifest import Dataset, DatasetWriter
from latentloom.diffusion.objective import ObjectiveConfig
from latentloom.files import digest_of, save_tensors
from latentloom.layers.attention import TemporalTransformerSpec
from latentloom.layers.conv3d import TemporalResBlockSpec
from latentloom.layers.layer_set import FPS, LayerSet
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.image_ldm import DenoiserSpec, ImageLDM
from latentloom.stack import Stack
from latentloom.training.image import ImageTraining, fill_cache, new_image_model, train_image
from latentloom.training.loop import Loop, LoopConfig
from latentloom.training.optimizer import OptimizerConfig
from latentloom.training.run_folder import settings_of
from latentloom.training.temporal import TemporalTask, TemporalTraining

SOURCES = ("lake", "jungle", "highway", "world")
SHARES = {"lake": 0.35, "jungle": 0.15, "highway": 0.15, "world": 0.35}
ATTENTION = TemporalTransformerSpec(feed_forward_in=0, feed_forward_out=0, position=3, text=False)
CONVOLUTION = TemporalResBlockSpec()
BOTH = LayerSet(res_block=CONVOLUTION, transformer=ATTENTION, numbers=(FPS,))
"""The paper's design, of which one convolution and one attention have equally many parameters."""
OPTIMIZER = OptimizerConfig(muon_learning_rate=0.004)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large the laboratory is; ``larger`` and ``tiny`` are its twins.

    Attributes:
        pixels: height and width of frames.
        widths: of the image UNet.
        image_steps, layer_steps: of training; batches of ``images`` frames and of ``clips`` clips of ``num_frames``.
        times: diffusion steps at which the held-out loss is taken, of ``held_out`` windows of each source.
        made: clips made to be judged, in ``steps`` steps.
    """

    pixels: tuple[int, int] = (64, 128)
    widths: tuple[int, ...] = (48, 80, 112)
    norm_groups: int = 16
    image_steps: int = 300
    images: int = 16
    layer_steps: int = 120
    clips: int = 2
    num_frames: int = 8
    fps: float = 6.5
    times: tuple[int, ...] = (200, 400, 600, 800)
    held_out: int = 10
    made: int = 16
    steps: int = 8


TINY = Size(
    pixels=(32, 64),
    widths=(16, 32),
    norm_groups=4,
    image_steps=2,
    images=2,
    layer_steps=2,
    clips=1,
    num_frames=5,
    times=(500,),
    held_out=1,
    made=4,
    steps=2,
)
LARGER = Size(
    pixels=(128, 256),
    widths=(192, 384, 576),
    norm_groups=32,
    image_steps=100_000,
    images=256,
    layer_steps=50_000,
    clips=64,
    num_frames=16,
    held_out=64,
    made=2048,
    steps=50,
)
"""For one GPU of 80 GB and a day or two a variant; not run."""
SIZES = {"tiny": TINY, "small": Size(), "larger": LARGER}


@dataclass(frozen=True, kw_only=True, eq=False)
class Lab:
    """Frames of the laboratory's size with their latents, and the autoencoder that made these."""

    work: Path
    size: Size
    dataset: Dataset
    cache: LatentCache
    vae: AutoencoderKL

    @classmethod
    def open(cls, work: Path, clips: Path, size: Size) -> "Lab":
        """Shrink the frames of the dataset ``clips`` (made with runs/drive_small) and encode them, if not done yet."""
        dataset = shrunk(Dataset.load(clips), work / "frames", size.pixels)
        vae = Stack.load("drive-small", dtype=torch.float32).vae
        lab = cls(work=work, size=size, dataset=dataset, cache=fill_cache(dataset, vae), vae=vae)
        Trials(work=work, settings=lab.settings)  # image models and layers are of all experiments of a folder
        return lab

    @property
    def settings(self) -> dict[str, Any]:
        """What all figures depend on, beside variant and seed."""
        return {
            **asdict(self.size),
            "footage": digest_of(self.dataset.root / "manifest.jsonl"),
            "latents": self.cache.key,
        }

    # ---- training ----

    def image_training(self, seed: int, **changes: Any) -> ImageTraining:
        loop = LoopConfig(
            steps=self.size.image_steps, batch_size=self.size.images, seed=seed, ema_decay=0.995, decay_fraction=0.5
        )
        config = ImageTraining(
            loop=loop,
            spec=self.spec,
            text_width=64,
            optimizer=OPTIMIZER,
            objective=ObjectiveConfig(high_noise_bias=0.5),
            source_weights=self.shares(),
        )
        return replace(config, **changes)

    @property
    def spec(self) -> DenoiserSpec:
        attention = (True,) * len(self.size.widths)
        return DenoiserSpec(widths=self.size.widths, attention=attention, norm_groups=self.size.norm_groups)

    def shares(self, sources: Iterable[str] = SOURCES) -> dict[str, float]:
        """Shares of draws that leave nothing to what is not named."""
        known = {name: SHARES[name] for name in sources}
        return {name: share / sum(known.values()) for name, share in known.items()}

    def image_model(self, seed: int) -> ImageLDM:
        """The image model of a seed, trained once."""
        return trained_image(self.image_training(seed), self, self.work / "image" / f"seed-{seed}")

    def temporal_training(self, seed: int, **changes: Any) -> TemporalTraining:
        loop = LoopConfig(
            steps=self.size.layer_steps, batch_size=self.size.clips, seed=seed, ema_decay=0.99, decay_fraction=0.5
        )
        config = TemporalTraining(
            loop=loop,
            num_frames=self.size.num_frames,
            fps=self.size.fps,
            optimizer=OPTIMIZER,
            source_weights=self.shares(),
        )
        return replace(config, **changes)

    # ---- held-out clips ----

    def windows(self, sources: Iterable[str] = SOURCES, count: int | None = None) -> list[Window]:
        """Held-out windows spread over each source, those of the first source first."""
        found = clip_windows(self.dataset, self.size.num_frames, self.size.fps, split="val")
        chosen = list[Window]()
        for source in sources:
            own = [window for window in found if self.dataset.records[window.record].id.startswith(source)]
            chosen += [own[place] for place in spread(len(own), self.size.held_out if count is None else count)]
        return chosen

    def latents(self, windows: Sequence[Window], cache: LatentCache | None = None) -> Tensor:
        """``n t c h w``."""
        cache = self.cache if cache is None else cache
        return torch.stack([cache.latents(self.dataset.records[w.record], w.indices) for w in windows])

    def frames(self, windows: Sequence[Window]) -> Tensor:
        """``n t h w 3``, uint8."""
        return torch.stack([self.dataset.frames(self.dataset.records[w.record], w.indices) for w in windows])

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """``t c h w`` of a clip's latents."""
        autoencoder = VideoAutoencoder(self.vae)
        rows, columns = (side // autoencoder.factor for side in self.size.pixels)
        return self.size.num_frames, autoencoder.latent_channels, rows, columns


def shrunk(source: Dataset, folder: Path, size: tuple[int, int]) -> Dataset:
    """The contiguous records of the laboratory's sources, their frames averaged down to ``size``.

    Raises:
        ValueError: ``folder`` holds those of other footage.
    """
    of = digest_of(source.root / "manifest.jsonl")
    with DatasetWriter(folder, {"kind": "laboratory", "size": list(size), "of": of}) as writer:
        for record in source.records:
            if record.contiguous and record.id.startswith(SOURCES) and not writer.has(record.id):
                pixels = source.frames(record, range(record.num_frames)).movedim(-1, 1).float()
                frames = F.interpolate(pixels, size, mode="area").round().clamp(0, 255).to(torch.uint8).movedim(1, -1)
                facts = {name: getattr(record, name) for name in ("fps", "times", "captions", "labels", "split")}
                writer.add(record.id, frames, **facts, source=record.source, licence=record.licence)
    return Dataset.load(folder)


def trained_image(config: ImageTraining, lab: Lab, folder: Path, start: ImageLDM | None = None) -> ImageLDM:
    """An image model, new or ``start`` further, read again where it was trained before."""
    model = start or new_image_model(config, lab.dataset, lab.vae)
    weights = folder / "final.safetensors"
    if weights.is_file():
        load_into(model, weights)
    else:
        save_tensors(weights, state_of(train_image(config, lab.dataset, lab.cache, folder, model=model)))
    model.freeze()
    return model


def state_of(model: ImageLDM) -> dict[str, Tensor]:
    """Weights of UNet and text encoder."""
    parts: dict[str, Any] = {"unet": model.unet, "text_encoder": model.text_encoder}
    return {f"{part}.{name}": x.contiguous() for part, net in parts.items() for name, x in net.state_dict().items()}


def load_into(model: ImageLDM, weights: Path) -> None:
    """The inverse of ``state_of``, strict."""
    state = load_file(weights)
    for part, network in (("unet", model.unet), ("text_encoder", model.text_encoder)):
        network.load_state_dict({n.removeprefix(f"{part}."): x for n, x in state.items() if n.startswith(f"{part}.")})


def trained_layers(
    layers: TemporalLayers,
    model: ImageLDM,
    config: TemporalTraining,
    lab: Lab,
    folder: Path,
    *,
    cache: LatentCache | None = None,
    task: Callable[..., TemporalTask] = TemporalTask,
) -> TemporalLayers:
    """Layers trained on an image model by a task like ``TemporalTask``, read again where they were trained before."""
    weights = folder / "layers.safetensors"
    if weights.is_file():
        layers.load_state_dict(load_file(weights))
        return layers.requires_grad_(False).eval()
    made = task(layers, model, config, lab.dataset, cache or lab.cache)
    loop = Loop(made, config.loop, folder)
    try:
        with matmul_attention(model.unet, loop.bfloat16_on_cpu):
            loop.run(settings_of(config, lab.dataset, {}))
    finally:
        made.video.detach()
    model.freeze()
    save_tensors(weights, {name: x.contiguous() for name, x in layers.state_dict().items()})
    return layers.requires_grad_(False).eval()


def new_layers(unet: UNet2DConditionModel, layer_set: LayerSet, seed: int) -> TemporalLayers:
    """Untrained ones of a seed."""
    torch.manual_seed(seed)
    return TemporalLayers.for_network(unet, layer_set)


# ---- the commands of its experiments ----


def parser_of(description: str | None, variants: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The arguments of the laboratory's experiments; with ``variants`` some of them may be asked for alone."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("clips", type=Path, help="the dataset folder of runs/drive_small")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--seeds", type=int, choices=range(1, 101), metavar="N", default=3)
    if variants is not None:
        parser.add_argument("--only", nargs="+", choices=variants, metavar="VARIANT", help="some alone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--page", action="store_true", help="write tables and plots to docs/results")
    return parser


def check_page(options: argparse.Namespace, name: str, tables: Sequence[str]) -> None:
    """``results.check_page``, where a page is asked for."""
    if options.page:
        usual = options.size != "tiny" and options.seeds >= results.MIN_SEEDS
        results.check_page(name, tables, whole=usual and not getattr(options, "only", None))
