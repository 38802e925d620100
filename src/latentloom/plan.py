"""What a generation needs before it runs: memory, time and disk of each stage.

Each network is called once at its full size on fake tensors, which have shapes but no values: the operations it would
do and the bytes it would hold at once are counted, not guessed. Time is those operations over the speed of a real call
on few frames. Not counted: the decoder's memory of the frames before while frames are enlarged, and what the video
encoder holds beyond its look-ahead. Measured against real runs in docs/log.md.
"""

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from latentloom.align import attach
from latentloom.allocator import HEAP_BLOCK, give_back_freed_memory
from latentloom.conditions import Conditions
from latentloom.diffusion.guidance import num_predictions
from latentloom.diffusion.sampler import num_evaluations
from latentloom.generation.videos import Generation
from latentloom.models.latent_upsampler import LatentUpsampler
from latentloom.offload import num_bytes
from latentloom.operations import operations_and_memory
from latentloom.scenes import SceneTensors
from latentloom.stack import Stack
from latentloom.stages.cascade import CascadeStage
from latentloom.stages.decoding import stream_frames
from latentloom.stages.sampling import latent_shape
from latentloom.stages.upsampling import tiles_of, upsampling_steps

PROBE_OPERATIONS = 1e11  # of the real call that time is taken from: a second or less on two cores
LOOKAHEAD = 60  # frames that the video encoder holds
VIDEO_BYTES = 0.05  # a pixel of H.264 at our quality, from the clips of the demo
STATM = Path("/proc/self/statm")
# Bytes that a process takes for each one alive in a tensor on the CPU (docs/log.md): blocks mapped one by one, with
# what kernels use beside them; and blocks of glibc's heap, which leave holes where freed memory is kept.
MAPPED, HEAP = 1.2, 2.75
LOOP_COPIES = 6  # of its latents that a denoising loop holds: noise, sample, prediction, known frames, results


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What one stage needs.

    Attributes:
        calls: of its network.
        operations: floating-point operations of all of them.
        memory: bytes at once beside the weights.
        disk: bytes that stay until the video is there (journal), or the video's own.
        seconds: of all calls; None where the speed was not measured.
    """

    stage: str
    calls: int
    operations: float
    memory: int
    disk: int
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a whole generation needs; ``resident`` is what this process holds already, weights included."""

    stages: Sequence[StagePlan]
    resident: int

    @property
    def memory(self) -> int:
        """Bytes at once, stages running one after the other but for the encoder, which takes frames as they come."""
        writing = sum(stage.memory for stage in self.stages if stage.stage == "writing")
        return self.resident + writing + self.largest.memory

    @property
    def largest(self) -> StagePlan:
        """The stage that needs most memory beside the encoder of the video."""
        return max((stage for stage in self.stages if stage.stage != "writing"), key=lambda stage: stage.memory)

    @property
    def disk(self) -> int:
        """Bytes at once, until the journal is removed."""
        return sum(stage.disk for stage in self.stages)

    @property
    def seconds(self) -> float | None:
        """Of all stages; None where no speed was measured."""
        known = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the sums beside the stages."""
        sums = {"memory": self.memory, "disk": self.disk, "seconds": self.seconds}
        return {**asdict(self), **sums}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """A stage's networks, ``frames`` at a call and ``most`` at the largest: ``call(frames)`` runs them once."""

    stage: str
    calls: int
    frames: int
    call: Callable[[int], Any]
    networks: Sequence[nn.Module]
    most: int | None = None
    held: int = 0
    disk: int = 0


def plan_of(generation: Generation, *, measure_speed: bool = True) -> Plan:
    """The plan of one video of ``generation``, or of all its futures; nothing is made.

    Args:
        measure_speed: run each network for real on few frames, for the time. Without it only shapes are run.
    """
    stack = generation.stack
    assert all((stack.unet, stack.text_encoder, stack.autoencoder))  # read from disk now: fake tensors have no values
    works = list(_works(generation))  # loads the rest of the networks
    stages = [_planned(stack, work, measure_speed=measure_speed) for work in works]
    stack.bring()
    give_back_freed_memory()  # what real calls leave behind is in the stages; compiled kernels stay
    return Plan(stages=[*stages, _writing(generation)], resident=_resident(stack.device))


