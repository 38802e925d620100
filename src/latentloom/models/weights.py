"""Where a network's weights lie in its folder: one safetensors file, shards with their index, a variant such as fp16.

The names are those of diffusers (``diffusion_pytorch_model``) and transformers (``model``). Light: no network is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from latentloom.files import printable
from latentloom.models.untrusted import PICKLES, check_member_folder, read_json, safetensors_header

DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model", "model"
VARIANTS = (None, "fp16", "bf16")
"""In the order in which they are taken: the plain one first."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The files of one network's weights.

    Attributes:
        files: safetensors, one or several shards.
        index: which shard holds which tensor; None for a single file.
        variant: as libraries call it; None is the plain one.
    """

    files: Sequence[Path]
    index: Path | None
    variant: str | None

    @classmethod
    def find(cls, folder: Path, stem: str) -> Self:
        """The weights in ``folder``, the plain ones before variants.

        Raises:
            ValueError: none are there (a pickle in their place is named), or an index that names what is not beside it.
        """
        for variant in VARIANTS:
            dotted = "" if variant is None else f".{variant}"
            single, index = folder / f"{stem}{dotted}.safetensors", folder / f"{stem}.safetensors.index{dotted}.json"
            if single.is_file() and index.is_file():  # transformers takes the one, diffusers the other
                raise ValueError(f"{printable(folder)} holds both {single.name} and {index.name}; remove one of them")
            if single.is_file():
                return cls(files=(single,), index=None, variant=variant)
            if index.is_file():
                return cls(files=_shards(index), index=index, variant=variant)
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        found = f"; {printable(pickles[0])} is a pickle, which is never opened: convert it" if pickles else ""
        raise ValueError(f"{printable(folder / f'{stem}.safetensors')} is missing{found}")

    def read_header(self) -> dict[str, Any]:
        """``safetensors_header`` of all files together.

        Raises:
            ValueError: a damaged file, a tensor in two of them, or an index that says otherwise.
        """
        known: dict[str, Any] = {}
        places: dict[str, str] = {}
        for path in self.files:
            header = safetensors_header(path)
            if twice := sorted(header.keys() & known.keys()):
                raise ValueError(f"{printable(path)} holds {printable(twice[0])}, which {places[twice[0]]} holds, too")
            known |= header
            places |= dict.fromkeys(header, path.name)
        if self.index is not None and places != read_json(self.index)["weight_map"]:
            raise ValueError(
                f"{printable(self.index)} does not say which tensors its files hold; copy the folder again"
            )
        return known


def check_weights(folder: Path, stem: str) -> Weights:
    """The weights and ``config.json`` of a network's folder, checked without loading it.

    Raises:
        ValueError: what ``check_member_folder``, ``Weights.find`` and ``read_header`` refuse.
    """
    check_member_folder(folder, ["config.json"])
    read_json(folder / "config.json")
    weights = Weights.find(folder, stem)
    weights.read_header()
    return weights


def _shards(index: Path) -> Sequence[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{printable(index)} has no weight_map, which names the file of each tensor")
    names = sorted({name if isinstance(name, str) else "" for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{printable(index)} names {printable(name)[:80]!r}, expected safetensors files beside it")
        if not (index.parent / name).is_file():
            raise ValueError(f"{printable(index.parent / name)} is missing, {index.name} names it")
    return tuple(index.parent / name for name in names)
