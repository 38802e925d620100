"""CLIPSIM (Wu et al. 2021): how near each frame is to its text for CLIP, as the cosine of the two embeddings.

The mean over the frames of a video, then over videos. The paper reports ViT-B/32. It sees what is in the picture, not
whether it moves, and is blind to text longer than CLIP's 77 tokens. The network is a folder that the user names.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from latentloom.files import digest_of, one_line

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
WEIGHTS = "model.safetensors"
PREPROCESSING = "shorter side to the network's size, bicubic by Pillow, centre crop; CLIP's mean and deviation"


def clip_similarity(frames: Float[Tensor, "t d"], text: Float[Tensor, " e"]) -> float:
    """Mean over frames of the cosine of their embeddings with that of the text, -1 to 1.

    Raises:
        ValueError: no frame, embeddings of two networks, or values that are not finite.
    """
    if not len(frames) or frames.shape[1] != len(text):
        raise ValueError(
            f"frames {tuple(frames.shape)} and a text {tuple(text.shape)}: expected t d and d, t at least 1"
        )
    if not bool(frames.isfinite().all()) or not bool(text.isfinite().all()):
        raise ValueError("embeddings are not finite; look at the frames they come from")
    return F.cosine_similarity(frames.double(), text.double()[None], dim=1).mean().item()


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipNetwork:
    """A CLIP model of transformers, its tokenizer, and the ``sha256`` of its weights."""

    name: str
    sha256: str
    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Self:
        """Read a folder of transformers (``config.json``, ``model.safetensors``, a tokenizer); nothing is fetched.

        Raises:
            ValueError: no such folder, or one that holds no readable CLIP.
        """
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} is no CLIP folder (no config.json); fetch one, such as clip-vit-base-patch32")
        if not (folder / WEIGHTS).is_file():
            raise ValueError(f"{folder} holds no {WEIGHTS}; save the model with safetensors, pickles are not read")
        from transformers import AutoTokenizer, CLIPModel  # slow to import

        try:
            model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # transformers raises what its parts raise, for a damaged folder anything
            raise ValueError(f"{folder} holds no readable CLIP: {one_line(error)[:200]}") from None
        digest = digest_of(folder / WEIGHTS)
        torch.nn.Module.to(model.eval(), device)  # transformers types its own ``to`` in a way that pyright refuses
        return cls(name=folder.name, sha256=digest, model=model, tokenizer=tokenizer)

    @torch.no_grad()
    def text(self, prompt: str) -> Float[Tensor, " d"]:
        """The embedding of a prompt; what is beyond the network's length is cut off."""
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer([prompt], truncation=True, max_length=length, return_tensors="pt")
        hidden = self.model.text_model(
            input_ids=tokens["input_ids"].to(self.model.device),
            attention_mask=tokens["attention_mask"].to(self.model.device),
        )
        return self.model.text_projection(hidden.pooler_output)[0].float().cpu()

    @torch.no_grad()
    def frames(self, frames: UInt8[Tensor, "t h w 3"], batch_size: int = 32) -> Float[Tensor, "t d"]:
        """The embedding of each frame."""
        side = self.model.config.vision_config.image_size
        parts = []
        for part in frames.split(batch_size):
            hidden = self.model.vision_model(pixel_values=clip_input(part, side).to(self.model.device))
            parts.append(self.model.visual_projection(hidden.pooler_output).float().cpu())
        return torch.cat(parts)


def clip_input(frames: UInt8[Tensor, "t h w 3"], side: int = 224) -> Float[Tensor, "t 3 s s"]:
    """Frames as CLIP is given them: see ``PREPROCESSING``. Pillow resizes, as for the original: others differ."""
    height, width = frames.shape[1:3]
    short = min(height, width)
    size = (width * side // short, height * side // short)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    pictures = [Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC) for frame in frames.cpu().numpy()]
    cropped = np.stack([np.asarray(picture)[top : top + side, left : left + side] for picture in pictures])
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return (torch.from_numpy(cropped).movedim(-1, 1) / 255 - mean) / deviation
