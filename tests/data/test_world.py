"""The rendered world: the same scene is the same video, and what it shows is what was asked for."""

import math
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from latentloom.data.world import PLACES, Car, WorldScene, frames, random_scene, render
from latentloom.data.world.picture import Painter
from latentloom.data.world.traffic import cars_at
from latentloom.data.world.words import MPH, speed_words, traffic_words, turn_words

SMALL = {"height": 48, "width": 96}


def video(scene: WorldScene, num_frames: int = 3, fps: float = 8) -> torch.Tensor:
    return render(scene, num_frames, fps, **SMALL).frames


@pytest.mark.parametrize("place", list(PLACES))
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(place):
    first, again = (video(random_scene(3, place=place, traffic="heavy")) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, video(random_scene(4, place=place, traffic="heavy")))


def test_a_longer_clip_begins_with_the_shorter_one():
    scene = random_scene(5, traffic="heavy")
    short, long = render(scene, 2, 4, **SMALL), render(scene, 5, 4, **SMALL)
    assert torch.equal(short.frames, long.frames[:2])
    assert short.boxes == long.boxes[:2]
    assert torch.equal(short.steering, long.steering[:2])


def test_a_stream_gives_the_frames_of_a_clip_and_flow_does_not_change_them():
    scene = random_scene(6, place="country road", traffic="some")
    clip = render(scene, 3, 5, **SMALL)
    stream = list(islice(frames(scene, 5, flow=True, **SMALL), 3))
    assert torch.equal(clip.frames, torch.stack([frame.pixels for frame in stream]))
    assert [frame.time for frame in stream] == clip.times.tolist() == [0, 0.2, 0.4]


@pytest.mark.parametrize("place", list(PLACES))
def test_a_frame_does_not_depend_on_which_frames_were_drawn_before(place):
    scene = random_scene(8, place=place, traffic="heavy")
    roaming, fresh = Painter(scene, 48, 96), Painter(scene, 48, 96)
    for time in (0.0, 90.0, 3.0, 41.0):
        roaming.draw(time)
    far = roaming.draw(60.0)
    assert np.array_equal(far.canvas.colour, fresh.draw(60.0).canvas.colour)


def test_another_frame_rate_samples_the_same_drive():
    scene = random_scene(9)
    assert torch.equal(video(scene, 5, fps=10)[::2], video(scene, 3, fps=5))


def test_memory_of_a_stream_does_not_grow_with_the_road_passed():
    scene = random_scene(2, place="country road", traffic="heavy")
    painter = Painter(scene, 48, 96)
    painter.draw(0.0)
    cells = len(painter._roadside._cells)
    for time in range(10, 400, 40):
        painter.draw(float(time))
    assert len(painter._roadside._cells) <= cells + 3


@pytest.mark.parametrize("time_of_day", ["day", "dusk", "night"])
def test_a_moving_camera_sees_change_in_every_frame(time_of_day):
    clip = video(random_scene(10, time_of_day=time_of_day, traffic="none"), 3).float()
    assert (clip[1:] - clip[:-1]).abs().mean((1, 2, 3)).min() > 0.3


def test_night_is_darker_than_dusk_and_dusk_than_day():
    for place in PLACES:
        light = [
            video(random_scene(11, place=place, time_of_day=time, weather="clear"), 1).float().mean()
            for time in ("day", "dusk", "night")
        ]
        assert light[0] > 1.2 * light[1]
        assert light[1] > 1.2 * light[2]


def test_distant_ground_moves_smoothly_so_that_half_the_step_makes_about_half_the_difference():
    scene = replace(random_scene(12, place="country road", time_of_day="day", traffic="none"), speed=10.0, horizon=0.46)

    def difference(step: float) -> float:
        near, far = (Painter(scene, 128, 256).draw(time).canvas.colour for time in (5.0, 5.0 + step))
        return float(np.abs(near - far)[60:72].mean())

    ratio = difference(0.02) / difference(0.04)  # aliasing would make it 1
    assert 0.4 < ratio < 0.6


