"""A recorded episode played on the running robot: followed to its end, or not begun, with a sentence."""

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from std_srvs.srv import SetBool  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402

from vla_policy.data.replay import replay_of  # noqa: E402
from vla_policy.embodiment.layout import layout_of  # noqa: E402
from vla_policy.ros.operator.client import Client  # noqa: E402
from vla_policy.ros.operator.replayer import given_up, play  # noqa: E402
from vla_policy.ros.operator.running_robot import RunningRobot, running_robot  # noqa: E402

FPS = 20


@pytest.fixture
def client(mock_robot, start_node):
    """A client beside a control node that is engaged, and a robot at home."""
    start_node("control_node")
    mock_robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
    for _ in range(20):
        response = mock_robot.call(SetBool, "/control/engage", SetBool.Request(data=True))
        if response.success:
            break
        mock_robot.wait_ticks(1)
    assert response.success, response.message
    with Client("replay") as operator:
        yield operator


def episode(robot, pose, *, away_m=0.0):
    """Two seconds along y at 4 cm/s, from away_m beside the robot."""
    rows = np.tile([*pose, 0.5], (2 * FPS, 1))
    rows[:, 1] += away_m + 0.04 * np.arange(1, 2 * FPS + 1) / FPS
    return replay_of(rows, layout_of(robot).names, FPS, robot, "episode 4")


def test_an_episode_is_followed_to_its_end_and_the_robot_is_paused(mock_robot, client):
    robot = mock_robot.robot
    assert running_robot(client, 0) == RunningRobot("vx300s", False)
    replay = episode(robot, mock_robot.pose)
    played = play(client, RunningRobot("vx300s", False), replay)
    assert played.complete, played.message
    mock_robot.wait_status(lambda s: s.mode == "paused", "paused at the end")
    assert mock_robot.pose[1] == pytest.approx(0.08, abs=2e-3)
    y = np.array([pose[1] for _, pose, _ in mock_robot.targets])
    limits = robot.limits.groups["arm"]
    assert np.abs(np.diff(y)).max() <= limits.linear_speed_m_s * 0.04


def test_far_from_its_begin_nothing_moves_and_it_says_how_far(mock_robot, client):
    replay = episode(mock_robot.robot, mock_robot.pose, away_m=0.2)
    with pytest.raises(ValueError, match="episode 4: its first action is") as error:
        play(client, RunningRobot("vx300s", False), replay)
    assert "0.2" in str(error.value)
    assert mock_robot.targets == [], "must not move"
    assert mock_robot.statuses[-1].mode == "autonomous"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, None),
        ({"level": 2, "reason": "no_teleop"}, None),
        ({"level": 2, "reason": "clock_stopped"}, None),
        ({"level": 2, "reason": "stale", "detail": "old"}, "the robot holds after 1.5 s: old"),
        ({"mode": "paused"}, "somebody changed the mode to paused after 1.5 s"),
    ],
)
def test_an_episode_ends_where_the_robot_does_not_follow_and_stands_while_a_simulation_does(
    fields, said
):
    assert given_up(ControlStatus(**{"mode": "teleoperated", **fields}), 1.5) == said
