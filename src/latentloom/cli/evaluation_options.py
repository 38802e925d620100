"""The options of ``latentloom evaluate``: what is judged at which size and rate, with which networks."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentloom.cli.options import Force, check_output_folder, check_outputs, parsed_size

if TYPE_CHECKING:
    from latentloom.evaluation.video_figures import Windows

MAX_VIDEOS = 1_000_000  # and frames of one
MAX_RESAMPLES = 100_000
MAX_BATCH = 4096
MAX_PROCESSES = 256


def _network(text: str, metavar: str = "FILE") -> Any:
    return typer.Option(help=text, metavar=metavar, show_default="none")


def _digest(option: str) -> Any:
    return typer.Option(help=f"Refuse {option}'s file unless it has this sha256.", metavar="HASH", show_default="any")


def _of_stack(text: str) -> Any:
    return typer.Option(help=f"Where FAKE is a stack: {text}", show_default="the stack's")


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What ``evaluate`` is told beside the two sets."""

    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write figures and receipt there as JSON, plots beside it as PNG."),
    ] = None
    videos: Annotated[
        int | None,
        typer.Option(help="So many videos of each set, drawn with --seed; a stack makes so many.", show_default="all"),
    ] = None
    size: Annotated[str, typer.Option(help="Height and width to judge at.", metavar="HxW")] = "128x256"
    fps: Annotated[float | None, typer.Option(help="Resample to this rate.", show_default="as filmed")] = None
    split: Annotated[str, typer.Option(help="Clips of a dataset folder to take; where it has none, all.")] = "val"
    window: Annotated[int, typer.Option(help="Frames of a clip that one feature describes.")] = 16
    stride: Annotated[int, typer.Option(help="Of every so many frames a window takes one.")] = 1
    windows_per_video: Annotated[
        int | None, typer.Option(help="At most so many windows of a video.", show_default="all")
    ] = None
    paired: Annotated[bool, typer.Option("--paired", help="Videos belong together by name: PSNR and flicker.")] = False
    warp: Annotated[bool, typer.Option("--warp/--no-warp", help="Warp error by OpenCV's optical flow.")] = True
    diversity: Annotated[
        bool, typer.Option("--diversity", help="How different the generated NAME-1, NAME-2, ... of each NAME are.")
    ] = False
    training: Annotated[
        Path | None,
        typer.Option(
            help="Footage the model was trained on: which of it generated videos come near.", show_default="none"
        ),
    ] = None
    i3d: Annotated[Path | None, _network("FVD by this I3D TorchScript file; its code runs.")] = None
    i3d_sha256: Annotated[str | None, _digest("--i3d")] = None
    inception: Annotated[Path | None, _network("FID and KID by this Inception TorchScript file; its code runs.")] = None
    inception_sha256: Annotated[str | None, _digest("--inception")] = None
    inception_score: Annotated[
        bool, typer.Option("--inception-score", help="The inception score of frames, too, by --inception.")
    ] = False
    c3d: Annotated[Path | None, _network("Inception score of clips by this C3D TorchScript file; its code runs.")] = (
        None
    )
    c3d_sha256: Annotated[str | None, _digest("--c3d")] = None
    clip: Annotated[Path | None, _network("CLIPSIM by the CLIP in this folder; texts lie beside videos.", "FOLDER")] = (
        None
    )
    frames: Annotated[int | None, _of_stack("frames of a video.")] = None
    steps: Annotated[int | None, _of_stack("denoising steps.")] = None
    made: Annotated[
        Path | None,
        typer.Option(
            help="Where FAKE is a stack: keep its videos there.", metavar="FOLDER", show_default="beside OUTPUT"
        ),
    ] = None
    batch_size: Annotated[int, typer.Option(help="Clips or frames a network takes at once.")] = 4
    processes: Annotated[int, typer.Option(help="For tens of videos and more; figures stay the same.")] = 1
    resamples: Annotated[int, typer.Option(help="Redrawn sets of videos for intervals; 0 leaves them out.")] = 100
    seed: Annotated[int, typer.Option(help="Of everything drawn: videos, intervals, subsets of KID.")] = 0
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="With -o: plots.")] = True
    force: Force = False

    @property
    def judged_size(self) -> tuple[int, int]:
        """Height and width of judged frames. Raises ``ValueError``."""
        size = parsed_size(self.size)
        assert size is not None
        if min(size) < 1:
            raise ValueError(f"--size {self.size}: expected at least 1x1")
        return size

    @property
    def windows(self) -> "Windows":
        """Which frames features describe."""
        from latentloom.evaluation.video_figures import Windows

        return Windows(length=self.window, stride=self.stride, per_video=self.windows_per_video)

    @property
    def plot(self) -> Path | None:
        """Where the plots go."""
        return None if self.output is None or not self.plots else self.output.with_suffix(".png")

    def check(self) -> None:
        """Refuse what cannot be, before any work is done for it. Raises ``ValueError``."""
        _ = self.judged_size
        self._check_outputs()
        self._check_networks()
        from latentloom.data.timing import exact_rate
        from latentloom.stages.request import MAX_FRAMES, check_count

        if self.fps is not None:
            exact_rate(self.fps)
        check_count("window", self.window, MAX_FRAMES)
        check_count("stride", self.stride, MAX_FRAMES)
        check_count("batch_size", self.batch_size, MAX_BATCH)
        check_count("processes", self.processes, MAX_PROCESSES)
        for name in ("windows_per_video", "videos", "frames", "steps"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), MAX_VIDEOS)
        if self.resamples == 1 or not 0 <= self.resamples <= MAX_RESAMPLES:
            raise ValueError(f"resamples is {self.resamples}, expected 0 (none) or 2 to {MAX_RESAMPLES}")
        if not 0 <= self.seed < 2**62:
            raise ValueError(f"seed is {self.seed}, expected 0 to 2**62 - 1")
        self._check_window()

    def _check_outputs(self) -> None:
        if self.output is not None:
            if self.output.suffix.lower() == ".png":
                raise ValueError(f"{self.output}: figures are written as JSON; plots go beside them as .png")
            check_outputs([path for path in (self.output, self.plot) if path is not None], force=self.force)
        if self.made is not None:
            check_output_folder(self.made)

    def _check_networks(self) -> None:
        if self.inception_score and self.inception is None:
            raise ValueError("--inception-score needs the network of --inception FILE")
        for name in ("i3d", "inception", "c3d"):
            if getattr(self, f"{name}_sha256") is not None and getattr(self, name) is None:
                raise ValueError(f"--{name}-sha256 is the hash of a file; name the file with --{name}")

    def _check_window(self) -> None:
        from latentloom.evaluation import c3d, fvd, video_network

        if self.window < video_network.MIN_FRAMES:
            raise ValueError(f"--window {self.window}: features describe {video_network.MIN_FRAMES} frames or more")
        if self.i3d is not None and self.window < fvd.MIN_FRAMES:
            raise ValueError(
                f"--window {self.window}: I3D takes {fvd.MIN_FRAMES} frames or more, the paper's FVD is of 16"
            )
        if self.c3d is not None and self.window != c3d.FRAMES:
            raise ValueError(f"--window {self.window}: C3D takes {c3d.FRAMES} frames, judge with --window {c3d.FRAMES}")
