"""The control node between a policy and a person who takes over: one is in control, and it changes at once."""

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from std_srvs.srv import SetBool, Trigger  # noqa: E402
from vla_policy.msg import ActionChunk as ActionChunkMsg  # noqa: E402
from vla_policy.srv import SetMode  # noqa: E402

from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.types import ActionChunk  # noqa: E402

RETRY_S, TRIES = 3.0, 8


class Person:
    """Publishes teleop_chunk: rows that go on from where the robot is, to -y."""

    def __init__(self, robot):
        self.robot, self.sequence = robot, 0
        self.publisher = robot.create_publisher(ActionChunkMsg, "teleop_chunk", qos.COMMAND)

    def send(self, *, rows=6, step_m=0.004):
        values = np.tile([*self.robot.pose, self.robot.opening], (rows, 1))
        values[:, 1] -= step_m * np.arange(1, rows + 1)
        self.sequence += 1
        names, now_ns = self.robot.robot.action_names, self.robot.now_ns()
        chunk = ActionChunk(values, names, now_ns, 100_000_000, self.sequence, "")
        self.publisher.publish(convert.chunk_to_msg(chunk, frame_id="base_link"))

    def move_below(self, y_m, **rows):
        """Send until the arm is there: where the machine stalls, rows are too old before they are played."""
        for _ in range(TRIES):
            self.send(**rows)
            with self.robot.heard:
                if self.robot.heard.wait_for(lambda: self.robot.pose[1] < y_m, RETRY_S):
                    return
        raise AssertionError(f"the person does not move the arm: {self.robot.statuses[-1]}")


@pytest.fixture
def control(mock_robot, shared_nodes):
    """A control node that is engaged and autonomous, and a robot at home."""
    shared_nodes("control_node")
    mock_robot.wait(lambda: mock_robot.statuses, "the first status")
    mock_robot.call(SetBool, "/control/engage", SetBool.Request(data=False))
    mock_robot.call(Trigger, "/control/reset")
    mock_robot.wait_ticks(1)
    mock_robot.begin_anew()
    assert mock_robot.call(Trigger, "/control/hand_back").success
    mock_robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
    for _ in range(20):  # the cameras may be heard a moment later
        response = mock_robot.call(SetBool, "/control/engage", SetBool.Request(data=True))
        if response.success:
            return
        mock_robot.wait_ticks(1)
    raise AssertionError(response.message)


@pytest.fixture
def person(mock_robot, control):
    teleoperator = Person(mock_robot)
    yield teleoperator
    mock_robot.destroy_publisher(teleoperator.publisher)


def counts(status):
    return dict(zip(status.intervention_names, status.intervention_counts, strict=True))


def policy_rows(robot):
    """Rows of a policy that goes to +y, for more than a second."""
    rows = np.tile([*robot.pose, robot.opening], (12, 1))
    rows[:, 1] += 0.004 * np.arange(1, 13)
    return rows


def move_above(robot, y_m, sequence=0):
    """Send a policy's rows until the arm is there, as Person.move_below."""
    for k in range(TRIES):
        robot.send_chunk(policy_rows(robot), sequence=sequence + k)
        with robot.heard:
            if robot.heard.wait_for(lambda: robot.pose[1] > y_m, RETRY_S):
                return
    raise AssertionError(f"the policy does not move the arm: {robot.statuses[-1]}")


def test_the_button_ends_the_plan_of_the_policy_and_a_person_goes_on_from_there(
    mock_robot, person
):
    move_above(mock_robot, 0.008)
    response = mock_robot.call(Trigger, "/control/take_over")
    assert response.success and response.message == ""
    taken_ns, reached = mock_robot.now_ns(), mock_robot.targets[-1][1][1]
    status = mock_robot.wait_status(lambda s: s.mode == "teleoperated", "the mode")
    assert status.queued_rows == 0
    before = counts(status).get("chunk_mode", 0)
    mock_robot.send_chunk(policy_rows(mock_robot), sequence=TRIES)
    mock_robot.wait_ticks(2)
    later = [pose[1] for stamp, pose, _ in mock_robot.targets if stamp > taken_ns]
    assert later == pytest.approx([reached] * len(later), abs=1e-9), "must not move"
    status = mock_robot.wait_status(lambda s: s.reason == "no_teleop", "it waits for the person")
    assert counts(status)["chunk_mode"] == before + 1
    person.move_below(reached - 0.015)
    y = np.array([pose[1] for stamp, pose, _ in mock_robot.targets if stamp > taken_ns])
    limits = mock_robot.robot.limits.groups["arm"]
    assert abs(y[0] - reached) < 1e-9 and (np.diff(y) <= 1e-9).all()
    assert np.abs(np.diff(y)).max() <= limits.linear_speed_m_s * 0.04 + 1e-9


def test_a_silent_person_holds_the_arm_and_hands_nothing_back(mock_robot, person):
    assert mock_robot.call(Trigger, "/control/take_over").success
    person.move_below(-0.008, rows=3)
    mock_robot.wait_status(lambda s: s.reason == "no_teleop", "silence")
    mock_robot.wait_ticks(1)
    reached = mock_robot.pose[1]
    for sequence in range(5):
        mock_robot.send_chunk(policy_rows(mock_robot), sequence=sequence)
        mock_robot.wait_ticks(2)
    assert mock_robot.pose[1] == reached, "must not move"
    assert mock_robot.statuses[-1].mode == "teleoperated"
    assert mock_robot.call(Trigger, "/control/hand_back").success
    move_above(mock_robot, reached + 0.008, sequence=9)


def test_set_mode_says_what_is_wrong_and_what_is_missing(mock_robot, control):
    def set_mode(mode):
        return mock_robot.call(SetMode, "/control/set_mode", SetMode.Request(mode=mode))

    refused = set_mode("manual")
    assert not refused.success
    assert refused.message == "mode: got 'manual', expected autonomous, paused or teleoperated"
    assert set_mode("paused").success
    status = mock_robot.wait_status(
        lambda s: s.mode == "paused" and s.reason == "paused", "paused"
    )
    assert status.engaged
    response = set_mode("teleoperated")
    assert response.success
    assert response.message == "teleoperated; no publisher on teleop_chunk yet, so the robot holds"
    assert mock_robot.call(Trigger, "/control/pause").success
    mock_robot.wait_status(lambda s: s.mode == "paused", "paused by its twin")


def test_two_people_at_once_hold_the_arm(mock_robot, person):
    other = Person(mock_robot)
    assert mock_robot.call(Trigger, "/control/take_over").success
    before = len(mock_robot.statuses)
    # Until control has discovered the other one: what is lost of a discovery is sent again after 3 s.
    for _ in range(5 * TRIES):
        person.send()
        other.send()
        mock_robot.wait_ticks(1)
        if any(s.reason == "two_operators" for s in mock_robot.statuses[before:]):
            break
    else:
        raise AssertionError(f"both were followed: {mock_robot.statuses[-1]}")
    mock_robot.destroy_publisher(other.publisher)