@torch.no_grad()
def _planned(stack: Stack, work: _Work, *, measure_speed: bool) -> StagePlan:
    stack.bring(*work.networks)
    operations, memory = _cost(work.call, work.frames)
    if work.most is not None:
        memory = _cost(work.call, work.most)[1]
    seconds = None
    if measure_speed:
        frames = max(1, min(work.frames, int(work.frames * PROBE_OPERATIONS / max(operations, 1.0))))
        probed = operations if frames == work.frames else _cost(work.call, frames)[0]
        seconds = work.calls * operations / probed * _seconds(work.call, frames)
    return StagePlan(
        stage=work.stage,
        calls=work.calls,
        operations=work.calls * operations,
        memory=memory + work.held + (num_bytes(work.networks) if stack.offloads else 0),
        disk=work.disk,
        seconds=seconds,
    )


def taken(size: int) -> int:
    """Bytes that a buffer of ``size`` takes on the CPU, in a block of its own or among those of the heap."""
    return int(size * (HEAP if size < HEAP_BLOCK else MAPPED))


def _cost(call: Callable[[int], Any], frames: int) -> tuple[float, int]:
    """Operations, and bytes held at once, of one call on fake tensors."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        return operations_and_memory(lambda: call(frames), taken)


def _seconds(call: Callable[[int], Any], frames: int) -> float:
    """Of one real call; the first one prepares kernels and does not count."""
    took = 0.0
    for _ in range(2):
        begun = time.perf_counter()
        call(frames)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took = time.perf_counter() - begun
    return took


def _works(generation: Generation) -> Iterator[_Work]:
    asked = generation.asked
    if asked.needs_start_frame and asked.start_frame is None:
        yield _start_frame(generation)
    for stage in generation.stages:
        yield _windows(generation, stage)
    yield _decoding(generation)
    if asked.upsampling is not None:
        yield _upsampling(generation)
        decoding = _enlarged(generation)
        if decoding is not None:
            yield decoding


def _start_frame(generation: Generation) -> _Work:
    stack, asked, clip = generation.stack, generation.asked, generation.request.clip
    scales = (clip.guidance_scale,) if asked.scene is None else (asked.scene_guidance, clip.guidance_scale)
    branches = num_predictions(*scales)
    video = None if stack.scene is None or asked.scene is None else stack.scene

    def call(frames: int) -> None:
        noise, times, conditions = _inputs(generation, branches, 1)
        if video is None:
            stack.unet(noise[:, 0], times, encoder_hidden_states=conditions.text)
            return
        encoder, layers = video
        tokens = encoder(SceneTensors.of().batch(stack.device)).expand(branches, -1, -1)
        aligned = attach(stack.unet, layers)
        try:
            aligned.predict(noise, times, Conditions(text=conditions.text, temporal_text=tokens))
        finally:
            aligned.detach()

    return _Work(
        stage="start frame",
        calls=num_evaluations(stack.scheduler, clip.num_inference_steps),
        frames=1,
        call=call,
        networks=(stack.unet, *(video or ())),
    )


def _windows(generation: Generation, stage: CascadeStage) -> _Work:
    """Windows of key frames, prediction or one interpolation."""
    stack, clip = generation.stack, stage.window
    layers = stack.temporal_layers(stage.layers)
    branches = num_predictions(*stage.guidance_scales)

    def call(frames: int) -> None:
        noise, times, conditions = _inputs(generation, branches, frames)
        context = torch.cat([noise, noise[:, :, :1]], 2) if stage.given else None
        numbers = {name: torch.zeros(branches, device=stack.device) for name in layers.number_names}
        video = attach(stack.unet, layers)
        try:
            video.predict(noise, times, Conditions(text=conditions.text, context=context, numbers=numbers))
        finally:
            video.detach()

    latents = _bytes(latent_shape(stack, clip), stack.dtype)
    count = stage.num_windows
    return _Work(
        stage=stage.name,
        calls=count * len(generation.outputs) * stage.num_evaluations(stack.scheduler),
        frames=clip.num_frames,
        call=call,
        networks=(stack.unet, layers),
        held=LOOP_COPIES * latents,
        disk=count * latents,  # the journal of one future goes before the next one begins
    )


def _inputs(generation: Generation, branches: int, frames: int) -> tuple[Tensor, Tensor, Conditions]:
    """Zeros in the shapes of a denoising step: latents, a time step, text."""
    stack = generation.stack
    _, _, *rest = latent_shape(stack, generation.request.clip)
    like = {"device": stack.device, "dtype": stack.dtype}
    length, width = stack.text_encoder.config.max_position_embeddings, stack.unet.config["cross_attention_dim"]
    text = torch.zeros(branches, length, width, **like)
    return torch.zeros(branches, frames, *rest, **like), torch.tensor(1, device=stack.device), Conditions(text=text)


def _decoding(generation: Generation) -> _Work:
    stack, num_frames = generation.stack, generation.request.num_frames
    _, _, *rest = latent_shape(stack, generation.request.clip)

    def call(frames: int) -> None:
        latents = torch.zeros(1, frames, *rest, device=stack.device, dtype=stack.dtype)
        for _ in stream_frames(stack.autoencoder, latents.split(generation.decoded_at_once, 1)):
            pass

    at_once = min(generation.decoded_at_once, num_frames)
    return _Work(
        stage="decoding",
        calls=len(generation.outputs) * -(-num_frames // at_once),
        frames=at_once,
        call=call,
        networks=(stack.autoencoder,),
        most=min(num_frames, 2 * at_once + 2 * stack.autoencoder.reach),  # each layer then keeps frames of before
    )


def _upsampling(generation: Generation) -> _Work:
    stack, clip, request = generation.stack, generation.request.clip, generation.asked.upsampling
    assert request is not None
    upsampler, layers = stack.upsampler, stack.upsampler_layers
    frames = min(request.portion, generation.request.num_frames)
    seen, tiles = tiles_of((clip.height, clip.width), request.tile, upsampler)
    like = {"device": upsampler.device, "dtype": upsampler.dtype}

    def call(frames: int) -> None:
        state, small = (torch.zeros(1, frames, c, *seen, **like) for c in (upsampler.channels, 3))
        video = None if layers is None else attach(upsampler.unet, layers)
        try:
            predict = upsampler.guided(video, "", "", request.guidance_scale or 1.0)
            predict(state, torch.tensor(1, device=state.device), small, state.new_zeros(1))
        finally:
            if video is not None:
                video.detach()

    held = frames * clip.height * clip.width * upsampler.channels
    return _Work(
        stage="upsampling",
        calls=generation.portions * len(generation.outputs) * upsampling_steps(upsampler, request) * tiles,
        frames=frames,
        call=call,
        networks=stack.upsampling_networks,
        held=LOOP_COPIES * held * upsampler.dtype.itemsize,
        disk=generation.portions * frames * clip.height * clip.width * upsampler.kept_bytes,
    )


def _enlarged(generation: Generation) -> _Work | None:
    """The upsampler's own decoder, frame by frame; None where it makes pixels."""
    stack, clip = generation.stack, generation.request.clip
    upsampler = stack.upsampler
    if not isinstance(upsampler, LatentUpsampler):
        return None
    assert generation.asked.upsampling is not None
    reach = generation.asked.upsampling.decoder_reach

    def call(frames: int) -> None:
        latents = torch.zeros(1, frames, upsampler.channels, clip.height, clip.width, device=upsampler.device)
        before, upsampler.decoder_reach = upsampler.decoder_reach, reach
        try:
            upsampler.pixels_of(latents.to(upsampler.dtype))
        finally:
            upsampler.decoder_reach = before

    frames = generation.request.num_frames * len(generation.outputs)
    return _Work(stage="enlarged frames", calls=frames, frames=1, call=call, networks=stack.upsampling_networks)


def _writing(generation: Generation) -> StagePlan:
    clip, stack = generation.request.clip, generation.stack
    factor = 1 if generation.asked.upsampling is None else stack.upsampler.factor
    pixels = clip.height * clip.width * factor**2
    video = int(pixels * generation.request.num_frames * len(generation.outputs) * VIDEO_BYTES)
    memory = int(1.5 * LOOKAHEAD * pixels)
    return StagePlan(stage="writing", calls=1, operations=0.0, memory=memory, disk=video, seconds=None)


def _bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    total = dtype.itemsize
    for side in shape:
        total *= side
    return total


def _resident(device: torch.device) -> int:
    """Bytes this process holds on the device that computes."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: the most it ever held
