"""The pictures of DreamBooth (Ruiz et al. 2023; paper, Sec. 4.2.1): photos of one subject, and of its class.

The photos go under a sentence that names the subject by a word of its own, and beside them pictures that the model
itself makes of the subject's class, so that it does not forget what else there is (prior preservation). As a dataset of
two halves they train the image model like any others (``training.image``): no loss of its own is needed.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from latentloom.data.manifest import Caption, Dataset, DatasetWriter
from latentloom.data.video import read_image
from latentloom.files import digest_of, printable
from latentloom.models.image_ldm import ImageLDM
from latentloom.training.image import sample_images

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
SHARES = {"subject": 0.5, "class": 0.5}
"""Of the draws: a photo and a picture of the class weigh the same (prior-preservation weight 1)."""
AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is to be learned.

    Attributes:
        photos: a folder of a few pictures of it.
        prompt: names it, by a word that means nothing else: "a photo of a sks toy".
        class_prompt: names its kind: "a photo of a toy".
        class_images: how many pictures of the kind are made.

    Raises:
        ValueError: a sentence is empty, both are the same, no picture of the class is asked for, or there is no photo.
    """

    photos: Path
    prompt: str
    class_prompt: str
    class_images: int = 64

    def __post_init__(self) -> None:
        if not self.prompt.strip() or not self.class_prompt.strip() or self.prompt == self.class_prompt:
            raise ValueError("give two sentences, one that names the subject and one that names its class")
        if self.class_images < 1:
            raise ValueError(f"{self.class_images} pictures of the class were asked for, expected at least 1")
        if not self.pictures:
            raise ValueError(f"{printable(self.photos)} holds no pictures; expected {', '.join(PICTURES)}")

    @property
    def pictures(self) -> list[Path]:
        """The photos, by name."""
        return sorted(path for path in self.photos.glob("*") if path.suffix.lower() in PICTURES)


def subject_dataset(subject: Subject, model: ImageLDM, folder: Path, size: tuple[int, int], seed: int) -> Dataset:
    """The photos and, made now where they are missing, the pictures of the class, cropped and resized to ``size``.

    Raises:
        ValueError: a picture that cannot be read; a folder begun otherwise.
    """
    photos = subject.pictures
    config = {
        "kind": "DreamBooth",
        "size": list(size),
        "prompt": subject.prompt,
        "class_prompt": subject.class_prompt,
        "seed": seed,
        "photos": {path.name: digest_of(path) for path in photos},
    }
    with DatasetWriter(folder, config) as writer:
        if not writer.has("subject"):
            frames = torch.stack([read_image(path, size) for path in photos])
            add_pictures(writer, "subject", frames, subject.prompt)
        for first in range(0, subject.class_images, AT_ONCE):
            if not writer.has(f"class-{first:05d}"):
                count = min(AT_ONCE, subject.class_images - first)
                generator = torch.Generator(model.unet.device).manual_seed(seed + first)
                made = sample_images(model, [subject.class_prompt] * count, size, generator=generator)
                add_pictures(writer, f"class-{first:05d}", made, subject.class_prompt)
    return Dataset.load(folder)


def add_pictures(writer: DatasetWriter, name: str, frames: torch.Tensor, prompt: str) -> None:
    """Stills under one sentence."""
    caption = Caption(start=0, stop=len(frames), text=prompt)
    writer.add(name, frames, fps=1.0, captions=[caption], contiguous=False)
