"""Tiny networks, called as the real ones are: TorchScript files in place of I3D and Inception, a random CLIP."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from latentloom.models.text import train_tokenizer


class TinyI3D(nn.Module):
    """Called as StyleGAN-V's file: video ``n 3 t h w``; ``rescale`` from 0..255, ``resize`` to 224x224."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(12, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) / 48
        self.register_buffer("weight", weight)

    def forward(
        self, video: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        n, c, t, h, w = video.shape
        if resize:
            frames = video.transpose(1, 2).reshape(n * t, c, h, w)
            frames = F.interpolate(frames, size=[224, 224], mode="bilinear", align_corners=False)
            video = frames.reshape(n, t, c, 224, 224).transpose(1, 2)
        if rescale:
            video = 2 * video / 255 - 1
        hidden = F.conv3d(video, self.weight, stride=[1, 16, 16]).abs()
        features = hidden.mean(dim=[2, 3, 4])
        return features if return_features else features.softmax(1)


class TinyInception(nn.Module):
    """Called as StyleGAN2-ADA's file: pictures ``n 3 h w`` uint8."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(1)) / 14)

    def forward(self, pictures: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        if pictures.dtype != torch.uint8:
            raise RuntimeError("pictures are not uint8")
        pictures = F.interpolate(pictures.float() / 128 - 1, size=[32, 32], mode="bilinear", align_corners=False)
        features = F.conv2d(pictures, self.weight, stride=[8, 8]).abs().mean(dim=[2, 3])
        return features if return_features else (8 * features).softmax(1)


class TinyC3D(nn.Module):
    """Called as StyleGAN-V's file: video ``n 3 16 h w`` uint8, of any size; gives probabilities of 7 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(7, 3, 16, 8, 8, generator=torch.Generator().manual_seed(2)) / 55)

    def forward(self, video: Tensor) -> Tensor:
        n, c, t, h, w = video.shape
        if video.dtype != torch.uint8 or t != 16:
            raise RuntimeError("expected 16 frames, uint8")
        frames = video.transpose(1, 2).reshape(n * t, c, h, w).float() / 128 - 1
        frames = F.interpolate(frames, size=[112, 112], mode="bilinear", align_corners=False)
        video = frames.reshape(n, t, c, 112, 112).transpose(1, 2).flip([1])
        hidden = F.conv3d(video, self.weight, stride=[1, 8, 8]).abs().mean(dim=[2, 3, 4])
        return (20 * hidden).softmax(1)


class Shapeless(nn.Module):
    """Takes the arguments of I3D and answers with one number."""

    def forward(
        self, video: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        return video.sum()


def scripted(network: nn.Module, path: Path) -> Path:
    """The network as a TorchScript file."""
    torch.jit.script(network.eval()).save(str(path))
    return path


def tiny_clip(folder: Path, texts: list[str]) -> Path:
    """A random CLIP for pictures of 32x32 whose tokenizer knows the words of ``texts``, as a folder."""
    tokenizer = train_tokenizer(texts, max_length=16)
    words = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **words,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 16,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={**words, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
