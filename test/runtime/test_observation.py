"""Which samples make an observation, and each reason why there is none."""

from __future__ import annotations

import numpy as np
import pytest

from vla_policy.runtime.observation import KEEP_NS, SensorBuffer, StateSource, synchronize
from vla_policy.types import Observation, Reason

MS = 1_000_000
NOW = 10_000 * MS
STATE_NAMES = ("x", "gripper")


def image(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def inputs():
    """Two cameras and two state streams that are all fresh at NOW."""
    cameras = {name: SensorBuffer(f"{name}/image_raw", 350 * MS) for name in ("front", "wrist")}
    states = (
        StateSource(("x",), SensorBuffer("ee_pose", 250 * MS)),
        StateSource(("gripper",), SensorBuffer("joint_states", 250 * MS)),
    )
    for camera in cameras.values():
        for back in (200, 100):
            camera.add(NOW - back * MS, image(back))
    for source in states:
        for back in range(240, -20, -20):
            source.stream.add(NOW - back * MS, np.array([float(back)]))
    return cameras, states


def build(cameras, states, now_ns=NOW, max_skew_ns=50 * MS, state_names=STATE_NAMES):
    return synchronize(
        now_ns, cameras, states, state_names=state_names, instruction="go", max_skew_ns=max_skew_ns
    )


def test_images_and_state_are_of_the_same_instant():
    observation = build(*inputs())
    assert isinstance(observation, Observation)
    assert observation.obs_ns == NOW - 100 * MS
    assert observation.images["front"][0, 0, 0] == 100
    assert observation.state.tolist() == [100.0, 100.0]
    assert observation.instruction == "go"


def test_a_camera_that_is_ahead_waits_for_the_other():
    cameras, states = inputs()
    cameras["front"].add(NOW, image(0))
    observation = build(cameras, states)
    assert observation.obs_ns == NOW - 100 * MS
    assert [observation.images[name][0, 0, 0] for name in ("front", "wrist")] == [100, 100]


def test_state_that_lags_the_images_sets_the_instant():
    cameras, states = inputs()
    late = StateSource(("x",), SensorBuffer("ee_pose", 250 * MS))
    late.stream.add(NOW - 120 * MS, np.array([7.0]))
    observation = build(cameras, (late, states[1]))
    assert observation.obs_ns == NOW - 120 * MS
    assert observation.state.tolist() == [7.0, 120.0]


@pytest.mark.parametrize(
    "topic", ["front/image_raw", "wrist/image_raw", "ee_pose", "joint_states"]
)
def test_a_stream_that_never_came_is_named(topic):
    cameras, states = inputs()
    empty = SensorBuffer(topic, 250 * MS)
    cameras = {n: empty if s.topic == topic else s for n, s in cameras.items()}
    states = tuple(StateSource(s.names, empty) if s.stream.topic == topic else s for s in states)
    reason = build(cameras, states)
    assert reason == Reason("missing", f"nothing has come on {topic} yet")


def test_age_is_accepted_at_the_limit_and_refused_one_nanosecond_later():
    cameras, states = inputs()
    at_limit = NOW - 100 * MS + 350 * MS
    for source in states:
        source.stream.add(at_limit, np.array([0.0]))
    assert isinstance(build(cameras, states, at_limit, 500 * MS), Observation)
    reason = build(cameras, states, at_limit + 1, 500 * MS)
    assert reason.code == "stale" and "front/image_raw is 0.35 s old" in reason.detail


def test_a_frozen_camera_that_repeats_its_stamp_grows_stale():
    cameras, states = inputs()
    for _ in range(20):
        assert not cameras["front"].add(NOW - 100 * MS, image(1))
    for source in states:
        source.stream.add(NOW + 300 * MS, np.array([0.0]))
    cameras["wrist"].add(NOW + 300 * MS, image(2))
    reason = build(cameras, states, NOW + 300 * MS)
    assert reason.code == "stale" and reason.detail.startswith("front/image_raw")


def test_inputs_too_far_apart_are_refused():
    cameras, states = inputs()
    slow = SensorBuffer("slow/image_raw", 350 * MS)
    slow.add(NOW - 300 * MS, image(3))
    reason = build({**cameras, "slow": slow}, states, max_skew_ns=99 * MS)
    assert reason.code == "skew" and reason.detail.startswith("front/image_raw is 0.100 s")


def test_a_stamp_from_the_future_is_refused():
    cameras, states = inputs()
    states[0].stream.add(NOW + 101 * MS, np.array([0.0]))
    reason = build(cameras, states)
    assert reason.code == "future" and "ee_pose is stamped 0.10 s" in reason.detail


def test_a_state_that_nothing_gives_is_named():
    assert build(*inputs(), state_names=("x", "elbow")) == Reason(
        "state", "no input gives the state elbow"
    )


def test_late_and_repeated_samples_are_dropped_and_a_restarted_clock_starts_over():
    stream = SensorBuffer("t", MS)
    assert stream.add(NOW, "a")
    assert not stream.add(NOW, "b") and not stream.add(NOW - 5 * MS, "c")
    assert stream.nearest(0) == (NOW, "a")
    assert stream.add(3 * MS, "after restart")
    assert stream.nearest(NOW) == (3 * MS, "after restart")


def test_a_stream_keeps_only_its_last_moments():
    stream = SensorBuffer("t", MS)
    for k in range(1000):
        stream.add(k * MS, k)
    oldest = 999 - KEEP_NS // MS
    assert stream.nearest(0) == (oldest * MS, oldest)


def test_a_copy_does_not_change_with_the_original():
    stream = SensorBuffer("t", MS)
    stream.add(1, "a")
    twin = stream.copy()
    stream.add(2, "b")
    assert twin.newest_ns == 1


def test_an_image_that_nobody_can_write_is_shown_and_any_other_is_copied():
    ours, theirs = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    ours.setflags(write=False)
    window = theirs[:2]  # read-only itself, but not what it shows
    window.setflags(write=False)
    images = {"ours": ours, "theirs": theirs, "window": window}
    seen = Observation(images, np.zeros(1), ("x",), "go", 1).images
    assert seen["ours"] is ours
    theirs[:] = 255
    assert not seen["theirs"].any() and not seen["window"].any()
    assert not any(image.flags.writeable for image in seen.values())
