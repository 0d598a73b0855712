"""Chunks that no robot should follow, and two policies that speak at once."""

from itertools import pairwise

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from vla_policy.msg import ActionChunk

from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos

PERIOD_S = 0.02
CHUNK_AGE_S = 1.2


def counts(status):
    return dict(zip(status.intervention_names, status.intervention_counts, strict=True))


def bad_chunk(robot, how, obs_ns):
    """Send a chunk that is wrong in one way; the code it is counted under."""
    rows = np.tile([*robot.pose, 0.5], (10, 1))
    far = np.add(rows, [0.2, 0, 0, 0, 0, 0, 0, 0])
    if how == "nan":
        rows[3, 1] = np.nan
        robot.send_chunk(rows, sequence=1)
        return "chunk_not_finite"
    if how == "wrong width":
        robot.send_chunk(rows[:, :7], sequence=1)
        return "chunk_unreadable"
    if how == "wrong names":
        robot.send_chunk(far, sequence=1, names=tuple("abcdefgh"))
        return "chunk_names"
    if how == "old":
        robot.send_chunk(far, sequence=1, obs_ns=obs_ns - 3_000_000_000)
        return "chunk_old"
    if how == "duplicate":
        robot.send_chunk(far, sequence=0, obs_ns=obs_ns)
        return "chunk_duplicate"
    if how == "from the future":
        robot.send_chunk(far, sequence=1, obs_ns=robot.now_ns() + 5_000_000_000)
        return "chunk_future"
    huge = ActionChunk(rows=2_000_000, names=["x"] * 500, values=np.zeros(10).tolist())
    if how == "huge claim":
        robot.chunks.publish(huge)
        return "chunk_unreadable"
    robot.send_chunk(np.tile(far, (2000, 1)), sequence=1)
    return "chunk_unreadable"


@pytest.mark.parametrize("how", ["nan", "wrong width", "wrong names", "huge claim", "huge"])
def test_a_chunk_that_is_malformed_ends_the_motion(cell, reaction, moves_of, how):
    robot = cell.robot
    cell.be_engaged()
    obs_ns = cell.move()
    code = "chunk_unreadable" if how == "huge" else None
    before = counts(robot.statuses[-1])
    fault_ns = robot.now_ns()
    code = bad_chunk(robot, how, obs_ns)
    robot.wait_status(lambda s: counts(s).get(code, 0) > before.get(code, 0), code)
    cell.held(fault_ns, "no_chunk")
    seconds = max(0.0, (cell.last_move_ns() - fault_ns) / 1e9)
    # A message of some MB takes its time on the way; until it is here, the old plan goes on.
    reaction(f"chunk: {how}", seconds, CHUNK_AGE_S)
    cell.moves_again()


@pytest.mark.parametrize("how", ["old", "duplicate", "from the future"])
def test_a_chunk_at_the_wrong_time_changes_nothing(cell, reaction, moves_of, how):
    robot = cell.robot
    cell.be_engaged()
    obs_ns = cell.move(rows=12)
    before, followed = counts(robot.statuses[-1]), len(robot.targets)
    code = bad_chunk(robot, how, obs_ns)
    status = robot.wait_status(lambda s: counts(s).get(code, 0) > before.get(code, 0), code)
    assert status.chunk_sequence == 0
    cell.held(obs_ns, "no_chunk", "stale_chunk")
    assert max(pose[0] for _, pose, _ in robot.targets[followed:]) < cell.way_end_m + 0.001
    reaction(f"chunk: {how}", (cell.last_move_ns() - obs_ns) / 1e9, CHUNK_AGE_S + PERIOD_S)
    cell.moves_again()


def test_no_chunk_any_more_ends_the_motion_at_the_age_of_the_plan(cell, reaction):
    cell.be_engaged()
    obs_ns = cell.move(rows=100)
    cell.held(obs_ns, "stale_chunk", "no_chunk")
    reaction("policy: silent", (cell.last_move_ns() - obs_ns) / 1e9, CHUNK_AGE_S + PERIOD_S)
    cell.moves_again()