def test_asked_place_time_and_traffic_are_kept():
    scene = random_scene(13, place="highway", time_of_day="dusk", traffic="heavy", weather="foggy")
    assert (scene.place, scene.time_of_day, scene.traffic, scene.weather) == ("highway", "dusk", "heavy", "foggy")
    free = random_scene(13)
    assert random_scene(13, time_of_day=free.time_of_day) == free


def test_speed_is_the_distance_the_camera_covers():
    scene = replace(random_scene(14, place="country road"), speed=15.0, speed_change=0.6)
    painter, dt = Painter(scene, 48, 96), 0.01
    states = [painter.ego.at(k * dt) for k in range(1001)]
    steps = [abs(b.camera.position - a.camera.position) for a, b in pairwise(states)]
    mean = np.mean([state.speed for state in states])
    assert sum(steps) == pytest.approx(float(mean) * 10, rel=1e-3)
    assert np.std([state.speed for state in states]) > 0.5


def test_constant_speed_is_constant():
    scene = replace(random_scene(15, place="highway"), speed=20.0, speed_change=0.0, wander=0.0, curviness=0.0)
    assert render(scene, 6, 2, **SMALL).speed.tolist() == pytest.approx([20.0] * 6, abs=1e-3)


def test_steering_turns_the_camera_as_a_bicycle_of_that_wheel_angle_would():
    scene = replace(random_scene(16, place="country road"), curviness=1.0, speed=15.0)
    painter = Painter(scene, 48, 96)
    states = [painter.ego.at(k * 0.05) for k in range(400)]
    turned = [(b.camera.heading - a.camera.heading) / 0.05 for a, b in pairwise(states)]
    told = [-s.speed * math.tan(math.radians(25) * s.steering) / 2.7 for s in states]
    assert np.corrcoef(turned, told[1:])[0, 1] > 0.99
    assert max(told) > 0.06
    assert min(told) < -0.06


def test_given_cars_are_the_only_ones_and_move_at_their_speeds():
    cars = (Car(lane=0, position=30, speed=12), Car(lane=-1, position=58, speed=8))
    scene = WorldScene(seed=1, place="country road", cars=cars, speed=10, speed_change=0, curviness=0, wander=0)
    clip = render(scene, 5, 2, height=128, width=256)
    ahead = [next(box.distance for box in boxes if box.key == -1) for boxes in clip.boxes]
    oncoming = [next(box.distance for box in boxes if box.key == -2) for boxes in clip.boxes]
    assert np.diff(ahead).tolist() == pytest.approx([1.0] * 4, abs=0.02)
    assert np.diff(oncoming).tolist() == pytest.approx([-9.0] * 4, abs=0.02)
    assert {box.key for boxes in clip.boxes for box in boxes} == {-1, -2}


def test_cars_of_a_lane_never_run_into_each_other():
    for seed in range(4):
        scene = random_scene(seed, place="city street", traffic="heavy")
        for time in range(0, 120, 3):
            lanes: dict[int, list[float]] = {}
            for car in cars_at(scene, 10.0 * time, float(time)):
                lanes.setdefault(round(car.d / 3.2 - 0.5), []).append(car.s)
            assert all(np.diff(sorted(places)).min() > 7 for places in lanes.values() if len(places) > 1)


def test_heavier_traffic_shows_more_cars():
    counts = [
        sum(len(boxes) for seed in range(2) for boxes in video_boxes(seed, traffic))
        for traffic in ("none", "some", "heavy")
    ]
    assert counts[0] == 0 < counts[1] < counts[2]


def video_boxes(seed, traffic):
    return render(random_scene(seed, place="highway", traffic=traffic), 2, 0.5, height=64, width=128).boxes


