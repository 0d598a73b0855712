"""The published rules of the controllers, as the mock robot and the tests apply them."""

from dataclasses import replace

import pytest

from vla_policy.sim.mock import controller_rules as rules
from vla_policy.sim.mock.controller_rules import Point, TrajectoryMessage, trajectory_refusal

NOW_NS = 1_000_000_000_000
JOINTS = ("a", "b")
GOOD = TrajectoryMessage(
    JOINTS,
    NOW_NS,
    (Point(40_000_000, (0.1, 0.2), (0.5, 0.0)), Point(100_000_000, (0.2, 0.2), (0.0, 0.0))),
)


def test_a_good_trajectory_is_taken_late_and_in_any_order_of_joints():
    assert trajectory_refusal(GOOD, JOINTS, NOW_NS) is None
    assert trajectory_refusal(GOOD, JOINTS, NOW_NS + 99_000_000) is None
    assert trajectory_refusal(replace(GOOD, names=("b", "a")), JOINTS, NOW_NS) is None
    assert trajectory_refusal(replace(GOOD, stamp_ns=0), JOINTS, NOW_NS + 10**12) is None


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (replace(GOOD, names=("a",)), "1 joints do not match the controller's 2"),
        (replace(GOOD, names=("a", "c")), "c is not a joint"),
        (replace(GOOD, points=()), "empty trajectory"),
        (replace(GOOD, stamp_ns=NOW_NS - 200_000_000), "in the past"),
        (replace(GOOD, points=GOOD.points[:1]), "not zero"),
        (replace(GOOD, points=GOOD.points[::-1]), "velocity of the last point"),
        (replace(GOOD, points=(GOOD.points[1], GOOD.points[1])), "not after"),
        (replace(GOOD, points=(Point(1, (0.1,)), GOOD.points[1])), "1 positions for 2 joints"),
        (replace(GOOD, points=(Point(1, (0.1, 0.1), (0.0,)), GOOD.points[1])), "1 velocities"),
        (replace(GOOD, points=(Point(1, (0.1, float("nan"))),)), "not finite"),
        (replace(GOOD, points=(Point(1, (0.1, 0.1), effort=(1.0, 1.0)),)), "has effort"),
    ],
)
def test_what_a_trajectory_controller_refuses(message, words):
    assert words in trajectory_refusal(message, JOINTS, NOW_NS)


def test_one_point_stamped_now_is_in_the_past_when_it_arrives():
    """What most bridges send: the controller hears it at least a moment later."""
    message = TrajectoryMessage(JOINTS, NOW_NS, (Point(0, (0.1, 0.2)),))
    assert "in the past" in trajectory_refusal(message, JOINTS, NOW_NS + 200_000)


def test_partial_joints_only_where_allowed():
    message = replace(GOOD, names=("b",), points=(Point(1, (0.1,)),))
    assert trajectory_refusal(message, JOINTS, NOW_NS, partial=True) is None
    assert trajectory_refusal(message, JOINTS, NOW_NS) is not None


def test_the_other_controllers():
    assert rules.forward_refusal([0.1, 0.2], JOINTS) is None
    assert "1 values" in rules.forward_refusal([0.1], JOINTS)
    assert "not finite" in rules.forward_refusal([0.1, float("inf")], JOINTS)
    assert rules.gripper_refusal([0.04], 0.0, 0.04) is None
    assert "outside" in rules.gripper_refusal([0.05], 0.0, 0.04)
    assert "2 positions" in rules.gripper_refusal([0.0, 0.0], 0.0, 0.04)
    assert rules.base_refusal([0.1, 0.0], NOW_NS, NOW_NS + 400_000_000) is None
    assert "0.500 s old" in rules.base_refusal([0.1, 0.0], NOW_NS, NOW_NS + 500_000_000)
    assert rules.base_refusal([0.1, 0.0], 0, NOW_NS) is None  # unstamped: now
    assert "0.600 s old" in rules.base_refusal([0.1, 0.0], NOW_NS, NOW_NS + 600_000_000)
    twist = [0.0] * 6
    assert rules.servo_refusal(twist, "base", NOW_NS, NOW_NS, confirmed=True) is None
    assert "switched" in rules.servo_refusal(twist, "base", NOW_NS, NOW_NS, confirmed=False)
    assert "frame" in rules.servo_refusal(twist, "", NOW_NS, NOW_NS, confirmed=True)
    edge = rules.servo_refusal(twist, "base", NOW_NS, NOW_NS + 100_000_000, confirmed=True)
    assert "0.100 s old" in edge
    late = rules.servo_refusal(twist, "base", NOW_NS, NOW_NS + 200_000_000, confirmed=True)
    assert "0.200 s old" in late
    pose = [0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0]
    assert rules.pose_refusal(pose, "base", "base") is None
    assert "'world'" in rules.pose_refusal(pose, "world", "base")
    assert "norm" in rules.pose_refusal([*pose[:6], 0.5], "base", "base")
