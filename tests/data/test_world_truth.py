"""The truth of the rendered world: boxes and flow agree with the pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from latentloom.data.world import PLACES, Car, WorldScene, random_scene, render
from latentloom.data.world.picture import Painter
from latentloom.data.world.truth import MIN_HEIGHT, list_boxes

ALONE = WorldScene(seed=1, place="highway", lane=1, speed=20, speed_change=0, curviness=0, wander=0)


def with_cars(*cars: Car) -> WorldScene:
    return replace(ALONE, cars=cars)


def warp_error(clip, pair: int, reverse: bool = False) -> torch.Tensor:
    """Difference of a frame from the next one carried back along the flow, 0..255, h w; NaN where not valid."""
    flow = -clip.flow[pair] if reverse else clip.flow[pair]
    height, width = flow.shape[:2]
    row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    place = torch.stack([(column + flow[..., 0]) / width, (row + flow[..., 1]) / height], -1)[None] * 2 - 1
    after = clip.frames[pair + 1].float().movedim(-1, 0)[None]
    carried = grid_sample(after, place, align_corners=False, padding_mode="border")[0].movedim(0, -1)
    error = (carried - clip.frames[pair].float()).abs().mean(-1)
    return torch.where(clip.flow_valid[pair], error, torch.nan)


@pytest.mark.parametrize("place", list(PLACES))
@pytest.mark.parametrize("seed", [5, 20])
def test_the_next_frame_carried_back_along_the_flow_is_this_frame(place, seed):
    scene = random_scene(seed, place=place, time_of_day="day", weather="clear", traffic="none")
    clip = render(scene, 3, 10, flow=True)
    for pair in range(2):
        error = warp_error(clip, pair).nanmean()
        unmoved = (clip.frames[pair + 1].float() - clip.frames[pair].float()).abs().mean(-1)[clip.flow_valid[pair]]
        assert error < 2.0
        assert error < 0.5 * unmoved.mean()
        assert warp_error(clip, pair, reverse=True).nanmean() > 2 * error
        assert clip.flow_valid[pair].float().mean() > 0.6


def test_flow_on_a_car_follows_the_car():
    clip = render(with_cars(Car(lane=2, position=18, speed=14), Car(lane=-1, position=60, speed=20)), 2, 8, flow=True)
    for box in clip.boxes[0]:
        rows = slice(round(box.y0 * 128) + 2, round(box.y1 * 128) - 3)
        columns = slice(round(box.x0 * 256) + 3, round(box.x1 * 256) - 3)
        inside = warp_error(clip, 0)[rows, columns]
        still = (clip.frames[1].float() - clip.frames[0].float()).abs().mean(-1)[rows, columns]
        assert inside.nanmean() < 0.6 * still.mean()


def test_the_flow_of_a_car_at_the_cameras_own_speed_is_zero_and_that_of_the_road_is_not():
    clip = render(with_cars(Car(lane=1, position=15, speed=20)), 2, 8, flow=True)
    box = clip.boxes[0][0]
    middle = round((box.y0 + box.y1) * 64), round((box.x0 + box.x1) * 128)
    assert clip.flow[0][middle].abs().max() < 0.02
    assert clip.flow[0, 90, 128, 1] > 3


def test_what_leaves_the_frame_or_is_covered_is_not_valid():
    clip = render(with_cars(Car(lane=2, position=30, speed=0)), 2, 4, flow=True)
    assert not clip.flow_valid[0, -1].any()
    before, after = clip.boxes[0][0], clip.boxes[1][0]
    newly_hidden = int((after.x0 + 0.01) * 256)
    assert newly_hidden < before.x0 * 256
    row = round((before.y0 + before.y1) * 64)
    target = torch.arange(256) + clip.flow[0, row, :, 0]
    covered = (target > after.x0 * 256 + 1) & (target < before.x0 * 256) & (torch.arange(256) < before.x0 * 256 - 1)
    assert covered.any()
    assert not clip.flow_valid[0, row][covered].any()


@pytest.mark.parametrize("kind", ["car", "suv", "van", "truck"])
@pytest.mark.parametrize(("lane", "position"), [(1, 9), (1, 40), (0, 8), (2, 6), (-1, 25), (-3, 30)])
def test_a_box_is_the_extent_of_the_cars_pixels(kind, lane, position):
    scene = with_cars(Car(lane=lane, position=position, speed=10, kind=kind))
    painter = Painter(scene, 128, 256)
    painter._roadside._cells = {cell: [] for cell in range(-5, 60)}  # nothing stands in the way
    picture = painter.draw(0.0)
    rows, columns = np.nonzero(picture.canvas.owner == -1)
    (box,) = list_boxes(picture)
    extent = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert np.abs(extent - np.array([box.x0, box.y0, box.x1, box.y1]) * [256, 128, 256, 128]).max() <= 1.5
    assert box.seen == 1.0
    assert box.label == "vehicle"


def test_boxes_of_a_crowded_street_hold_all_pixels_of_their_cars():
    painter = Painter(random_scene(5, place="city street", traffic="heavy", time_of_day="day"), 128, 256)
    for time in range(0, 20, 4):
        picture = painter.draw(float(time))
        for box in list_boxes(picture):
            rows, columns = np.nonzero(picture.canvas.owner == box.key)
            assert (columns >= np.floor(box.x0 * 256) - 1).all()
            assert (columns <= np.ceil(box.x1 * 256)).all()
            assert (rows >= np.floor(box.y0 * 128) - 1).all()
            assert (rows <= np.ceil(box.y1 * 128)).all()


def test_a_car_hidden_behind_a_truck_or_too_far_to_see_is_not_listed():
    truck = Car(lane=1, position=15, speed=20, kind="truck")
    hidden, far = Car(lane=1, position=40, speed=20), Car(lane=2, position=190, speed=20)
    assert {box.key for box in render(with_cars(hidden, far), 1, 8).boxes[0]} == {-1}
    assert {box.key for box in render(with_cars(truck, hidden), 1, 8).boxes[0]} == {-1}
    assert all(box.y1 - box.y0 >= MIN_HEIGHT for box in render(with_cars(hidden), 1, 8).boxes[0])


def test_boxes_stay_within_the_frame_and_come_nearest_first():
    clip = render(random_scene(8, place="highway", traffic="heavy"), 4, 1)
    for boxes in clip.boxes:
        assert [box.distance for box in boxes] == sorted(box.distance for box in boxes)
        assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)


def test_a_nearer_car_is_larger_in_proportion():
    near, far = (render(with_cars(Car(lane=1, position=place, speed=20)), 1, 8).boxes[0][0] for place in (14.2, 26.2))
    # measured from its rear, 2.2 m before the middle
    assert (near.x1 - near.x0) / (far.x1 - far.x0) == pytest.approx(24 / 12, rel=0.02)


def test_the_colour_asked_for_is_the_colour_seen():
    for colour, channel in (((0.8, 0.05, 0.05), 0), ((0.05, 0.7, 0.05), 1), ((0.05, 0.05, 0.8), 2)):
        clip = render(with_cars(Car(lane=1, position=10, speed=20, colour=colour, kind="van")), 1, 8)
        box = clip.boxes[0][0]
        row, column = round((0.6 * box.y0 + 0.4 * box.y1) * 128), round((box.x0 + 0.06 * (box.x1 - box.x0)) * 256)
        assert clip.frames[0, row, column].argmax() == channel
