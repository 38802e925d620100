"""``latentloom demo``: what the embedded stack can do, on one page. The work is in ``generation.showcase``."""

from pathlib import Path
from typing import Annotated

import typer

from latentloom.cli.options import Seed, Threads, check_output_folder, compute_device, use_threads
from latentloom.cli.progress import progress

STACK = "drive-small"
VIDEO = "real video, daytime, driving on a highway, going straight, no traffic, a yellow line on the left"
ROAD = "rendered world, daytime, driving on a country road, going straight, medium speed"
SCENES = "rendered world, driving on a country road, going straight"
PAIRS = (
    ("simulator, daytime, driving on the lake track, turning left", "simulator, daytime, driving on the jungle track"),
    ("rendered world, daytime, driving on a highway, no traffic", "rendered world, night, driving on a highway"),
)


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into; made if missing.")] = Path(
        "demo"
    ),
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Show on one page what the embedded stack can do.

    Two minutes on two cores. Files of an earlier demo in the folder are overwritten."""
    check_output_folder(output)
    use_threads(threads)
    from latentloom.cli.generate import print_request
    from latentloom.generation.showcase import Sentences, Showcase
    from latentloom.generation.videos import open_stack

    stack = open_stack(STACK, "auto", compute_device())
    output.mkdir(parents=True, exist_ok=True)
    showcase = Showcase(
        stack, output, Sentences(video=VIDEO, road=ROAD, scenes=SCENES, pairs=PAIRS), seed=seed, show=progress
    )
    generation = showcase.generation()
    print_request(generation)
    exhibits = []
    for exhibit in showcase.exhibits(generation):
        exhibits.append(exhibit)
        print(f"{output / exhibit.file}   {exhibit.title.lower()}: {exhibit.text}", flush=True)
    print(f"{showcase.page(exhibits)}   all of it: open it in a browser; the same command gives the same video")
