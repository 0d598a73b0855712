"""Cameras, joint states, tool pose and clock fail while the robot moves."""

import numpy as np
import pytest

from vla_policy.ros.messages import convert

MAX_AGE_S = {"front": 0.35, "wrist": 0.35, "joints": 0.25, "ee_pose": 0.25}
CODE = {"joints": "stale_joint_states", "ee_pose": "stale_ee_pose"}
PERIOD_S = 0.02
IMAGE_S = 0.04


@pytest.mark.parametrize("how", ["kill", "freeze", "delay"])
@pytest.mark.parametrize("name", ["front", "wrist"])
def test_a_camera_that_fails(cell, reaction, name, how):
    robot = cell.robot
    cell.be_engaged()
    cell.move()
    if how == "kill":
        robot.silent.add(name)
    elif how == "freeze":
        robot.frozen.add(name)
    else:
        robot.lag_ns[name] = 600_000_000
    fault_ns = robot.now_ns()
    last_ns = robot.last_ns[name] if how != "delay" else fault_ns
    cell.held(fault_ns, "stale_camera")
    bound_s = MAX_AGE_S[name] + PERIOD_S
    reaction(f"camera {name}: {how}", (cell.last_move_ns() - last_ns) / 1e9, bound_s)
    robot.silent.clear(), robot.frozen.clear(), robot.lag_ns.clear()
    robot.wait_status(lambda s: s.reason == "no_chunk", "fresh again")
    cell.moves_again()


def test_a_camera_that_sends_the_same_pixels_again_and_again(cell, reaction):
    robot = cell.robot
    cell.be_engaged()
    cell.move(step_m=0.004, rows=12)
    robot.still.add("front")
    fault_ns = robot.now_ns()
    x = robot.pose[0]
    for sequence in range(1, 20):
        cell.robot.send_chunk([x + 0.004 * (k + sequence) for k in range(12)], sequence=sequence)
        if robot.statuses[-1].reason == "stale_pixels":
            break
        robot.wait_ticks(1)
    cell.held(fault_ns, "stale_pixels")
    max_still_s = robot.robot.cameras["front"].max_still_s
    seconds = (cell.last_move_ns() - robot.changed_ns["front"]) / 1e9
    # It is noticed with the image that comes next, which a busy machine may publish late.
    stamps = np.array([t for t in robot.shown_ns["front"] if t >= robot.changed_ns["front"]])
    image_s = max(IMAGE_S, float(np.diff(stamps).max()) / 1e9)
    reaction(
        "camera front: same pixels, new stamps", seconds, max_still_s + image_s + 2 * PERIOD_S
    )
    robot.still.clear()
    robot.wait_status(lambda s: s.reason == "no_chunk", "fresh again")
    cell.moves_again(200)


@pytest.mark.parametrize("name", ["joints", "ee_pose"])
def test_the_state_is_dropped(cell, reaction, name):
    cell.be_engaged()
    cell.move()
    cell.robot.silent.add(name)
    fault_ns = cell.robot.now_ns()
    cell.held(fault_ns, CODE[name])
    seconds = (cell.last_move_ns() - cell.robot.last_ns[name]) / 1e9
    reaction(f"{CODE[name][6:]}: dropped", seconds, MAX_AGE_S[name] + PERIOD_S)
    cell.robot.silent.clear()
    cell.robot.wait_status(lambda s: s.reason == "no_chunk", "fresh again")
    cell.moves_again()


def test_the_robot_falls_silent_as_a_whole(cell, reaction):
    """Its driver was killed: joint states, pose and cameras end at once."""
    robot = cell.robot
    cell.be_engaged()
    cell.move()
    robot.silent |= {"joints", "ee_pose", *robot.cameras}
    fault_ns = robot.now_ns()
    cell.held(fault_ns, "stale_joint_states", "stale_ee_pose")
    last_ns = max(robot.last_ns[name] for name in ("joints", "ee_pose"))
    seconds = (cell.last_move_ns() - last_ns) / 1e9
    reaction("robot: everything silent", seconds, MAX_AGE_S["joints"] + PERIOD_S)
    robot.silent.clear()
    robot.wait_status(lambda s: s.reason == "no_chunk", "fresh again")
    cell.moves_again()


def garbled(robot, how):
    """A JointState that must not be believed."""
    names, positions = [*robot.robot.joint_names, "left_finger"], [0.0] * 7
    if how == "nan":
        positions[2] = np.nan
    elif how == "names":
        names = [f"other_{name}" for name in names]
    elif how == "short":
        positions = positions[:4]
    elif how == "twice":
        names[1] = names[0]
    stamp_ns = robot.now_ns() + (3_600_000_000_000 if how == "future" else 0)
    msg = convert.joints_to_msg(names[: len(positions)], positions, stamp_ns=stamp_ns)
    msg.name = names
    if how == "unstamped":
        msg.header.stamp.sec = msg.header.stamp.nanosec = 0
    return msg


@pytest.mark.parametrize("how", ["nan", "names", "short", "twice", "unstamped", "future"])
def test_the_joint_states_are_garbled(cell, reaction, how):
    robot = cell.robot
    cell.be_engaged()
    cell.move()
    robot.silent.add("joints")
    fault_ns = robot.now_ns()
    timer = robot.create_timer(PERIOD_S, lambda: robot.joints.publish(garbled(robot, how)))
    cell.held(fault_ns, "stale_joint_states")
    robot.destroy_timer(timer)
    seconds = (cell.last_move_ns() - robot.last_ns["joints"]) / 1e9
    reaction(f"joint_states: garbled ({how})", seconds, MAX_AGE_S["joints"] + PERIOD_S)
    robot.silent.clear()
    robot.wait_status(lambda s: s.reason == "no_chunk", "believed again")
    cell.moves_again()


@pytest.mark.parametrize("jump_s", [-5.0, 5.0])
def test_the_clock_jumps(
    mock_robot, start_node, shared_nodes, cell_of, moves_of, reaction, jump_s
):
    shared_nodes.end()
    clock = mock_robot.publish_clock()
    cell = cell_of(mock_robot, start_node("control_node", use_sim_time=True))
    cell.be_ready()
    cell.be_engaged()
    cell.move()
    sent = len(mock_robot.targets)
    mock_robot.offset_ns += round(jump_s * 1e9)
    after_ns = mock_robot.now_ns()
    cell.robot.wait_status(
        lambda s: dict(zip(s.intervention_names, s.intervention_counts, strict=True)).get(
            "clock_jump"
        ),
        "the jump is noticed",
    )
    cell.nothing_moves()
    # What was stamped by the clock as it was before is seconds away from these.
    stamps = [ns for ns in moves_of(mock_robot.targets[sent:]) if abs(ns - after_ns) < 4e9]
    seconds = max([(ns - after_ns) / 1e9 for ns in stamps], default=0.0)
    reaction(f"clock jumps by {jump_s:+g} s", max(0.0, seconds), PERIOD_S)
    cell.within_limits()
    cell.moves_again()
    mock_robot.destroy_timer(clock)
