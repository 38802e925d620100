"""Upsamplers whose operations, memory and seconds are counted and measured; ``upsampler_cost`` says of what.

Counted on tensors without values: each shape once, operations and bytes of tensors alive at once; tiles are those that
the stage cuts, with all they see around themselves. Not here: what is tried, and what is told of it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from benchmarks.layouts import Layout
from benchmarks.machine import median_seconds, most_memory_on, peak_memory
from benchmarks.random_weights import Network, with_random_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from latentloom.align import TemporalLayers, attach
from latentloom.allocator import give_back_freed_memory
from latentloom.layers.layer_set import LayerSet
from latentloom.models.autoencoder import decode_images
from latentloom.models.nearby_attention import attending_nearby
from latentloom.offload import num_bytes
from latentloom.operations import operations_and_memory
from latentloom.recipes.text import TEXT_TOKENS
from latentloom.stack import Stack
from latentloom.stages.request import UpsamplingRequest
from latentloom.stages.upsampling import mixed_tiles, tiled

OVERLAP = UpsamplingRequest.overlap
Evaluate = Callable[[int, int, int], object]
"""Frames, and height and width of small frames: one evaluation of a network, or of a decoder on so many frames."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A portion of ``frames`` small frames of ``size``, in tiles of about ``tile`` pixels a side, None: whole."""

    size: tuple[int, int]
    frames: int
    tile: int | None = None

    @property
    def fresh(self) -> int:
        """Frames of a portion that no other has made."""
        return self.frames - OVERLAP if self.frames > OVERLAP else self.frames


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One evaluation of a portion.

    Attributes:
        operations: of all its tiles; ``live``: bytes of tensors at once, those of the largest tile.
        seconds, memory: measured; None where it was only counted.
    """

    case: Case
    operations: float
    live: int
    seconds: float | None = None
    memory: int | None = None

    @property
    def each(self) -> float:
        """Operations for each frame that is new."""
        return self.operations / self.case.fresh


class Counted:
    """A network on tensors without values. Each shape is counted once.

    Args:
        build: called where tensors have no values; with the evaluation it says the bytes of the weights.
        radius, multiple: ``receptive_radius`` and ``size_multiple`` of its upsampler.
    """

    def __init__(self, build: Callable[[], tuple[Evaluate, int]], radius: int | None, multiple: int) -> None:
        self.radius, self.multiple = radius, multiple
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self.mode:
            self.evaluate, self.weights = build()
        self.known = dict[tuple[int, int, int], tuple[float, int]]()

    def cost(self, case: Case) -> Cost:
        """The sum over the tiles, and the memory of the largest."""
        sizes = Counter(seen_sizes(case, self.radius, self.multiple))
        counts = {size: self._count(case.frames, *size) for size in sizes}
        return Cost(
            case=case,
            operations=sum(times * counts[size][0] for size, times in sizes.items()),
            live=max(live for _, live in counts.values()),
        )

    @torch.no_grad()
    def _count(self, *shape: int) -> tuple[float, int]:
        if shape not in self.known:
            with self.mode:
                self.known[shape] = operations_and_memory(lambda: self.evaluate(*shape))
        return self.known[shape]


def seen_sizes(case: Case, radius: int | None, multiple: int) -> list[tuple[int, int]]:
    """Height and width of what the network sees at each of its calls, as the stage cuts it."""
    if case.tile is None:
        return [case.size]
    sizes, sides = list[tuple[int, int]](), (case.tile, case.tile)

    def note(state: Tensor, timestep: Tensor, small: Tensor, levels: Tensor) -> Tensor:
        sizes.append((state.shape[3], state.shape[4]))
        return state

    cut = mixed_tiles(note, sides, multiple) if radius is None else tiled(note, sides, radius, multiple)
    state, small = (torch.zeros(1, 1, channels, *case.size) for channels in (1, 3))
    cut(state, torch.tensor(0), small, torch.zeros(1))
    return sizes


@contextmanager
def woven(network: UNet2DConditionModel, layers: TemporalLayers) -> Iterator[Any]:
    """The network with its layers, for as long as it is asked."""
    video = attach(network, layers)
    try:
        yield video
    finally:
        video.detach()


def pixel_evaluation(stack: Stack, tile: int | None = None, *, temporal: bool = True) -> Evaluate:
    """One evaluation of the stack's pixel upsampler on zeros."""
    upsampler, layers = stack.upsampler, stack.upsampler_layers
    assert layers is not None and upsampler.receptive_radius is not None
    like = {"device": upsampler.device, "dtype": upsampler.dtype}

    @torch.no_grad()
    def evaluate(frames: int, rows: int, columns: int) -> Tensor:
        state, small = (torch.zeros(1, frames, n, rows, columns, **like) for n in (upsampler.channels, 3))
        with woven(upsampler.unet, layers) as video:
            predict = upsampler.guided(video if temporal else None, "", "", 1.0)
            if tile is not None:
                predict = tiled(predict, (tile, tile), upsampler.receptive_radius, upsampler.size_multiple)
            return predict(state, torch.tensor(1, device=state.device), small, state.new_zeros(1))

    return evaluate


def latent_evaluation(layout: Layout) -> tuple[Evaluate, int]:
    """One prediction of Stable Diffusion's upscaler with temporal layers, bfloat16, weights without values."""
    network = without_values(lambda: UNet2DConditionModel(**layout.upscaler))
    layers = without_values(lambda: TemporalLayers.for_network(network, LayerSet.text()))

    def evaluate(frames: int, rows: int, columns: int) -> Tensor:
        sample = torch.zeros(1, frames, 7, rows, columns, dtype=torch.bfloat16)
        words = torch.zeros(1, TEXT_TOKENS, layout.text_width, dtype=torch.bfloat16)
        with woven(network, layers) as video:
            return video(sample, torch.tensor(1), words, class_labels=torch.zeros(1, dtype=torch.long)).sample

    return evaluate, num_bytes((network, layers))


def without_values(build: Callable[[], Network]) -> Network:
    """A network in bfloat16 whose weights nobody looks at."""
    return with_random_weights(build, "cpu", torch.bfloat16)


def large_decoding(layout: Layout, reach: int | None) -> tuple[Evaluate, int]:
    """Frames decoded one by one by the upscaler's autoencoder, whose middle looks as far as ``reach``."""
    vae = without_values(lambda: AutoencoderKL(**layout.upscaler_autoencoder))

    def evaluate(frames: int, rows: int, columns: int) -> Tensor:
        with attending_nearby(vae, reach):
            return decode_images(vae, torch.zeros(frames, 4, rows, columns, dtype=torch.bfloat16))

    return evaluate, num_bytes((vae,))


def measured(cost: Cost, stack: Stack, rounds: int) -> Cost:
    """The same with seconds and memory of real calls; on a CPU memory is what the process grows by."""
    call, device = _call(stack, cost.case), stack.upsampler.device
    seconds = median_seconds(device, call, rounds, warm_up=1)
    give_back_freed_memory()
    memory = most_memory_on(device, call) if device.type == "cuda" else peak_memory(call)
    give_back_freed_memory()
    return Cost(case=cost.case, operations=cost.operations, live=cost.live, seconds=seconds, memory=memory)


def _call(stack: Stack, case: Case) -> Callable[[], object]:
    evaluate = pixel_evaluation(stack, case.tile)
    return lambda: evaluate(case.frames, *case.size)
