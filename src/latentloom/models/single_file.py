"""Stable Diffusion in one file, as its authors and most fine-tuners ship it, to a model folder.

diffusers reads and converts it (a .ckpt with ``weights_only``: no code of the file runs) with the configuration of its
family, which the Hub or its cache knows. That is done once for a file: the folder is kept beside the Hub's cache under
the file's digest.
"""

from pathlib import Path
from typing import Any, cast

from latentloom.files import digest_of, printable, whole_folder

SUFFIXES = (".safetensors", ".ckpt")


def is_single_file(source: Path) -> bool:
    """Whether a path may be a whole model in one file."""
    return source.suffix.lower() in SUFFIXES and source.is_file()


def converted(source: Path) -> Path:
    """The folder of a single-file model, made at the first call: as large as the file, float32 where that is.

    Raises:
        ValueError: no Stable Diffusion, damaged, or its family's configuration cannot be had; one line.
    """
    from huggingface_hub import constants

    folder = Path(constants.HF_HOME) / "latentloom" / digest_of(source)[:32]
    if not folder.is_dir():
        pipeline = _read(source)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(folder) as draft:
            pipeline.save_pretrained(draft)
    return folder


def _read(source: Path) -> Any:
    from diffusers import StableDiffusionPipeline
    from huggingface_hub import constants

    options = {
        "local_files_only": constants.is_offline_mode(),
        "safety_checker": None,
        "requires_safety_checker": False,
    }
    try:
        return cast(Any, StableDiffusionPipeline).from_single_file(str(source), **options)
    except Exception as error:  # diffusers raises anything on a file that is no such model
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{printable(source)} cannot be read as Stable Diffusion: {printable(reason)[:200]} (the configuration of"
            " its family comes from the Hub, once)"
        ) from error
