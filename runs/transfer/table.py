"""Temporal layers on other image models than the one they were trained on: what stays of the motion, and what is lost.

    python runs/transfer/table.py work/transfer --data DATA --driving work/clips --photos DATA/subjects/wolf_plushie

Expected: variants made (``variants.py``), then figures.json, table.md and a sheet a row in about 45 minutes of one core
that is free (half of it trainings), no GPU. Killed, the same command goes on: trainings by their checkpoints, clips one
by one. DATA has video_text/captions.json with the clips it names; work/clips is the footage of `runs/drive_small`, its
held-out drives are the real clips. Each row is an image model with a set of layers; the same noise once with them and
once with `temporal_strength` 0, which is the image model alone: what differs is the layers' share.

Frame difference and warp error are means over clips, the first also over that of real clips of the same captions.
Frechet distances are in features of ``evaluation.features`` (no FVD), to real clips of the same kind, for windows of 8
frames and for single frames; `real` is that of other moments of the same clips, which overlap, also
through the autoencoder, which no image model can pass. Distances are times 1000, and biased upward by few clips, alike
in all rows of one kind of footage. Behind each figure those of either half of the seeds, in brackets: what differs by
less is noise. Flicker needs a reference, which generated clips have not.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from judging import HALVES, Scene, footage_of, judged, real_figures, scenes_of, table
from safetensors.torch import load_file
from torch import Tensor
from variants import SOURCE, Steps, Workshop, refusals

from latentloom.data.manifest import Dataset
from latentloom.data.sheets import contact_sheet
from latentloom.files import save_tensors, write_text
from latentloom.precision import preferred_dtype
from latentloom.shapes import to_pixels
from latentloom.stack import Stack
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import seeded_generator
from latentloom.transplant import transplanted

DRIVES = ("lake_b_val", "highway_yellow_b", "world_0039", "world_0119")
OTHERS = (
    "davis_cows",
    "davis_goat",
    "sam2_dog",
    "intel_car-detection",
)  # long enough for 16 frames at about 6.5 a second


@dataclass(frozen=True, kw_only=True)
class Row:
    """An image model with layers, on scenes of a kind; ``alone``: also without the layers."""

    name: str
    image: str
    layers: str
    scenes: str
    one_encoder: bool = False
    alone: bool = True


ROWS = (
    Row(name="itself", image="itself", layers="itself", scenes="driving"),
    Row(name="subject", image="subject", layers="itself", scenes="driving"),
    Row(name="subject, named", image="subject", layers="itself", scenes="subject"),
    Row(name="other footage", image="other_image", layers="itself", scenes="other"),
    Row(
        name="subject, named, text layers, two encoders", image="subject", layers="text", scenes="subject", alone=False
    ),
    Row(
        name="subject, named, text layers, one encoder",
        image="subject",
        layers="text",
        scenes="subject",
        one_encoder=True,
        alone=False,
    ),
)
FURTHER = Row(name="other footage, layers further", image="other_image", layers="further", scenes="other", alone=False)


class Sampler:
    """Clips of a row, each a file that is made once."""

    def __init__(self, workshop: Workshop, scenes: dict[str, list[Scene]], steps: int) -> None:
        self.workshop, self.scenes, self.steps = workshop, scenes, steps
        self.dtype = preferred_dtype()

    def stack(self, row: Row) -> Stack:
        stack = transplanted(self.workshop.stack(row.layers, self.dtype), self.workshop.stack(row.image, self.dtype))
        return stack.without("temporal_text_encoder") if row.one_encoder else stack

    def clips(self, row: Row, strength: float) -> Tensor:
        """``n t h w 3``, in the order of seeds, then scenes."""
        folder = self.workshop.work / "clips" / f"{row.name.replace(', ', '_').replace(' ', '_')}-{strength:g}"
        folder.mkdir(parents=True, exist_ok=True)
        scenes, made, stack = self.scenes[row.scenes], [], None
        for number in range(HALVES * len(scenes)):
            path = folder / f"{number:02d}.safetensors"
            if not path.is_file():
                stack = stack or self.stack(row)
                frames = sampled(stack, scenes[number % len(scenes)], number, strength, self.steps)
                save_tensors(path, {"frames": frames})
                print(row.name, strength, number, flush=True)
            made.append(load_file(path)["frames"])
        return torch.stack(made)


def sampled(stack: Stack, scene: Scene, seed: int, strength: float, steps: int) -> Tensor:
    request = stack.info.request(scene.prompt, fps=scene.fps, temporal_strength=strength, num_inference_steps=steps)
    latents = generate_keyframes(stack, request, generator=seeded_generator(seed))
    return to_pixels(stack.autoencoder.decode(latents, chunk_size=4)[0])


def contexts(sampler: Sampler) -> dict[str, float]:
    """The largest difference of latents when the temporal layers read another text encoder, and when an equal one."""
    row = next(row for row in ROWS if row.layers == "text" and row.image == "subject")
    two = sampler.stack(row)
    one, equal = two.without("temporal_text_encoder"), two.replace(temporal_text_encoder=two.text_encoder)
    request = two.info.request(sampler.scenes["subject"][0].prompt, num_inference_steps=4)
    latents = [generate_keyframes(stack, request, generator=seeded_generator(0)) for stack in (two, one, equal)]
    differences = [(made - latents[1]).abs().max().item() for made in (latents[0], latents[2])]
    return {"encoders differ": differences[0], "encoders are equal": differences[1]}


def kept_bytes(workshop: Workshop) -> dict[str, bool]:
    """Whether each file of temporal layers is the source's, by its checksum, in the models trained further."""
    source = {name: sum for name, sum in Stack.load(SOURCE).checksums.items() if name.startswith("temporal/")}
    names = ("subject", "other_image")
    stacks = {name: workshop.stack(name, torch.float32).checksums for name in names}
    return {f"{name}: {file}": sums[file] == source[file] for name, sums in stacks.items() for file in source}


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--driving", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--subject", default="rendered world, daytime, a sks wolf on a country road")
    parser.add_argument("--sampling-steps", type=int, default=10)
    parser.add_argument("--subject-steps", type=int, default=Steps.subject)
    parser.add_argument("--other-steps", type=int, default=Steps.other)
    parser.add_argument("--text-steps", type=int, default=Steps.text)
    parser.add_argument("--further-steps", type=int, default=0, help="layers trained further on the other footage")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    torch.set_num_threads(options.threads)
    workshop = Workshop(
        work=options.work,
        data=options.data,
        driving=options.driving,
        photos=options.photos,
        subject_prompt=options.subject,
        steps=Steps(
            subject=options.subject_steps,
            other=options.other_steps,
            text=options.text_steps,
            further=options.further_steps,
        ),
        threads=options.threads,
    )
    workshop.prepare()
    report(workshop, options)