def test_the_caption_says_what_the_labels_say():
    for seed in range(5):
        clip = render(random_scene(seed), 4, 2, height=64, width=128)
        labels, caption = clip.labels, clip.caption
        light = {"day": "daytime"}.get(clip.scene.time_of_day, clip.scene.time_of_day)
        assert caption.startswith(f"rendered world, {light}, ")
        assert f"driving on a {clip.scene.place}, turning" in caption or "going straight" in caption
        assert labels["night"][0] == {"day": 0.0, "dusk": 0.5, "night": 1.0}[clip.scene.time_of_day]
        assert caption.endswith(traffic_words(labels["vehicles"]))
        assert ", ".join(filter(None, speed_words(labels["speed"]))) in caption
        assert turn_words(float(clip.yaw_rate.mean())) in caption
        assert labels["vehicles"] == [len(boxes) for boxes in clip.boxes]
        assert all(len(values) == 4 for values in labels.values())


def test_words_follow_the_rules_at_their_limits():
    assert speed_words([9.9 * MPH] * 2) == ("slow", "")
    assert speed_words([10.1 * MPH] * 2) == ("medium speed", "")
    assert speed_words([20.1 * MPH] * 2) == ("fast", "")
    assert speed_words([12 * MPH, 15.1 * MPH])[1] == "speeding up"
    assert speed_words([15.1 * MPH, 12 * MPH])[1] == "slowing down"
    assert [turn_words(rate) for rate in (0.02, 0.04, -0.04, 0.15, -0.15)] == [
        "going straight",
        "turning left",
        "turning right",
        "sharply turning left",
        "sharply turning right",
    ]
    assert [traffic_words([n]) for n in (0.0, 1.0, 3.0, 4.0)] == [
        "no traffic",
        "some traffic",
        "some traffic",
        "heavy traffic",
    ]


def test_turning_left_moves_the_far_scene_to_the_right():
    for seed in range(40):
        clip = render(random_scene(seed, place="country road", traffic="none"), 2, 10, height=64, width=128, flow=True)
        if abs(float(clip.yaw_rate.mean())) > 0.08:
            assert clip.flow is not None
            assert torch.sign(clip.flow[0, :8, :, 0].mean()) == torch.sign(clip.yaw_rate.mean())
            assert ("left" in clip.caption) == (float(clip.yaw_rate.mean()) > 0)
            return
    pytest.fail("no bend in 40 scenes")


def test_words_of_a_part_describe_that_part():
    clip = render(
        replace(random_scene(17, place="country road"), speed=15.0, speed_change=0.8), 41, 2, height=16, width=32
    )
    changes = {clip.words_of(start, start + 9).change for start in range(0, 32, 4)}
    assert changes >= {"speeding up", "slowing down"}
    with pytest.raises(ValueError, match="asked of 41"):
        clip.words_of(3, 42)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": "moon"}, "place is 'moon', expected one of highway"),
        ({"time_of_day": "noon"}, "expected one of day, dusk, night"),
        ({"seed": -1}, "seed is -1, expected a number from 0"),
        ({"speed": 0}, "speed is 0, expected a number from 1 to 60"),
        ({"speed": float("nan")}, "speed is nan"),
        ({"lane": 1}, r"lane 1 is not on a country road: its lanes are -1\.\.0"),
        ({"lane": -1}, "negative lanes are oncoming"),
        ({"cars": (Car(lane=2, position=5, speed=5),)}, "lane 2 is not on a country road"),
        ({"cars": (Car(lane=0, position=5, speed=-5),)}, "needs a speed from 0 to 60"),
    ],
)
def test_an_impossible_scene_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        WorldScene(**{"seed": 0, **change})


def test_impossible_clips_are_refused_before_anything_is_drawn():
    scene = random_scene(0)
    with pytest.raises(ValueError, match="num_frames is 0, expected at least 1"):
        render(scene, 0, 8)
    with pytest.raises(ValueError, match="fps is 0"):
        frames(scene, 0)
    with pytest.raises(ValueError, match="the size is 8x256"):
        frames(scene, 8, height=8)
    with pytest.raises(ValueError, match="place is 'sea'"):
        random_scene(0, place="sea")
