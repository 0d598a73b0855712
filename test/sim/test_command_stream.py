"""Which commands an arm follows after it was placed elsewhere."""

import numpy as np
import pytest

from vla_policy.sim.command_stream import PAUSE_NS, gripper_refusal, hear_pose, placed

HOME = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0])
AWAY = np.array([0.3, 0.1, 0.2, 0.0, 0.0, 0.0, 1.0])
TURNED = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 1.0, 0.0])
S = 1_000_000_000


def running():
    """A stream whose commands were coming when the arm was placed, at 10 s."""
    stream, refusal = hear_pose(placed(None, HOME, 0), AWAY, 0, 10 * S - 1)
    assert refusal is None
    return placed(stream, HOME, 10 * S)


def test_what_is_stamped_before_is_not_followed_and_what_has_no_stamp_or_a_later_one_is():
    stream = placed(None, HOME, 10 * S)
    assert "0.020 s before" in hear_pose(stream, AWAY, 10 * S - 20_000_000, 10 * S + 1)[1]
    assert hear_pose(stream, HOME, 10 * S, 10 * S + 1)[1] is not None
    assert hear_pose(stream, AWAY, 0, 10 * S + 1)[1] is None
    assert hear_pose(stream, AWAY, 10 * S + 1, 10 * S + 1)[1] is None


@pytest.mark.parametrize("pose", [AWAY, TURNED])
def test_commands_that_go_on_are_held_for_as_long_as_they_do(pose):
    stream = running()
    for k in range(1, 200):
        now_ns = 10 * S + k * S // 50
        stream, refusal = hear_pose(stream, pose, now_ns, now_ns)
        assert "go on" in refusal and gripper_refusal(stream, now_ns) == refusal
    later_ns = now_ns + PAUSE_NS + 1
    assert gripper_refusal(stream, later_ns) is None
    assert hear_pose(stream, pose, later_ns, later_ns)[1] is None


def test_a_command_where_the_arm_is_begins_anew():
    stream, refusal = hear_pose(running(), HOME + 0.001, 10 * S + 1, 10 * S + 1)
    assert refusal is None and gripper_refusal(stream, 10 * S + 1) is None
    assert hear_pose(stream, AWAY, 10 * S + 2, 10 * S + 2)[1] is None