def report(workshop: Workshop, options: argparse.Namespace) -> None:
    """All rows, written as they are made."""
    source = Stack.load(SOURCE)
    driving, other = Dataset.load(options.driving), Dataset.load(workshop.other_dataset)
    named = Scene(prompt=options.subject, fps=source.info.fps, real=None)
    scenes = {
        "driving": scenes_of(driving, DRIVES, source.info),
        "other": scenes_of(other, OTHERS, source.info),
        "subject": [named] * 2,
    }
    footage = {
        "driving": footage_of(driving, DRIVES, source.info.fps),
        "other": footage_of(other, OTHERS, source.info.fps),
    }
    rows: dict[str, dict[str, Any]] = {}
    coder = Stack.load(SOURCE, dtype=preferred_dtype())
    for kind, real in footage.items():
        rows[f"real, {kind}"] = real_figures(scenes[kind], real)
        rows[f"real, {kind}, through the autoencoder"] = real_figures(scenes[kind], real, coder)
    found: dict[str, Any] = {"refused": refusals(source), "bytes kept": kept_bytes(workshop)}
    sampler = Sampler(workshop, scenes, options.sampling_steps)
    for row in (*ROWS, *((FURTHER,) if options.further_steps else ())):
        shown = []
        for strength in (1.0, 0.0) if row.alone else (1.0,):
            clips = sampler.clips(row, strength)
            rows[f"{row.name}, {'with' if strength else 'without'}"] = judged(
                clips, scenes[row.scenes], footage.get(row.scenes)
            )
            shown.append(clips[: len(scenes[row.scenes]), ::2])
        sheet = torch.stack(shown, 1).flatten(0, 1)
        contact_sheet(sheet.flatten(0, 1), options.work / f"{row.name.replace(', ', '_')}.png", columns=sheet.shape[1])
        write_text(options.work / "figures.json", json.dumps(found | {"rows": rows}, indent=2) + "\n")
        write_text(options.work / "table.md", table(rows))
    found |= {"contexts": contexts(sampler), "rows": rows}
    write_text(options.work / "figures.json", json.dumps(found, indent=2) + "\n")
    print(table(rows), json.dumps({name: found[name] for name in ("refused", "bytes kept", "contexts")}, indent=2))


if __name__ == "__main__":
    main()
