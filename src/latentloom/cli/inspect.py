"""``latentloom inspect``: what a model folder, dataset, training run or video is; only temporal weights are read."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentloom.cli.tables import print_table
from latentloom.files import one_line

if TYPE_CHECKING:
    from latentloom.align import TemporalLayers


def inspect(
    path: Annotated[str, typer.Argument(help="A stack (folder or name), dataset, run, set of layers, or video.")],
) -> None:
    """Say what something is: members, clips, progress, size."""
    folder = Path(path)
    if folder.is_file():
        _inspect_video(folder)
    elif folder.suffix and not folder.exists():
        raise ValueError(f"{one_line(path)}: no such file or folder")
    elif (folder / "dataset.json").is_file():
        _inspect_dataset(folder)
    elif (folder / "log.jsonl").is_file() and not (folder / "stack.json").is_file():
        _inspect_run(folder)
    elif _is_layers(folder):
        _inspect_layers(folder)
    else:
        _inspect_stack(path)


def _inspect_video(path: Path) -> None:
    from latentloom.data.decoding import open_video

    with open_video(path) as (header, _):
        count = "unknown number of" if header.num_frames is None else header.num_frames
        print(f"{path}: video, {count} frames of {header.height}x{header.width}, {float(header.rate):g} a second")


def _inspect_dataset(folder: Path) -> None:
    from latentloom.data.manifest import Dataset

    dataset = Dataset.load(folder)
    height, width = dataset.size
    frames = sum(record.num_frames for record in dataset.records)
    print(f"{folder}: dataset, {len(dataset.records)} clips, {frames} frames of {height}x{width}")
    rows = [
        (
            record.id,
            record.split,
            record.num_frames,
            f"{record.fps:.2f}",
            "video" if record.contiguous else "stills",
            " ".join(record.labels) or "-",
            record.licence or "not stated",
        )
        for record in dataset.records
    ]
    print_table(("clip", "split", "frames", "fps", "kind", "labels", "licence"), rows)
    captions = dataset.captions
    print(f"{len(captions)} captions" + "".join(f"\n  {one_line(text)}" for text in captions[:8]))
    for cache in sorted((folder / "latents").glob("*")):
        print(f"latents {cache.name}: {len(list(cache.glob('*.safetensors')))} of {len(dataset.records)} clips")


def _inspect_run(folder: Path) -> None:
    from latentloom.models.untrusted import read_json

    content = read_json(folder / "config.json")
    config = content.get("config", {})
    lines = [line for line in map(_figures, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()) if line]
    step = lines[-1].get("step", 0) if lines else 0
    total = config.get("loop.steps", "?")
    checkpoints = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
    state = "finished" if step == total else "the same command continues it"
    print(f"{folder}: training run, logged up to step {step} of {total}; {state}")
    print(f"checkpoints: {', '.join(checkpoints) or 'none yet'}")
    if lines:
        print("last: " + ", ".join(f"{name} {value:.5g}" for name, value in lines[-1].items() if name != "step"))
    print_table(("setting", "value"), [(name, json.dumps(value)[:80]) for name, value in sorted(config.items())])


def _figures(line: str) -> dict[str, Any]:
    """One line of a log; the last one may be half written."""
    try:
        return json.loads(line)
    except ValueError:
        return {}


def _is_layers(folder: Path) -> bool:
    from latentloom.models.untrusted import read_json

    config = folder / "config.json"
    return config.is_file() and read_json(config).get("_class_name") == "TemporalLayers"


def _inspect_layers(folder: Path) -> None:
    import torch

    from latentloom.models.loading import load_temporal

    layers = load_temporal(folder, torch.float32)
    parameters = sum(parameter.numel() for parameter in layers.parameters())
    print(f"{folder}: temporal layers, {parameters:,} parameters, fingerprint {layers.fingerprint}")
    _print_layers(layers)


def _print_layers(layers: "TemporalLayers") -> None:
    """Of the image network nothing is needed."""
    from latentloom.layers.mixing import learned_alpha

    rows = []
    for name, site in layers.sites.items():
        layer = layers.layer(name)
        parameters = sum(parameter.numel() for parameter in layer.parameters())
        rows.append((name, type(layer).__name__, site.channels, parameters, learned_alpha(layer)))
    print_table(("site", "layer", "channels", "parameters", "alpha"), rows)


def _inspect_stack(source: str) -> None:
    from latentloom.stack_folder import StackFolder

    found = StackFolder.open(source)  # refused before anything that takes seconds is imported
    from latentloom.stack import Stack

    stack = Stack.load(found)
    info, folder = stack.info, stack.folder
    assert folder is not None
    print(f"{folder}: stack {one_line(info.name)}")
    print_table(
        ("", ""),
        [
            ("clips", f"{info.num_frames} frames of {info.size[0]}x{info.size[1]}, {info.fps:g} a second"),
            ("sampling", f"{info.num_inference_steps} steps, guidance {info.guidance_scale:g}"),
            ("note", info.note or "-"),
            ("model card", folder / "README.md" if (folder / "README.md").is_file() else "none"),
            ("licence", _licence(folder)),
        ],
    )
    rows = [(name, row.get("parameters", 0), row.get("bytes", 0)) for name, row in stack.describe()["members"].items()]
    print_table(("member", "parameters", "bytes"), rows)
    if stack.keyframe_layers is not None:
        _print_layers(stack.keyframe_layers)


def _licence(folder: Path) -> str:
    """What the model card's header or its first line about it says."""
    card = folder / "README.md"
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines() if card.is_file() else []
    stated = [line for line in lines if line.lower().lstrip("# *").startswith(("license", "licence"))]
    return stated[0].partition(":")[2].strip() or "see the model card" if stated else "not stated"
