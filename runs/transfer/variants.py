"""The image models and layers of the table of transfers (``table.py``), made by the package's own commands.

All are versions of ``drive-small``'s image model: itself; with a subject (`latentloom train dreambooth`); further on
footage of anything but driving (`latentloom train image --from`). And layers that read text, trained on it for a few
steps, since its own do not. What lies in the work folder already is taken as it is, a killed command goes on.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from latentloom.models.text import learn_words
from latentloom.recipes import driving
from latentloom.stack import Stack
from latentloom.transplant import transplanted

SOURCE = "drive-small"
OTHER_FOOTAGE = ("davis_", "sam2_", "intel_")  # of the data's captions.json: no driver's view, no talking hands
CLASS_PROMPT = "rendered world, daytime, driving on a country road"
SETS = ("temporal/prediction", "temporal/interpolation")


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How long each training lasts."""

    subject: int = 600
    other: int = 300
    text: int = 100
    further: int = 0


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where variants are made, and of what."""

    work: Path
    data: Path
    driving: Path
    photos: Path
    subject_prompt: str
    steps: Steps
    threads: int

    @property
    def other_dataset(self) -> Path:
        return self.work / "other"

    def stack(self, name: str, dtype: torch.dtype) -> Stack:
        """An image model, or layers, by name, made if it is not there; ``itself`` is the embedded stack."""
        if name == "itself":
            return Stack.load(SOURCE, dtype=dtype)
        folder = self.work / name / "stack"
        if not (folder / "stack.json").is_file():
            self._make(name)
        return Stack.load(folder, dtype=dtype)

    def prepare(self) -> None:
        """The other footage as a dataset."""
        if not (self.other_dataset / "dataset.json").is_file():
            self._gather_footage()
            self._latentloom("prepare", self.work / "footage", "-o", self.other_dataset, "--size", "128x256")

    def _make(self, name: str) -> None:
        if name == "subject":
            prompts = ("--prompt", self.subject_prompt, "--class-prompt", CLASS_PROMPT, "--class-images", 32)
            learning = ("--learning-rate", "2e-4")  # at the recipe's 5e-5 colours came, no shape (docs/log.md)
            self._train(name, "dreambooth", self.photos, self.steps.subject, "--stack", SOURCE, *prompts, *learning)
        elif name == "other_image":
            self._train(name, "image", self.other_dataset, self.steps.other, "--from", self._with_words())
        elif name == "text":
            text = ("--stack", self._without_layers(), "--layers", "text", "--muon-learning-rate", "0.012")
            self._train(name, "temporal", self.driving, self.steps.text, *text)
        else:
            stack = self.work / "other_image" / "stack"
            self._train(name, "prediction", self.other_dataset, self.steps.further, "--stack", stack)

    def _train(self, name: str, stage: str, data: Path, steps: int, *more: object) -> None:
        run = ("-o", self.work / name, "--steps", steps, "--preview-steps", 0, "--threads", self.threads)
        self._latentloom("train", stage, data, *run, *more)

    def _latentloom(self, *words: object) -> None:
        command = [sys.executable, "-m", "latentloom", *map(str, words)]
        print(" ".join(command[1:]), flush=True)
        subprocess.run(command, check=True)

    def _gather_footage(self) -> None:
        """Copies: `prepare` follows no link out of its folder."""
        folder = self.work / "footage"
        folder.mkdir(parents=True, exist_ok=True)
        for clip in self._other_clips():
            shutil.copyfile(self.data / clip["file"], folder / Path(clip["file"]).name)
        captions = {Path(clip["file"]).name: clip["caption"] for clip in self._other_clips()}
        (folder / "captions.json").write_text(json.dumps(captions), encoding="utf-8")

    def _other_clips(self) -> list[dict[str, str]]:
        clips = json.loads((self.data / "video_text" / "captions.json").read_text(encoding="utf-8"))
        return [clip for clip in clips if clip["id"].startswith(OTHER_FOOTAGE)]

    def _with_words(self) -> Path:
        """The stack with the words of the other footage, which a word-level vocabulary lacks."""
        folder = self.work / "words"
        if not (folder / "stack.json").is_file():
            stack = Stack.load(SOURCE)
            learn_words(stack.tokenizer, stack.text_encoder, [clip["caption"] for clip in self._other_clips()])
            stack.replace(text_encoder=stack.text_encoder, tokenizer=stack.tokenizer).save(folder)
        return folder

    def _without_layers(self) -> Path:
        folder = self.work / "image"
        if not (folder / "stack.json").is_file():
            Stack.load(SOURCE).without(*SETS).save(folder)
        return folder


def refusals(source: Stack) -> dict[str, str]:
    """What is said of image models of another layout: none is trained, the layout alone is looked at."""
    spec = driving.image().spec
    layouts = {
        "wider (64, 128, 256)": replace(spec, widths=(64, 128, 256)),
        "two heads instead of four": replace(spec, num_heads=2),
        "two layers a block": replace(spec, layers_per_block=2),
    }
    said = {}
    config = source.unet.config
    for name, layout in layouts.items():
        other = layout.build(config["sample_size"], config["in_channels"], config["cross_attention_dim"])
        try:
            transplanted(source, source.without(*SETS).replace(unet=other))
        except ValueError as error:
            said[name] = str(error)
        else:
            raise SystemExit(f"{name}: the layers were not refused")
    return said
