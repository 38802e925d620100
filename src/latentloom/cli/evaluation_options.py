"""The options of ``latentloom evaluate``: what is judged at which size and rate, with which networks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from latentloom.cli.options import Force, check_outputs, parsed_size

MAX_VIDEOS = 1_000_000
MAX_RESAMPLES = 100_000
MAX_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What ``evaluate`` is told beside the two sets."""

    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write figures and receipt there as JSON.")] = (
        None
    )
    paired: Annotated[bool, typer.Option("--paired", help="Videos belong together by name: PSNR and flicker.")] = False
    split: Annotated[str, typer.Option(help="Clips of a dataset folder to take; where it has none, all.")] = "val"
    window: Annotated[int, typer.Option(help="Frames of a clip that one feature describes.")] = 16
    stride: Annotated[int, typer.Option(help="Of every so many frames a window takes one.")] = 1
    windows_per_video: Annotated[
        int | None, typer.Option(help="At most so many windows of a video.", show_default="all")
    ] = None
    videos: Annotated[
        int | None, typer.Option(help="So many videos of each set, drawn with --seed.", show_default="all")
    ] = None
    size: Annotated[str, typer.Option(help="Height and width to judge at.", metavar="HxW")] = "128x256"
    fps: Annotated[float | None, typer.Option(help="Resample to this rate.", show_default="as filmed")] = None
    warp: Annotated[bool, typer.Option("--warp/--no-warp", help="Warp error by OpenCV's optical flow.")] = True
    i3d: Annotated[
        Path | None, typer.Option(help="FVD by this I3D TorchScript file; its code runs.", metavar="FILE")
    ] = None
    i3d_sha256: Annotated[str | None, typer.Option(help="Refuse the file of --i3d unless it has this hash.")] = None
    inception: Annotated[
        Path | None, typer.Option(help="FID and KID by this Inception TorchScript file; its code runs.", metavar="FILE")
    ] = None
    inception_sha256: Annotated[str | None, typer.Option(help="Refuse --inception's file without this hash.")] = None
    inception_score: Annotated[bool, typer.Option("--inception-score", help="The inception score of frames, too.")] = (
        False
    )
    clip: Annotated[
        Path | None, typer.Option(help="CLIPSIM by the CLIP in this folder; texts lie beside videos.", metavar="FOLDER")
    ] = None
    batch_size: Annotated[int, typer.Option(help="Clips or frames a named network takes at once.")] = 4
    resamples: Annotated[int, typer.Option(help="Redrawn sets of videos for intervals; 0 leaves them out.")] = 100
    seed: Annotated[int, typer.Option(help="Of everything drawn: videos, intervals, subsets of KID.")] = 0
    force: Force = False

    @property
    def judged_size(self) -> tuple[int, int]:
        """Height and width of judged frames. Raises ``ValueError``."""
        size = parsed_size(self.size)
        assert size is not None
        return size

    def check(self) -> None:
        """Refuse what cannot be, before any work is done for it. Raises ``ValueError``."""
        if self.output is not None:
            check_outputs([self.output], force=self.force)
        if self.inception_score and self.inception is None:
            raise ValueError("--inception-score needs the network of --inception FILE")
        for name, file, digest in (
            ("i3d", self.i3d, self.i3d_sha256),
            ("inception", self.inception, self.inception_sha256),
        ):
            if digest is not None and file is None:
                raise ValueError(f"--{name}-sha256 is the hash of a file; name the file with --{name}")
        from latentloom.stages.request import MAX_FRAMES, check_count

        check_count("window", self.window, MAX_FRAMES)
        check_count("stride", self.stride, MAX_FRAMES)
        check_count("batch_size", self.batch_size, MAX_BATCH)
        for name, value in (("windows_per_video", self.windows_per_video), ("videos", self.videos)):
            if value is not None:
                check_count(name, value, MAX_VIDEOS)
        if self.resamples == 1 or not 0 <= self.resamples <= MAX_RESAMPLES:
            raise ValueError(f"resamples is {self.resamples}, expected 0 (none) or 2 to {MAX_RESAMPLES}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}, expected 0 to 2**63 - 1")
        self._check_window()

    def _check_window(self) -> None:
        if self.i3d is None:
            return
        from latentloom.evaluation.fvd import MIN_FRAMES

        if self.window < MIN_FRAMES:
            raise ValueError(f"--window {self.window}: I3D takes {MIN_FRAMES} frames or more, the paper's FVD is of 16")
