"""Temporal decoder and upsampler on footage they never saw: flicker, Frechet distance, PSNR.

    python runs/drive_small/judge_reconstruction.py decoder STACK work/clips -o work/judged_decoder
    python runs/drive_small/judge_reconstruction.py decoder STACK work/clips --other work/decoder_frame/stack -o ...
    python runs/drive_small/judge_reconstruction.py upsampler STACK work/large -o work/judged_upsampler

Expected: figures.json and sheets in ten minutes of two cores, no GPU. Held-out clips of 8 frames, figures for each
kind of footage (the first word of a record's name); kinds with few clips get no Frechet distance. `decoder`: the
same latents through the image decoder, the temporal one, and one of ``--other`` stacks (trained against an image
discriminator). `upsampler`: frames shrunk four times, enlarged by repetition, by bicubic interpolation, by the image
upsampler and by the temporally aligned one, and the response to the noise level; `world.py -o work/large --name large
--scenes 240 --held-out-only --size 512 1024 ...` gives it clips enough. Frechet distances are in
`evaluation.features` (two-stream random convolutions), comparable with each other only.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from latentloom.data.clips import clip_windows, spread
from latentloom.data.manifest import Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.evaluation.comparison import paired
from latentloom.evaluation.features import clip_features
from latentloom.evaluation.frechet import frechet_distance_of
from latentloom.models.autoencoder import VideoAutoencoder
from latentloom.models.upsampler import downsampled
from latentloom.precision import preferred_dtype
from latentloom.shapes import from_pixels, to_pixels
from latentloom.stack import Stack
from latentloom.stages.request import UpsamplingRequest
from latentloom.stages.upsampling import upsample_frames

FRAMES, FPS = 8, 6.5
LEVELS = (0, 20, 60, 120, 250)
ENOUGH = 8  # clips for a Frechet distance
Method = Callable[[Tensor], Tensor]
"""Real frames ``t h w 3`` to frames of the same size, uint8."""


def decoders(stack: Stack, others: dict[str, Stack]) -> dict[str, Method]:
    """The image decoder, the temporal one, those of other stacks; all of the latents of ``stack``."""

    def decoding(autoencoder: VideoAutoencoder) -> Method:
        def method(real: Tensor) -> Tensor:
            latents = stack.autoencoder.encode(from_pixels(real)[None].to(stack.dtype))
            return to_pixels(autoencoder.decode(latents)[0])

        return method

    return {
        "image decoder": decoding(VideoAutoencoder(stack.vae)),
        "temporal decoder": decoding(stack.autoencoder),
        **{name: decoding(other.autoencoder) for name, other in others.items()},
    }


def enlargers(stack: Stack, level: int = UpsamplingRequest.noise_level) -> dict[str, Method]:
    """Ways to undo shrinking by the upsampler's factor."""
    upsampler, factor = stack.upsampler, stack.upsampler.factor

    def plain(mode: str) -> Method:
        def method(real: Tensor) -> Tensor:
            small = to_pixels(downsampled(from_pixels(real)[None], factor)[0])
            pixels = small.movedim(-1, 1).float()
            large = F.interpolate(pixels, scale_factor=factor, mode=mode)
            return large.round().clamp(0, 255).to(torch.uint8).movedim(1, -1)

        return method

    def diffused(temporal: bool) -> Method:
        def method(real: Tensor) -> Tensor:
            small = to_pixels(downsampled(from_pixels(real)[None], factor)[0])
            request = UpsamplingRequest(noise_level=level)
            layers = stack.upsampler_layers if temporal else None
            return torch.stack(list(upsample_frames(upsampler, layers, small, request)))

        return method

    methods = {"repeated": plain("nearest"), "bicubic": plain("bicubic"), "image upsampler": diffused(False)}
    return methods | ({"temporal upsampler": diffused(True)} if stack.upsampler_layers is not None else {})


def judge(methods: dict[str, Method], clips: list[Tensor]) -> tuple[dict[str, dict[str, float]], Tensor]:
    """The figures of each method, and the first frames of the first clip, real ones first."""
    features = torch.cat([clip_features(clip[None]) for clip in clips])
    figures, rows = {}, [clips[0][:2]]
    for name, method in methods.items():
        made = [method(clip) for clip in clips]
        figures[name] = paired(clips, made)
        if len(clips) >= ENOUGH:
            made_features = torch.cat([clip_features(clip[None]) for clip in made])
            figures[name]["frechet"] = frechet_distance_of(made_features, features)
        print(name, {key: round(value, 3) for key, value in figures[name].items()}, flush=True)
        rows.append(made[0][:2])
    return figures, torch.cat(rows)


def sources(dataset: Dataset, num_clips: int) -> dict[str, list[Tensor]]:
    """Kind of footage to held-out clips of it, spread over all there are; short kinds give all they have."""
    windows, clips = clip_windows(dataset, FRAMES, FPS, split="val"), dict[str, list[Tensor]]()
    kinds = sorted({dataset.records[window.record].id.split("_")[0] for window in windows})
    for kind in kinds:
        own = [window for window in windows if dataset.records[window.record].id.split("_")[0] == kind]
        chosen = [own[index] for index in spread(len(own), num_clips)]
        clips[kind] = [dataset.frames(dataset.records[window.record], window.indices) for window in chosen]
    return clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("decoder", "upsampler"))
    parser.add_argument("stack")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--other", nargs="*", default=(), help="stacks whose decoders are judged beside")
    parser.add_argument("--clips", type=int, default=12, help="of each kind of footage")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    dataset, dtype = Dataset.load(arguments.dataset), preferred_dtype()
    stack = Stack.load(arguments.stack, dtype=dtype)
    if arguments.what == "decoder":
        methods = decoders(stack, {name: Stack.load(name, dtype=dtype) for name in arguments.other})
    else:
        methods = enlargers(stack)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for kind, clips in sources(dataset, arguments.clips).items():
        print(f"{kind}: {len(clips)} clips", flush=True)
        figures[kind], sheet = judge(methods, clips)
        contact_sheet(sheet, arguments.output / f"{arguments.what}-{kind}.png", columns=2)
        if arguments.what == "upsampler":
            for level in LEVELS:
                method = list(enlargers(stack, level).values())[-1]
                figures[kind][f"noise {level}"] = paired(clips[:2], [method(clip) for clip in clips[:2]])
                print(level, figures[kind][f"noise {level}"], flush=True)
        (arguments.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
