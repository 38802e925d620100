"""What a stack can do, on one page: the whole chain, and what each part of it adds. What ``demo`` shows.

A stack shows what it has the networks for; the page says what it left out.
"""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from latentloom.data.scenes import Scene, SceneBox
from latentloom.data.sheets import contact_sheet, with_boxes
from latentloom.diffusion.sampler import clip_noise
from latentloom.files import write_text
from latentloom.generation.asked import Asked
from latentloom.generation.clips import sample
from latentloom.generation.files import DECODED_AT_ONCE
from latentloom.generation.progress import Show, show_nothing
from latentloom.generation.videos import Generation, make_videos, scene_conditions, start_of
from latentloom.seeds import Stream, seed_of
from latentloom.stack import Stack
from latentloom.stack_folder import SCENE_ENCODER, UPSAMPLER
from latentloom.stages.decoding import decode_frames
from latentloom.stages.interpolation import interpolated_count
from latentloom.stages.prediction import roll_out
from latentloom.stages.request import UpsamplingRequest, seeded_generator
from latentloom.stages.sampling import latent_shape
from latentloom.stages.start_frame import generate_start_frame
from latentloom.stages.steering import WORDS

KEY_FRAMES, COLUMNS, QUICK_STEPS = 8, 8, 15
VIDEO, PAGE = "drive.mp4", "index.html"


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """What is asked for: the video's prompt, the road of the futures, that of the scenes, and pairs at one seed.

    What a sentence says of light counts beside the scene's: the scenes' road says nothing of it.
    """

    video: str
    road: str
    scenes: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One section of the page."""

    title: str
    text: str
    file: str


class Showcase:
    """Makes the exhibits in a folder, one after the other, and the page of them."""

    def __init__(self, stack: Stack, output: Path, sentences: Sentences, *, seed: int = 0, show: Show = show_nothing):
        self.stack, self.output, self.sentences, self.seed, self.show = stack, output, sentences, seed, show

    def generation(self) -> Generation:
        """The video: key frames, between them what interpolation makes, enlarged; as far as the stack has these."""
        members = self.stack.members
        passes = 1 if "temporal/interpolation" in members else 0
        asked = Asked(
            prompt=self.sentences.video,
            frames=interpolated_count(KEY_FRAMES) if passes else None,
            passes=passes,
            upsampling=UpsamplingRequest() if UPSAMPLER in members else None,
            seed=self.seed,
        )
        return Generation.of(self.stack, asked, [self.output / VIDEO])

    def exhibits(self, generation: Generation) -> Iterator[Exhibit]:
        """Each when its file is there."""
        list(make_videos(generation, show=self.show, force=True))
        yield Exhibit(title="The whole chain", text=f"“{self.sentences.video}”: {_chain(generation)}.", file=VIDEO)
        for possible, make in (
            (self.stack.keyframe_set is not None, self.comparison),
            ("temporal/prediction" in self.stack.members, self.futures),
            (SCENE_ENCODER in self.stack.members, self.scenes),
            (True, self.prompts),
        ):
            if possible:
                yield make()

    def comparison(self) -> Exhibit:
        """One noise, with and without temporal layers."""
        stack, count = self.stack, COLUMNS
        request = stack.info.request(self.sentences.video, num_frames=count)
        shape = latent_shape(stack, request)
        noise = clip_noise(shape, seeded_generator(self.seed), stack.execution_device, stack.unet.dtype)
        strengths = {"with temporal layers": 1.0, "without": 0.0}
        rows = [
            sample(stack, replace(request, temporal_strength=strength), noise=noise, title=title, show=self.show)
            for title, strength in strengths.items()
        ]
        text = "Above with temporal layers, below without: the same noise, every frame for itself."
        return self._sheet("comparison.png", "What temporal layers add", text, self._decoded(torch.cat(rows, 1)))

    def futures(self) -> Exhibit:
        """Three futures of one start frame; steered where the stack can be."""
        stack = self.stack
        steered = "steering" in stack.temporal_layers("prediction").number_names
        wheel = {name: value if steered else None for name, value in WORDS.items()}
        asked = Asked(prompt=self.sentences.road, changes={"num_inference_steps": QUICK_STEPS}, rollouts=3)
        generation = Generation.of(stack, replace(asked, seed=self.seed), [self.output / VIDEO])
        start, window = start_of(generation, self.show), generation.request.predicted
        rows = []
        with self.show("futures") as advance:
            for future, (name, steering) in enumerate(wheel.items()):
                advance(future, len(wheel), name)
                numbers = None if steering is None else {"steering": [steering] * window.num_frames}
                seed = seed_of(self.seed, Stream.FUTURE, 0 if steered else future)  # steered: nothing else differs
                pieces = roll_out(stack, window, start, window.num_frames, seed=seed, numbers=numbers)
                latents = torch.cat([piece.to(stack.device) for piece in pieces], 1)
                rows.append(latents[:, :: max(1, window.num_frames // COLUMNS)][:, :COLUMNS])
            advance(len(wheel), len(wheel))
        how = f"steered {', '.join(wheel)}, one seed" if steered else "three seeds"
        frames = self._decoded(torch.cat(rows, 1))
        title, text = "Three futures of one start frame", f"Row by row: {how}."
        return self._sheet("futures.png", title, text, frames, columns=rows[0].shape[1])

    def scenes(self) -> Exhibit:
        """Boxes, light and traffic to start frames, of one noise."""
        car = SceneBox(label="vehicle", box=(0.43, 0.48, 0.57, 0.64))
        side = SceneBox(label="vehicle", box=(0.14, 0.5, 0.34, 0.72))
        asked = {
            "an empty road": Scene(boxes=(), light="day"),
            "a vehicle ahead": Scene(boxes=(car,), light="day"),
            "on the left": Scene(boxes=(side,), light="day"),
            "both, by night": Scene(boxes=(car, side), light="night"),
        }
        made = self._start_frames([(self.sentences.scenes, scene) for scene in asked.values()])
        boxes = [[box.box for box in scene.boxes or ()] for scene in asked.values()]
        frames = torch.stack([with_boxes(frame, told) for frame, told in zip(made, boxes, strict=True)])
        text = "The white boxes were asked for; one noise, one sentence."
        return self._sheet("scenes.png", "Boxes to start frame", text, frames, labels=list(asked), columns=2)

    def prompts(self) -> Exhibit:
        """Pairs of sentences at one seed."""
        sentences = [sentence for pair in self.sentences.pairs for sentence in pair]
        frames = self._start_frames([(sentence, None) for sentence in sentences])
        text = "Side by side: one seed, two sentences."
        return self._sheet("prompts.png", "What a sentence changes", text, frames, labels=sentences, columns=2)

    def page(self, exhibits: Sequence[Exhibit]) -> Path:
        """The page of all exhibits, a file to open in a browser."""
        path = self.output / PAGE
        write_text(path, _page(self.stack.info.name, exhibits))
        return path

    def _start_frames(self, asked: Sequence[tuple[str, Scene | None]]) -> UInt8[Tensor, "n h w 3"]:
        """A picture for each sentence and scene, all of one noise."""
        frames = []
        with self.show("start frames") as advance:
            for number, (prompt, scene) in enumerate(asked):
                advance(number, len(asked))
                conditions = None if scene is None else scene_conditions(self.stack, scene)
                request, noise = self.stack.info.request(prompt, num_frames=1), seeded_generator(self.seed)
                frames.append(generate_start_frame(self.stack, request, scene=conditions, generator=noise))
            advance(len(asked), len(asked))
        return self._decoded(torch.cat(frames, 1))

    def _decoded(self, latents: Tensor) -> UInt8[Tensor, "t h w 3"]:
        return torch.stack(list(decode_frames(self.stack.autoencoder, latents, DECODED_AT_ONCE)))

    def _sheet(
        self,
        file: str,
        title: str,
        text: str,
        frames: UInt8[Tensor, "t h w 3"],
        *,
        labels: Sequence[str] | None = None,
        columns: int = COLUMNS,
    ) -> Exhibit:
        contact_sheet(frames, self.output / file, columns=columns, labels=labels)
        return Exhibit(title=title, text=text, file=file)


def _chain(generation: Generation) -> str:
    request = generation.request
    parts = [f"{min(request.num_keyframes, request.clip.num_frames)} key frames"]
    parts += [f"interpolation to {request.num_frames}"] if request.passes else []
    parts += [f"frames {generation.stack.upsampler.factor} times larger"] if generation.portions else []
    return ", ".join(parts)


def _page(name: str, exhibits: Sequence[Exhibit]) -> str:
    sections = [
        f"<section><h2>{html.escape(each.title)}</h2><p>{html.escape(each.text)}</p>{_shown(each.file)}</section>"
        for each in exhibits
    ]
    style = "body{font:16px/1.5 system-ui;max-width:1100px;margin:2em auto;padding:0 1em}img,video{width:100%}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(name)}</title>'
    return f"{head}<style>{style}</style><h1>{html.escape(name)}</h1>{''.join(sections)}</html>\n"


def _shown(file: str) -> str:
    if file.endswith(".mp4"):
        return f'<video src="{file}" controls loop autoplay muted></video>'
    return f'<img src="{file}" alt="">'
