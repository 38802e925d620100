"""The files of a study: the page to hand out, the key that stays, the answers that come back.

STUDY/page/index.html       what raters open, with the videos beside it under opaque names
STUDY/key.json              which video is of which method; never given to a rater
"""

import csv
import io
import json
import math
import warnings
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

from pydantic import ValidationError

from latentloom.data.copying import copy_for_browsers
from latentloom.data.decoding import VideoHeader
from latentloom.data.prepare import list_videos
from latentloom.evaluation.study import Vote
from latentloom.evaluation.study_design import Study
from latentloom.evaluation.study_page import COLUMNS, SUFFIXES, shown_file, study_page
from latentloom.files import digest_of, names_once, one_line, printable, whole_folder, write_text
from latentloom.generation.progress import Show

KEY, PAGE = "key.json", "page"
MAX_BYTES = 1 << 24
MAX_SECONDS = 1e6
MAX_RATER = 40


def method_folders(folders: Sequence[Path]) -> dict[str, Path]:
    """The methods, named by their folders.

    Raises:
        ValueError: one that is no folder, or two of one name.
    """
    methods: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{printable(folder)}: no such folder of videos")
        name = folder.resolve().name
        if name in methods:
            raise ValueError(f"two folders are called {printable(name)}, methods are named by folder; rename one")
        methods[name] = folder
    return methods


def video_digests(folder: Path) -> dict[str, str]:
    """The videos of a method: name inside the folder -> checksum.

    Raises:
        ValueError: no videos, or one of a kind that browsers do not show.
    """
    digests = {}
    for path in list_videos(folder)[1]:
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{printable(path)}: browsers show {' and '.join(SUFFIXES)}; convert it or take it out")
        digests[str(path.relative_to(folder))] = digest_of(path)
    return digests


def write_study(study: Study, folders: dict[str, Path], output: Path, show: Show) -> dict[str, list[VideoHeader]]:
    """Write the folder of a study, whole or not at all; the headers of each method's videos.

    Raises:
        VideoError: a video that is damaged or of a codec that browsers do not show.
    """
    headers: dict[str, list[VideoHeader]] = {method: [] for method in study.methods}
    # by opaque name: the time of writing says nothing either
    videos = sorted((video for pair in study.pairs for video in pair.videos), key=lambda video: video.id)
    with whole_folder(output) as partial, show("videos") as advance:
        (partial / PAGE).mkdir()
        for done, video in enumerate(videos):
            advance(done, len(videos))
            source = folders[video.method] / video.source
            headers[video.method].append(copy_for_browsers(source, partial / PAGE / shown_file(video)))
        advance(len(videos), len(videos))
        write_text(partial / PAGE / "index.html", study_page(study))
        write_text(partial / KEY, study.model_dump_json(indent=1) + "\n")
    return headers


def read_study(folder: Path) -> Study:
    """The study with its key.

    Raises:
        ValueError: no study folder, or a key that is damaged.
    """
    path = folder / KEY
    if not path.is_file():
        raise ValueError(f"{printable(folder)}: no study, it has no {KEY}; give the folder `study make` wrote")
    try:
        text = _text(path)
        json.loads(text, object_pairs_hook=names_once)  # pydantic takes the last of two values
        return Study.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ValueError(f"{printable(path)}: damaged: {one_line(place)}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{printable(path)}: damaged: {one_line(error)}") from None


def read_votes(paths: Iterable[Path], study: Study, *, partial: bool = False) -> list[Vote]:
    """The votes of all files of answers; ``partial`` allows raters who did not answer every pair.

    Raises:
        ValueError: not the page's CSV, of another study, a pair unknown or answered twice by a rater, or unfinished.
    """
    votes: dict[tuple[str, str], Vote] = {}
    origin: dict[tuple[str, str], Path] = {}
    for path in paths:
        for vote in _votes(path, study):
            answered = (vote.rater, vote.pair)
            if answered in votes:
                raise ValueError(
                    f"{printable(path)}: {printable(vote.rater)} answered pair {vote.pair} twice (also in"
                    f" {printable(origin[answered].name)}); leave one file out, or rename one of two raters in the file"
                )
            votes[answered], origin[answered] = vote, path
    if not partial:
        _check_finished(votes, study)
    _tell_alike({vote.rater for vote in votes.values()})
    return list(votes.values())


