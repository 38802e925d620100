"""Models by their name on the Hugging Face Hub: ``"owner/name"`` to a folder on this machine.

Only what a model folder needs is fetched, once, into huggingface_hub's own cache; without a network, and with
``HF_HUB_OFFLINE=1``, the cache answers alone. The folder is checked like any other afterwards.
"""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from latentloom.models.weights import DIFFUSERS, TRANSFORMERS, VARIANTS

_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_PLAIN = (".json", ".txt", ".md")


def is_repository(source: str) -> bool:
    """Whether a string may be a repository's name, and is no path here: its folder is not there either."""
    return bool(_NAME.fullmatch(source)) and ".." not in source and not Path(source).parent.is_dir()


def snapshot(name: str, members: Iterable[str]) -> Path:
    """The folder of a repository's newest revision, or of the one in the cache where there is no network.

    Args:
        members: folders of it that are wanted, beside the files at its root.

    Raises:
        ValueError: no such repository, no access, or no network and nothing in the cache; one line.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        files = wanted(HfApi().list_repo_files(name), members)
        return Path(snapshot_download(name, allow_patterns=files))
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{name} is no folder here, and the Hub says: {reason[:200]}") from error
    except Exception:  # no network: the class that says so is that of the hub's HTTP client, which changes
        pass
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise ValueError(
            f"{name} is no folder here and not in the cache of the Hub, which cannot be reached; fetch it where there"
            f" is a network: hf download {name}"
        ) from error


def wanted(files: Iterable[str], members: Iterable[str]) -> list[str]:
    """Of a repository's files those of a model folder: configurations, and each network's weights once.

    Checkpoints at the root, pickles, code, and variants of weights that are there plainly stay where they are.
    """
    members, chosen, weights = tuple(members), list[str](), dict[str, list[str]]()
    for file in sorted(files):
        path = PurePosixPath(file)
        folder = path.parent.as_posix()
        inside = any(folder == member or folder.startswith(f"{member}/") for member in members)
        if path.suffix == ".safetensors" and inside:
            weights.setdefault(folder, []).append(path.name)
        elif path.suffix in _PLAIN and (inside or folder == "."):
            chosen.append(file)
    return chosen + [f"{folder}/{name}" for folder, names in weights.items() for name in _first_variant(names)]


def _first_variant(names: list[str]) -> list[str]:
    """Of one folder's safetensors those of the variant that ``Weights.find`` will take."""
    for variant in VARIANTS:
        dotted = "" if variant is None else rf"\.{variant}"
        shape = re.compile(
            rf"({DIFFUSERS}|{TRANSFORMERS})({dotted}|-\d+-of-\d+{dotted}|{dotted}-\d+-of-\d+)\.safetensors"
        )
        if found := [name for name in names if shape.fullmatch(name)]:
            return found
    return names
