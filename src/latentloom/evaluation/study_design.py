"""Which videos meet in a blind pairwise study, under which opaque names: the study and, in that, its key.

Everything random comes from a digest of the seed and the videos: the same call makes the same study. Who sees which
video on the left, and in which order, is drawn on the page from the study's id and the rater's name (``study_page``).
Not here: statistics (``study``), files (``cli/study_folder``).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_PAIRS = 10_000
_Id = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]


class StudyVideo(BaseModel):
    """A video as shown: its opaque name, and what it is (``source``: its name in the method's folder)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: _Id
    method: str
    source: str


class StudyPair(BaseModel):
    """Two videos of different methods, in an order that says nothing: of two methods each is first in half of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: _Id
    videos: tuple[StudyVideo, StudyVideo]


class Study(BaseModel):
    """A study with its key; what is in ``key.json``. The page gets ``id``, ``question`` and the opaque names only."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1] = 1
    id: _Id
    question: Annotated[str, Field(min_length=1, max_length=500)]
    seed: int
    methods: Annotated[tuple[str, ...], Field(min_length=2)]
    pairs: Annotated[tuple[StudyPair, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        names = [name for pair in self.pairs for name in (pair.id, *(video.id for video in pair.videos))]
        if len(set(names)) != len(names):
            raise ValueError("an opaque name occurs twice")
        for pair in self.pairs:
            methods = {video.method for video in pair.videos}
            if len(methods) != 2 or not methods <= set(self.methods):
                raise ValueError(f"pair {pair.id} is not of two of the methods")
        return self

    @property
    def num_matched(self) -> int:
        """In how many pairs both videos have one name."""
        return sum(first.source == second.source for first, second in (pair.videos for pair in self.pairs))


def designed(digests: Mapping[str, Mapping[str, str]], *, question: str, num_pairs: int = 50, seed: int = 0) -> Study:
    """A study of ``num_pairs`` pairs for each two methods.

    Args:
        digests: method -> name of the video -> its checksum. Videos of one name are paired with each other first, the
            others at random; no video is in two pairs of the same two methods.

    Raises:
        ValueError: fewer than two methods, a method with fewer videos than pairs, or a number of pairs out of range.
    """
    if len(digests) < 2:
        raise ValueError("a study compares two methods or more; give two folders of videos")
    if not 1 <= num_pairs <= MAX_PAIRS:
        raise ValueError(f"--pairs is {num_pairs}, expected 1 to {MAX_PAIRS}")
    for method, videos in digests.items():
        if len(videos) < num_pairs:
            raise ValueError(
                f"{method} has {len(videos)} videos, {num_pairs} pairs need as many of each method; give --pairs"
                f" {len(videos)} or fewer, or more videos"
            )
    content = json.dumps([seed, question, num_pairs, {name: dict(videos) for name, videos in digests.items()}])
    digest = hashlib.sha256(content.encode()).hexdigest()
    draw = np.random.default_rng(int(digest, 16))
    couples = []
    for first, second in combinations(digests, 2):
        named = _couples(list(digests[first]), list(digests[second]), num_pairs, draw)
        turns = draw.permutation(num_pairs) % 2  # each method is first in half of its pairs: none gains by its side
        couples += [
            [(first, name), (second, other)][:: -1 if turn else 1]
            for (name, other), turn in zip(named, turns, strict=True)
        ]
    ids = _opaque_names(3 * len(couples), draw)
    pairs = []
    for place in draw.permutation(len(couples)):
        videos = tuple(StudyVideo(id=next(ids), method=method, source=name) for method, name in couples[place])
        pairs.append(StudyPair(id=next(ids), videos=(videos[0], videos[1])))
    return Study(id=digest[:12], question=question, seed=seed, methods=tuple(digests), pairs=tuple(pairs))


def _couples(
    ours: Sequence[str], theirs: Sequence[str], count: int, draw: np.random.Generator
) -> list[tuple[str, str]]:
    """``count`` couples of names: equal names first, then at random from what is left."""
    both = sorted(set(ours) & set(theirs))
    matched = [both[k] for k in draw.permutation(len(both))][:count]
    couples = [(name, name) for name in matched]
    rest = count - len(couples)
    left = [[name for name in sorted(names) if name not in set(matched)] for names in (ours, theirs)]
    drawn = [[names[k] for k in draw.permutation(len(names))][:rest] for names in left]
    return couples + list(zip(*drawn, strict=True))


def _opaque_names(count: int, draw: np.random.Generator) -> Iterator[str]:
    """``count`` different names of twelve hexadecimal digits."""
    names: dict[str, None] = {}
    while len(names) < count:
        names[draw.bytes(6).hex()] = None
    return iter(names)
