"""``latentloom transplant``: temporal layers of one model on another image model."""

from pathlib import Path
from typing import Annotated

import typer

from latentloom.cli.options import compute_device
from latentloom.files import printable


def transplant(
    layers: Annotated[str, typer.Argument(help="A stack with temporal layers: a folder or a name.")],
    onto: Annotated[str, typer.Option("--onto", help="The image model, or stack, that gets them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new stack, a new folder.")],
) -> None:
    """Put the temporal layers of one model on another image model of the same architecture.

    They are moved byte for byte; a model they do not fit is refused by naming the first site that differs."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{printable(output)} exists; choose another folder")
    from latentloom.stack_folder import StackFolder

    folders = [StackFolder.open(layers), StackFolder.open(onto)]
    from latentloom.stack import Stack
    from latentloom.transplant import transplanted

    source, target = (Stack.load(folder, device=compute_device()) for folder in folders)
    made = transplanted(source, target)
    made.save(output)
    print(f"done: {output}, with {', '.join(name for name in made.members if name.startswith('temporal'))}")
