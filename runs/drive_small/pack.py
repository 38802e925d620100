"""The trained parts -> the embedded stack: float16, named, with its model card.

    python runs/drive_small/pack.py work/temporal/stack work/prediction/stack work/interpolation/stack ... -o FOLDER

The first stack gives its image model and key frames, each further one what it has beyond those before it. With
prediction layers the key frames are theirs (S = 0), and those trained for key frames alone stay out: 6 MB less. What is
asked of prediction and interpolation by default (``--prediction context_noise=50 strength=0.7``) comes from
judge_rollouts.py and judge_interpolation.py. Expected: at most 48 MB in seconds; FOLDER is
src/latentloom/assets/drive_small.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from latentloom.stack import Stack
from latentloom.stack_folder import DECODER, IMAGE_MEMBERS, SCENE_ENCODER, UPSAMPLER, UPSAMPLER_LAYERS

CARD = Path(__file__).with_name("MODEL_CARD.md")
NOTE = "Driving video from text, boxes or a picture; see README.md for what it saw and what it cannot do."
STAGES = ("prediction", "interpolation")
MOST = 48e6


def collected(stacks: Sequence[Stack]) -> Stack:
    """The first stack with what the others have beyond it."""
    whole = stacks[0]
    for stack in stacks[1:]:
        new = set(stack.members) - set(whole.members)
        sets = {name: layers for name, layers in stack.temporal.items() if f"temporal/{name}" in new}
        further: dict[str, Any] = {"temporal": sets} if sets else {}
        if DECODER in new:
            further[DECODER] = stack.autoencoder.decoder_layers
        if UPSAMPLER in new:
            further[UPSAMPLER] = stack.upsampler
        if UPSAMPLER_LAYERS in new:
            further[UPSAMPLER_LAYERS] = stack.upsampler_layers
        if SCENE_ENCODER in new:
            further["scene"] = stack.scene
        stages = {**stack.info.stages, **whole.info.stages}
        whole = whole.replace(replace(whole.info, stages=stages), **further)
        print(f"{stack.folder}: {', '.join(sorted(new)) or 'nothing new'}")
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stacks", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    for stage in STAGES:
        parser.add_argument(f"--{stage}", nargs="*", default=[], metavar="NAME=VALUE", help="fields of StageInfo")
    arguments = parser.parse_args()
    whole = collected([Stack.load(folder) for folder in arguments.stacks])
    stages = dict(whole.info.stages)
    for stage in STAGES:
        asked = dict(word.split("=") for word in getattr(arguments, stage))
        if asked:
            stages[stage] = replace(stages[stage], **{name: json.loads(value) for name, value in asked.items()})
    info = replace(whole.info, name="drive-small", note=NOTE, stages=stages)
    if "temporal/prediction" in whole.members:
        whole = whole.without("temporal/keyframes")
    given = {name: getattr(whole, name) for name in IMAGE_MEMBERS}  # what is given is stored anew, in float16
    whole = whole.replace(info, **given, temporal=whole.temporal)
    whole.save(arguments.output, dtype=torch.float16, card=CARD.read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in arguments.output.rglob("*") if path.is_file())
    print(f"{arguments.output}: {size / 1e6:.1f} MB")
    if size > MOST:
        raise SystemExit(f"more than {MOST / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
