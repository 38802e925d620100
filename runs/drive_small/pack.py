"""The trained parts -> the embedded stack: float16, named, with its model card.

    python runs/drive_small/pack.py work/temporal/stack --decoder work/decoder/final -o FOLDER

Expected: about 36 MB in seconds; FOLDER is src/latentloom/assets/drive_small. ``--decoder`` takes the
decoder of an autoencoder whose encoder is bit-equal to the stack's: latents keep their meaning. Refuses anything else.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from latentloom.stack import Stack

CARD = Path(__file__).with_name("MODEL_CARD.md")
NOTE = "Driving clips from text; see README.md for what it saw and what it cannot do."


def with_decoder(stack: Stack, folder: Path) -> AutoencoderKL:
    """The autoencoder in ``folder``.

    Raises:
        ValueError: its encoder differs from the stack's.
    """
    sharper = AutoencoderKL.from_pretrained(folder)
    for name, tensor in stack.vae.state_dict().items():
        if name.startswith(("encoder.", "quant_conv.")) and not torch.equal(tensor, sharper.state_dict()[name]):
            raise ValueError(f"the encoder of {folder} differs from the stack's in {name}; give a --decoder-only run")
    return sharper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack", type=Path)
    parser.add_argument("--decoder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    stack = Stack.load(arguments.stack)
    members = {
        "unet": stack.unet,
        "text_encoder": stack.text_encoder,
        "tokenizer": stack.tokenizer,
        "scheduler": stack.scheduler,
        "vae": stack.vae if arguments.decoder is None else with_decoder(stack, arguments.decoder),
        "temporal": stack.temporal,
    }
    info = replace(stack.info, name="drive-small", note=NOTE)
    card = CARD.read_text(encoding="utf-8")
    Stack(info, **members).save(arguments.output, dtype=torch.float16, card=card)
    size = sum(path.stat().st_size for path in arguments.output.rglob("*") if path.is_file())
    print(f"{arguments.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
