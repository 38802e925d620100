from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from tests.tiny import tiny_stack

from latentloom.layers.layer_set import LayerSet
from latentloom.stack import Stack
from latentloom.stages.cascade import CascadeRequest, generate_latents
from latentloom.stages.journal import Journal, Remember, make_anew
from latentloom.stages.keyframes import generate_keyframes
from latentloom.stages.request import ClipRequest, seeded_generator

CLIP = ClipRequest(prompt="a road at night", num_frames=4, height=32, width=64, num_inference_steps=2, fps=2.0)
REQUEST = CascadeRequest(clip=CLIP, num_frames=97, passes=2, interpolation=replace(CLIP, num_frames=9))
KEYS = replace(REQUEST, num_frames=7, passes=0)
START = torch.randn(1, 1, 8, 4, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model() -> Stack:
    sets = ("keyframes", "prediction", "interpolation")
    return tiny_stack(layer_set=LayerSet.driving().with_context(), sets=sets)


def whole(model: Stack, request: CascadeRequest, **options) -> torch.Tensor:
    return torch.cat(list(generate_latents(model, request, **options)), 1)


class KilledError(Exception):
    pass


def noting(made: list[tuple[str, int]], remember: Remember = make_anew, killed_after: int | None = None) -> Remember:
    """``remember`` that lists the windows which are made, and is killed before one of them."""

    def noted(stage: str, index: int, make: Callable[[], torch.Tensor], /) -> torch.Tensor:
        def told() -> torch.Tensor:
            if len(made) == killed_after:
                raise KilledError
            made.append((stage, index))
            return make()

        return remember(stage, index, told)

    return noted


@pytest.mark.parametrize(
    ("num_frames", "passes", "keys"),
    [(1, 2, 1), (3, 0, 3), (13, 1, 4), (7, 0, 7), (97, 2, 7), (113, 2, 8), (29, 1, 8), (175, 2, 12), (98, 2, 8)],
)
def test_the_video_has_the_frames_that_were_asked_for(model, num_frames, passes, keys):
    request = replace(REQUEST, num_frames=num_frames, passes=passes)
    assert request.num_keyframes == keys
    assert request.fps == 2.0 * 4**passes
    for start in (None, START):
        made: list[tuple[str, int]] = []
        clip = whole(model, request, start=start, remember=noting(made))
        assert clip.shape[1] == num_frames
        stages = request.stages(from_frame=start is not None)
        assert sorted(made) == sorted((stage.name, i) for stage in stages for i in range(stage.num_windows))


def test_windows_join_where_they_say(model):
    request = replace(KEYS, num_frames=11)
    stages = {stage.name: stage for stage in request.stages(from_frame=False)}
    assert list(stages["prediction"].joins) == [4, 6, 8, 10] and not stages["keyframes"].joins
    assert list(request.stages(from_frame=True)[0].joins) == [4, 6, 8, 10]

    def disturbed(stage: str, index: int, make: Callable[[], torch.Tensor], /) -> torch.Tensor:
        return make() + float((stage, index) == ("prediction", 1))

    def first_changed(request: CascadeRequest, spread: int = 1) -> int:
        changed = (whole(model, request, remember=disturbed) - whole(model, request))[:, ::spread]
        return spread * int((changed.abs().amax(dim=(0, 2, 3, 4)) > 1e-3).nonzero()[0])

    assert first_changed(request) == 6, "the second window begins there"
    finer = replace(REQUEST, num_frames=33, passes=1)
    seams = next(stage.joins for stage in finer.stages(from_frame=False) if stage.name == "prediction")
    assert list(seams) == [*range(13, 17), *range(21, 25), *range(29, 33)], "spread over what lies between"
    assert first_changed(finer, 4) == 24, "the first key frame behind the second seam"
    joins = {stage.name: list(stage.joins) for stage in REQUEST.stages(from_frame=False)}
    assert joins["interpolation-1"] == list(range(9, 97, 8))
    assert joins["interpolation-0"] == [*range(33, 37), *range(65, 69)]
    assert joins["prediction"] == [*range(49, 65), *range(81, 97)]


def test_a_clip_of_key_frames_alone_is_that_of_the_key_frame_stage(model):
    request = replace(KEYS, num_frames=4)
    assert torch.equal(whole(model, request, seed=3), generate_keyframes(model, CLIP, generator=seeded_generator(3)))


def test_interpolation_keeps_the_key_frames(model):
    keys = whole(model, KEYS, seed=1)
    assert torch.equal(whole(model, REQUEST, seed=1)[:, ::16], keys)


def test_futures_share_their_start_and_differ_after_it(model):
    futures = [whole(model, replace(REQUEST, num_frames=25, passes=1, future=k), start=START) for k in (0, 1)]
    assert torch.equal(futures[0][:, :1], START) and torch.equal(futures[1][:, :1], START)
    assert bool(((futures[0] - futures[1])[:, 1:].abs().amax(dim=(0, 2, 3, 4)) > 1e-3).all())


def test_steering_changes_the_video_and_numbers_are_per_key_frame(model):
    steered = replace(KEYS, numbers={"steering": [0.5] * 7})
    assert not torch.allclose(whole(model, steered, start=START), whole(model, KEYS, start=START))
    with pytest.raises(ValueError, match="steering lists 4 values for 7 frames"):
        whole(model, replace(steered, numbers={"steering": [0.5] * 4}), start=START)


def test_windows_are_made_in_the_order_of_the_stream(model):
    seen: list[tuple[str, int]] = []
    pieces = generate_latents(model, REQUEST, remember=noting(seen))
    next(pieces), next(pieces)
    assert seen == [("keyframes", 0), ("interpolation-0", 0), ("interpolation-1", 0)], "the first frames come early"
    list(pieces)
    assert ("prediction", 1) in seen and ("interpolation-1", 11) in seen


@pytest.mark.parametrize("after", [1, 2, 3, 5, 8])
def test_killed_after_any_window_and_continued_the_video_is_the_same(model, tmp_path, after):
    expected = whole(model, REQUEST, seed=5)
    made: list[tuple[str, int]] = []
    with pytest.raises(KilledError), Journal.opened(tmp_path / "journal", {}) as journal:
        whole(model, REQUEST, seed=5, remember=noting(made, journal.remember, killed_after=after))
    again: list[tuple[str, int]] = []
    with Journal.opened(tmp_path / "journal", {}) as journal:
        assert journal.num_windows == after
        assert torch.equal(whole(model, REQUEST, seed=5, remember=noting(again, journal.remember)), expected)
    total = 1 + 2 + 3 + 12
    assert len(again) == total - after, "nothing is made twice"


def test_nothing_is_held_of_what_was_handed_on(model):
    request = replace(KEYS, num_frames=40)

    def longest(pieces: Iterator[torch.Tensor]) -> int:
        return max(piece.untyped_storage().nbytes() for piece in pieces)

    short = longest(generate_latents(model, REQUEST))
    assert longest(generate_latents(model, request)) <= short


@pytest.mark.parametrize("changes", [{"passes": 3}, {"passes": -1}, {"num_frames": 0}])
def test_what_cannot_be_made_is_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        replace(REQUEST, **changes)
