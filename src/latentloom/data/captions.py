"""Captions of a folder of videos: found, checked, cleaned, counted. Not tokenised: words are a model's affair.

A caption of `drive.mp4` is looked for in `drive.txt` beside it, then in `captions.json`, `captions.jsonl` or
`captions.csv` at the top of the folder (`{file: caption}` or a list of `{"file": ..., "caption": ...}`; the CSV has
those two columns). Files are named by their path inside the folder, or by their name alone where that is unambiguous.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from latentloom.files import printable

MAX_FILE_BYTES = 64 << 20
MAX_CHARACTERS = 1000  # about 250 tokens; text encoders read 77 at most
_LISTS = ("captions.json", "captions.jsonl", "captions.csv")
# Codes that show nothing themselves: controls, direction marks, halves of pairs, private use. Joiners stay (emoji).
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\uf8ff\ufffe\uffff]"
)


@dataclass(frozen=True, kw_only=True)
class CaptionCounts:
    """What happened to the captions of a folder, in numbers of videos (``unused``: entries that name no video)."""

    own: int = 0
    default: int = 0
    missing: int = 0
    cleaned: int = 0
    shortened: int = 0
    unused: int = 0


def find_captions(
    folder: Path, videos: Sequence[Path], default: str | None = None
) -> tuple[dict[Path, str], CaptionCounts]:
    """The caption of each of ``videos`` (all inside ``folder``), and what was done to get them.

    Control codes and direction marks are removed, white space becomes single spaces, and what exceeds
    ``MAX_CHARACTERS`` is cut at a word. An empty or absent caption becomes ``default``; without one the video has none.

    Raises:
        ValueError: a caption file that is not UTF-8, not of the form above, names a file twice, or is over 64 MiB.
    """
    listed = _listed_captions(folder)
    names = [PurePosixPath(video.relative_to(folder)) for video in videos]
    raw, unused = _matched(listed, names)
    captions: dict[Path, str] = {}
    counts = dict.fromkeys(("own", "default", "missing", "cleaned", "shortened"), 0)
    for video, name in zip(videos, names, strict=True):
        beside = video.with_suffix(".txt")
        given = _read_text(beside) if beside.is_file() else raw.get(name, "")
        text, cleaned = _clean(given)
        text, shortened = _shorten(text)
        counts["cleaned"] += cleaned
        counts["shortened"] += shortened
        counts["own" if text else "default" if default else "missing"] += 1
        if text or default:
            captions[video] = text or default or ""
    return captions, CaptionCounts(**counts, unused=unused)


def _read_text(path: Path) -> str:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{printable(path)}: {size >> 20} MiB, a caption file has at most {MAX_FILE_BYTES >> 20}")
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{printable(path)}: not UTF-8 (byte 0x{content[error.start]:02x} at position {error.start}), perhaps "
            "Latin-1; save it as UTF-8 (iconv -f LATIN1 -t UTF-8)"
        ) from None


def _listed_captions(folder: Path) -> dict[PurePosixPath, str]:
    present = [folder / name for name in _LISTS if (folder / name).is_file()]
    if len(present) > 1:
        raise ValueError(f"{printable(folder)}: {' and '.join(path.name for path in present)}; keep one of them")
    captions: dict[PurePosixPath, str] = {}
    for path in present:
        for file, caption in _entries(path):
            name = PurePosixPath(file)
            if name in captions:
                raise ValueError(f"{printable(path)}: {printable(file)} is named twice")
            captions[name] = caption
    return captions


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    for row in _rows(path, _read_text(path)):
        file, caption = (row.get("file"), row.get("caption")) if isinstance(row, Mapping) else (None, None)
        if not isinstance(file, str) or not isinstance(caption, str) or "\0" in file:
            raise ValueError(f'{printable(path)}: expected entries of "file" and "caption", found {_shown(row)}')
        yield file, caption


def _rows(path: Path, text: str) -> Iterable[object]:
    try:
        if path.suffix == ".csv":
            return list(csv.DictReader(io.StringIO(text, newline="")))
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        content = json.loads(text)
    except (ValueError, csv.Error, RecursionError) as error:
        raise ValueError(f"{printable(path)}: not readable as {path.suffix[1:]} ({printable(str(error))})") from None
    if isinstance(content, dict):
        return [{"file": file, "caption": caption} for file, caption in content.items()]
    return content if isinstance(content, list) else [content]


def _shown(row: object) -> str:
    return printable(repr(row)[:80])


def _matched(
    listed: Mapping[PurePosixPath, str], names: Sequence[PurePosixPath]
) -> tuple[dict[PurePosixPath, str], int]:
    """Captions by path inside the folder, and how many entries name no video."""
    by_name: dict[str, list[PurePosixPath]] = {}
    for name in names:
        by_name.setdefault(name.name, []).append(name)
    inside = set(names)
    matched: dict[PurePosixPath, str] = {}
    for entry, caption in listed.items():
        candidates = [entry] if entry in inside else by_name.get(entry.name, [])
        if len(candidates) == 1 and (entry in inside or candidates[0] not in listed):
            matched[candidates[0]] = caption
    return matched, len(listed) - len(matched)


def _clean(text: str) -> tuple[str, bool]:
    """``text`` on one line without invisible codes, and whether there were any."""
    kept, removed = _INVISIBLE.subn("", text)
    return re.sub(r"\s+", " ", kept).strip(), removed > 0


def _shorten(text: str) -> tuple[str, bool]:
    if len(text) <= MAX_CHARACTERS:
        return text, False
    return text[: MAX_CHARACTERS + 1].rpartition(" ")[0] or text[:MAX_CHARACTERS], True