def test_two_policies_at_once_hold_the_robot(cell, reaction):
    robot = cell.robot
    cell.be_engaged()
    cell.move()
    second = robot.create_publisher(ActionChunk, "action_chunk", qos.COMMAND)
    robot.wait_ticks(2)  # until the second publisher has been matched
    cell.move(sequence=1)
    rows = np.tile([*robot.pose, 0.5], (20, 1)) - [0.05, 0, 0, 0, 0, 0, 0, 0]
    fault_ns = robot.now_ns()

    def speak():
        msg = ActionChunk(rows=20, names=list(robot.robot.action_names), sequence=2)
        msg.header.stamp = convert.stamp_from_ns(robot.now_ns())
        msg.step = convert.duration_from_ns(100_000_000)
        msg.values = rows.ravel().tolist()
        second.publish(msg)

    speak()
    timer = robot.create_timer(0.3, speak)
    first = robot.create_timer(
        0.3, lambda: robot.send_chunk(np.tile([*robot.pose, 0.5], (20, 1)), sequence=3)
    )
    cell.held(fault_ns, "two_policies")
    seconds = (cell.last_move_ns() - fault_ns) / 1e9
    reaction("two policies at once", max(0.0, seconds), 2 * PERIOD_S + 0.1)
    cell.nothing_moves()
    robot.destroy_timer(first)
    robot.destroy_timer(timer)
    robot.destroy_publisher(second)
    robot.wait_status(lambda s: s.reason == "no_chunk", "one policy again")
    cell.moves_again()


def test_another_controller_takes_over_and_hands_back_without_a_jump(cell, reaction):
    robot = cell.robot
    cell.be_engaged()
    cell.move()
    other = robot.create_publisher(PoseStamped, "target_pose", 10)
    away = np.add(robot.pose, [0.0, 0.1, 0.0, 0, 0, 0, 0])

    def teleoperate():
        pose = convert.pose_to_msg(away, stamp_ns=robot.now_ns(), frame_id="base_link")
        pose.header.frame_id = "teleop"
        other.publish(pose)

    fault_ns = robot.now_ns()
    timer = robot.create_timer(0.02, teleoperate)
    status = cell.held(fault_ns, "other_controller")
    assert not status.engaged
    taken_ns = convert.ns_from_stamp(status.header.stamp)
    robot.pose = away  # where the other one has brought it
    robot.wait_ticks(3)
    # By their stamps: the last ones were on their way when the status came.
    ours = [t for t in robot.targets if t[2].frame_id == "base_link"]
    seconds = max((t[0] for t in ours), default=0) - taken_ns
    reaction("another controller commands: ours after noticing", seconds / 1e9, 0.0)
    robot.destroy_timer(timer)
    robot.destroy_publisher(other)
    robot.wait_ticks(2)
    again_ns = robot.now_ns()
    cell.be_engaged()
    cell.move(rows=4, sequence=7)
    robot.targets = [t for t in robot.targets if t[2].frame_id == "base_link" and t[0] > again_ns]
    back = [t[1] for t in robot.targets]
    assert np.linalg.norm(back[0][:3] - away[:3]) < 0.005
    assert max(np.linalg.norm(b[:3] - a[:3]) for a, b in pairwise(back)) < 0.02


def test_a_robot_that_somebody_moves_is_let_go(cell, reaction):
    robot = cell.robot
    cell.be_engaged()
    cell.move(rows=4)
    cell.held(0, "no_chunk")
    robot.wait_ticks(5)  # at rest
    sent = len(robot.targets)
    fault_ns = robot.now_ns()
    robot.pose = np.add(robot.pose, [0.0, 0.15, 0.0, 0, 0, 0, 0])
    status = cell.held(fault_ns, "moved_away")
    assert not status.engaged
    reaction(
        "moved by hand at rest", (convert.ns_from_stamp(status.header.stamp) - fault_ns) / 1e9, 0.5
    )
    robot.wait_ticks(2)
    assert len(robot.targets) == sent
    cell.be_engaged()
    cell.move(rows=4, sequence=3)
    assert abs(robot.targets[sent][1][1] - robot.pose[1]) < 0.01
    robot.targets = robot.targets[sent:]