def _tell_alike(raters: Set[str]) -> None:
    """Warn of names that differ in case and blanks alone: one person's votes would count twice."""
    seen = dict[str, str]()
    for rater in sorted(raters):
        other = seen.setdefault("".join(rater.casefold().split()), rater)
        if other != rater:
            warnings.warn(
                f"raters {other!r} and {rater!r} count as two; where they are one, leave one of their files out",
                stacklevel=2,
            )


def _check_finished(votes: Iterable[tuple[str, str]], study: Study) -> None:
    raters = [rater for rater, _ in votes]
    for rater in sorted(set(raters)):
        if raters.count(rater) < len(study.pairs):
            raise ValueError(
                f"{printable(rater)} answered {raters.count(rater)} of {len(study.pairs)} pairs; let them go on (the"
                " page remembers), leave the file out, or count what is there with --partial"
            )


def _votes(path: Path, study: Study) -> Iterable[Vote]:
    """The votes of one file, in its order."""
    method = {video.id: video.method for pair in study.pairs for video in pair.videos}
    pairs = {pair.id: {video.id for video in pair.videos} for pair in study.pairs}
    try:
        rows = list(csv.reader(io.StringIO(_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(f"{printable(path)}: no CSV: {error}") from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise ValueError(f"{printable(path)}: no answers of a study, expected the columns {','.join(COLUMNS)}")
    rows = [(line, row) for line, row in enumerate(rows[1:], 2) if row]
    if not rows:
        raise ValueError(f"{printable(path)}: holds no answers; leave it out")
    for line, row in rows:
        try:
            yield _vote(row, study.id, pairs, method)
        except ValueError as error:
            raise ValueError(f"{printable(path)}, line {line}: {error}") from None


def _vote(row: list[str], study: str, pairs: dict[str, set[str]], method: dict[str, str]) -> Vote:
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} values, expected {len(COLUMNS)}; save it as CSV with commas")
    told, pair, left, right, answer, seconds, rater = (value.strip() for value in row)
    if told != study:
        raise ValueError(f"of another study ({printable(told[:20])}, here {study}); give the folder it belongs to")
    if pair not in pairs:
        raise ValueError(f"pair {printable(pair[:20])!r} is not in this study; restore the file as the page saved it")
    if {left, right} != pairs[pair]:
        raise ValueError(f"pair {pair} has other videos than the study; restore the file as the page saved it")
    if answer not in ("left", "right", "tie"):
        raise ValueError(f"the answer is {printable(answer[:20])!r}, expected left, right or tie")
    if not rater or len(rater) > MAX_RATER or not rater.isprintable():
        raise ValueError(f"the rater {printable(rater[:MAX_RATER])!r} is no name of 1 to {MAX_RATER} characters")
    preferred = {"left": method[left], "right": method[right], "tie": None}[answer]
    return Vote(
        pair=pair, rater=rater, left=method[left], right=method[right], preferred=preferred, seconds=_seconds(seconds)
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"seconds are {printable(text[:20])!r}, expected a number from 0 on")
    return seconds


def _text(path: Path) -> str:
    """A text file of a stranger: regular, not huge, UTF-8.

    Raises:
        ValueError: it is not.
    """
    if not path.is_file():  # a device never ends, a pipe waits
        raise ValueError(f"{printable(path)}: no such file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{printable(path)}: more than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")  # with the mark that spreadsheets put before it
    except UnicodeDecodeError:
        raise ValueError(f"{printable(path)}: no UTF-8 text; restore the file as the page saved it") from None
