"""The networks that ``latentloom evaluate`` is named: hashed, told, then loaded; and what the receipt says of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.cli.evaluation_options import EvaluationOptions
from latentloom.cli.options import compute_device
from latentloom.files import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from latentloom.cli.evaluation_inputs import VideoFile, VideoSet
    from latentloom.evaluation.clipsim import ClipNetwork
    from latentloom.evaluation.torchscript import NetworkFile, ScriptedNetwork
    from latentloom.evaluation.video_figures import Extract


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What takes features of windows, by name; CLIP, which needs texts too; and the receipt of all."""

    extractors: "dict[str, Extract]"
    clip: "ClipNetwork | None"
    receipt: dict[str, dict[str, Any]]
    batch_size: int

    def similarity(self, video: "VideoFile") -> "Callable[[Tensor], float] | None":
        """What compares frames with the text of ``video``; None without CLIP or a text."""
        clip, caption = self.clip, video.caption
        if clip is None or not caption:
            return None
        from latentloom.evaluation.clipsim import clip_similarity

        return lambda frames: clip_similarity(clip.frames(frames, self.batch_size), clip.text(caption))


def named_networks(options: EvaluationOptions, *, tell: bool = True) -> Networks:
    """Load what the options name; all files are hashed and checked before the code of any runs.

    Args:
        tell: say what is about to run.

    Raises:
        ValueError: a file that is missing, damaged, another than its hash says, or no such network.
    """
    from latentloom.evaluation import c3d, comparison, fid, fvd
    from latentloom.evaluation.clipsim import PREPROCESSING, ClipNetwork
    from latentloom.evaluation.torchscript import load_network, read_network_file

    named = (
        (comparison.I3D, "--i3d", options.i3d, options.i3d_sha256, fvd.PREPROCESSING),
        (comparison.INCEPTION, "--inception", options.inception, options.inception_sha256, fid.PREPROCESSING),
        (comparison.C3D, "--c3d", options.c3d, options.c3d_sha256, c3d.PREPROCESSING),
    )
    files = {
        name: read_network_file(path, option=option, sha256=digest)
        for name, option, path, digest, _ in named
        if path is not None
    }
    receipt: dict[str, dict[str, Any]] = {comparison.OWN: _own_line()}
    loaded: dict[str, ScriptedNetwork] = {}
    for name, option, _, _, preprocessing in named:
        if name in files:
            if tell:
                print(_told(option, files[name], fvd.KNOWN_SHA256))
            loaded[name] = load_network(files[name], compute_device())
            receipt[name] = _line(loaded[name], preprocessing)
    clip = None if options.clip is None else ClipNetwork.load(options.clip, compute_device())
    if clip is not None:
        receipt["clip"] = _line(clip, PREPROCESSING)
    return Networks(extractors=_extractors(loaded, options), clip=clip, receipt=receipt, batch_size=options.batch_size)


def check_captions(path: Path | None, generated: "VideoSet") -> None:
    """Refuse CLIPSIM of videos without texts. Raises ``ValueError``."""
    if path is not None and not any(video.caption for video in generated.videos):
        raise ValueError(
            f"--clip compares videos with their texts, and {printable(generated.path)} has none; put NAME.txt beside"
            " NAME.mp4"
        )


def _extractors(loaded: "dict[str, ScriptedNetwork]", options: EvaluationOptions) -> "dict[str, Extract]":
    from latentloom.evaluation import c3d, comparison, fid, fvd, video_network

    batch = options.batch_size
    extractors: dict[str, Extract] = {comparison.OWN: lambda windows: video_network.video_features(windows, batch)}
    if i3d := loaded.get(comparison.I3D):
        extractors[comparison.I3D] = lambda windows: fvd.i3d_features(i3d, windows, batch)
    if classifier := loaded.get(comparison.C3D):
        extractors[comparison.C3D] = lambda windows: c3d.c3d_probabilities(classifier, windows, batch)
    if inception := loaded.get(comparison.INCEPTION):
        extractors[comparison.INCEPTION] = lambda windows: fid.inception_features(
            inception, windows.flatten(0, 1), batch
        )
        if options.inception_score:
            extractors[comparison.CLASSES] = lambda windows: fid.inception_probabilities(
                inception, windows.flatten(0, 1), batch
            )
    return extractors


def _told(option: str, file: "NetworkFile", known: str) -> str:
    """What is about to run, and whether it is what others use."""
    text = f"{option} {printable(file.path.name)}: TorchScript, its code runs now; sha256 {file.sha256}"
    if option != "--i3d":
        return text
    if file.sha256 == known:
        return f"{text} (StyleGAN-V's file, which most projects use)"
    return f"{text} (not StyleGAN-V's file: its FVD compares only with FVDs of the same file)"


def _line(network: "ScriptedNetwork | ClipNetwork", preprocessing: str) -> dict[str, Any]:
    return {"name": network.name, "sha256": network.sha256, "preprocessing": preprocessing}


def _own_line() -> dict[str, Any]:
    from latentloom.evaluation import video_network

    return {
        "name": video_network.NAME,
        "sha256": video_network.SHA256,
        "preprocessing": video_network.PREPROCESSING,
    }
