"""A recorded episode played on the running robot: followed to its end, or not begun, with a sentence."""

from unittest.mock import create_autospec

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.publisher import Publisher  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402

from vla_policy.commands.replay import require_robot  # noqa: E402
from vla_policy.data.replay import replay_of  # noqa: E402
from vla_policy.embodiment import load_embodiment  # noqa: E402
from vla_policy.embodiment.layout import layout_of  # noqa: E402
from vla_policy.ros.operator import replayer, trial  # noqa: E402
from vla_policy.ros.operator.client import Client  # noqa: E402
from vla_policy.ros.operator.replayer import Following, given_up, play, received  # noqa: E402
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


FOLLOWED = {"followed": True}


@pytest.mark.parametrize(
    ("known", "fields", "said"),
    [
        ({}, {}, None),
        ({}, {"level": 2, "reason": "no_teleop", "detail": "none"}, None),
        (FOLLOWED, {"level": 2, "reason": "no_teleop", "detail": "none"}, "the robot holds after 1.5 s: none"),
        ({"stood_s": 99.5}, {"level": 2, "reason": "clock_stopped"}, None),
        ({}, {"level": 2, "reason": "clock_stopped", "detail": "it stopped"}, "the robot holds after 1.5 s: it stopped"),
        ({}, {"level": 2, "reason": "stale", "detail": "old"}, "the robot holds after 1.5 s: old"),
        ({}, {"mode": "paused"}, "somebody changed the mode to paused after 1.5 s"),
        (FOLLOWED, {"engaged": False}, "somebody disengaged the robot after 1.5 s"),
        ({"received_s": 96.0}, {}, "the control node is silent for 3 s after 1.5 s"),
    ],
)  # fmt: skip
def test_an_episode_ends_where_the_robot_does_not_follow_and_stands_while_a_simulation_does(
    known, fields, said
):
    status = ControlStatus(**{"mode": "teleoperated", "engaged": True, **fields})
    following = Following(**{"received_s": 99.9, "status": status, **known})
    assert given_up(following, 100.0, 1.5) == said


def test_an_episode_is_followed_once_a_chunk_of_it_is_executed():
    waits = ControlStatus(mode="teleoperated", engaged=True, level=2, reason="no_teleop")
    moves = ControlStatus(mode="teleoperated", engaged=True)
    before = received(Following(1.0), waits, 2.0)
    assert (before.followed, before.received_s) == (False, 2.0)
    after = received(before, moves, 3.0)
    assert after.followed and received(after, waits, 4.0).followed
    assert received(after, moves, 9.0) == after  # no new message


def test_without_a_status_nothing_counts_as_followed(mock_robot, client):
    """As if the control node died after it was taken over: its last status stands."""
    replay = episode(mock_robot.robot, mock_robot.pose)
    silent = create_autospec(Client, instance=True)
    silent.node, silent.status = client.node, None
    chunks = create_autospec(Publisher, instance=True)
    played = replayer._played(silent, replay, chunks)
    assert not played.complete and "followed nothing" in played.message


@pytest.mark.parametrize(
    ("recorded", "frame", "said"),
    [
        ("vx300s", "base_link", None),
        ("other", "base_link", "got an episode of other, expected one of vx300s"),
        ("", "base_link", "a robot that the set does not name"),
        ("vx300s", "world", "base_frame: was 'world' when it was recorded"),
    ],
)
def test_an_episode_of_another_robot_is_not_played(recorded, frame, said):
    text = f"base_frame: {frame}\n"
    if said is None:
        require_robot(recorded, text, load_embodiment("vx300s"), "episode 4")
        return
    with pytest.raises(ValueError, match="episode 4") as error:
        require_robot(recorded, text, load_embodiment("vx300s"), "episode 4")
    assert said in str(error.value)


def test_a_stopped_robot_is_not_engaged_by_waiting_for_its_reset():
    stopped = create_autospec(Client, instance=True)
    stopped.status = ControlStatus(level=ControlStatus.LEVEL_STOP)
    stopped.engage.side_effect = ValueError("stopped; reset first")
    with pytest.raises(ValueError, match="reset first"):
        trial.engage(stopped)
    assert stopped.engage.call_count == 1
