"""The trained parts -> the embedded stack: float16, named, with its model card.

    python runs/drive_small/pack.py work/temporal/stack -o FOLDER

Expected: about 40 MB in seconds; FOLDER is src/latentloom/assets/drive_small.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from latentloom.stack import Stack

CARD = Path(__file__).with_name("MODEL_CARD.md")
NOTE = "Driving clips from text; see README.md for what it saw and what it cannot do."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    stack = Stack.load(arguments.stack)
    members = {
        "unet": stack.unet,
        "text_encoder": stack.text_encoder,
        "tokenizer": stack.tokenizer,
        "scheduler": stack.scheduler,
        "vae": stack.vae,
        "temporal": stack.temporal,
    }
    info = replace(stack.info, name="drive-small", note=NOTE)
    card = CARD.read_text(encoding="utf-8")
    Stack(info, **members).save(arguments.output, dtype=torch.float16, card=card)
    size = sum(path.stat().st_size for path in arguments.output.rglob("*") if path.is_file())
    print(f"{arguments.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
