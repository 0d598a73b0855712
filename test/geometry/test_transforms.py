"""Transforms and their inverses, statistics, contracts."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.checkpoint import contract, statistics
from vla_policy.embodiment import load_embodiment
from vla_policy.geometry import pose_steps, quaternions

RNG = np.random.default_rng(0)


def random_poses(count: int) -> np.ndarray:
    q = RNG.normal(size=(count, 4))
    return np.concatenate(
        (RNG.uniform(-1, 1, (count, 3)), q / np.linalg.norm(q, axis=1, keepdims=True)), 1
    )


def test_steps_and_poses_are_inverse() -> None:
    for _ in range(50):
        start, steps = random_poses(1)[0], RNG.uniform(-0.5, 0.5, (7, 6))
        poses = pose_steps.steps_to_poses(start, steps)
        np.testing.assert_allclose(pose_steps.poses_to_steps(start, poses), steps, atol=1e-9)


def test_turns_are_about_the_base_axes() -> None:
    start = np.array([0, 0, 0, *quaternions.rotvec_to_quaternion(np.array([np.pi, 0, 0]))])
    pose = pose_steps.steps_to_poses(start, np.array([[0, 0, 0, 0, 0, np.pi / 2]]))[0]
    # a tool that looks down and is turned by 90 degrees about the base's z axis: x to y
    expected = quaternions.quaternion_multiply(
        quaternions.rotvec_to_quaternion(np.array([0, 0, np.pi / 2])), start[3:]
    )
    np.testing.assert_allclose(pose[3:], expected, atol=1e-12)


@given(st.lists(st.floats(-3.1, 3.1), min_size=3, max_size=3))
@settings(max_examples=200, deadline=None)
def test_rotation_vectors_round_trip(values: list[float]) -> None:
    rotvec = np.array(values)
    if np.linalg.norm(rotvec) < 3.1:
        back = quaternions.quaternion_to_rotvec(quaternions.rotvec_to_quaternion(rotvec))
        np.testing.assert_allclose(back, rotvec, atol=1e-7)


def test_a_zero_quaternion_is_refused() -> None:
    with pytest.raises(ValueError, match="length 0"):
        quaternions.quaternion_to_rotvec(np.zeros(4))


def test_both_signs_of_a_quaternion_are_one_state() -> None:
    state = np.concatenate((random_poses(20), RNG.random((20, 1))), 1)
    flipped = state * np.array([1, 1, 1, -1, -1, -1, -1, 1])
    np.testing.assert_array_equal(
        pose_steps.canonical_state(state), pose_steps.canonical_state(flipped)
    )


def test_normalise_round_trip_and_ends() -> None:
    r = statistics.RangeNormalizer(("a", "b"), [-2.0, 0.1], [4.0, 0.2])
    np.testing.assert_allclose(
        r.normalise(np.array([[-2.0, 0.1], [4.0, 0.2]])), [[-1, -1], [1, 1]]
    )
    x = RNG.normal(size=(30, 2))
    np.testing.assert_allclose(r.restore(r.normalise(x)), x)


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (0.0, np.inf), (0.0, 1e-9)]
)
def test_a_degenerate_range_is_refused_by_name(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="statistics of 'elbow'"):
        statistics.RangeNormalizer(("waist", "elbow"), [0.0, low], [1.0, high])


def test_statistics_round_trip_and_missing() -> None:
    s = statistics.Statistics(
        statistics.RangeNormalizer(("a",), [0.0], [1.0]),
        statistics.RangeNormalizer(("b",), [-1.0], [3.0]),
    )
    again = statistics.from_dict(statistics.to_dict(s))
    assert again.actions.names == ("b",) and again.actions.upper.tolist() == [3.0]
    with pytest.raises(ValueError, match=r"statistics\.actions"):
        statistics.from_dict({"state": statistics.to_dict(s)["state"]})


def test_every_difference_from_the_robot_is_said() -> None:
    robot = load_embodiment("vx300s")
    fits = contract.Contract(
        camera_names=("front", "wrist"), image_px=96, state_names=robot.state_names,
        action_names=robot.action_names, model_action_names=("dx",),
        spaces=tuple((g.name, g.space) for g in robot.actions), policy_hz=10.0, embodiments=("vx300s",),
    )  # fmt: skip
    assert contract.check(fits, robot) == ()
    assert contract.from_dict(contract.to_dict(fits)) == fits
    wrong = {
        "camera_names": ("front", "left"), "state_names": ("ee.x",), "action_names": ("waist",),
        "spaces": (("arm", "joint_position"),), "policy_hz": 50.0, "embodiments": ("ur5e",),
    }  # fmt: skip
    for field, value in wrong.items():
        assert len(contract.check(dataclasses.replace(fits, **{field: value}), robot)) == 1, field
    assert len(contract.check(dataclasses.replace(fits, **wrong), robot)) == len(wrong)
    with pytest.raises(ValueError, match="policy_hz"):
        contract.from_dict({k: v for k, v in contract.to_dict(fits).items() if k != "policy_hz"})
