"""Rows of a chunk in which every part of a robot moves a little, in the robot's own action contract."""

import numpy as np

ROWS_S = 0.8  # how far a chunk reaches
MOVES_NS, ENDS_NS = 3_000_000_000, 4_000_000_000
HAND_NS = 1_500_000_000  # closed that long, then open
JOINT_PER_S, METRES_PER_S, RADIANS_PER_S = 0.12, 0.03, 0.05


def rows_count(robot):
    return max(2, round(ROWS_S * robot.policy_hz))


def actions_of(robot, state, since_ns):
    """float64[t, d]. state: name -> value at the observation. since_ns: from the first one to it."""
    moving = since_ns < MOVES_NS
    steps = (np.arange(rows_count(robot)) + 1.0)[:, None] / robot.policy_hz * moving
    opening = float(since_ns // HAND_NS % 2)
    columns = [rows_of(group, state, steps, opening) for group in robot.actions]
    return np.concatenate(columns, axis=1)


def rows_of(group, state, steps, opening):
    """float64[t, n] of one group. steps: float64[t, 1], seconds from the observation."""
    width = len(group.names)
    if group.space == "gripper":
        return np.full((len(steps), 1), opening)
    if group.space == "joint_position":
        here = np.array([state[name] for name in group.names])
        return here + steps * JOINT_PER_S
    if group.space == "joint_delta":
        return np.tile(np.diff(steps, axis=0, prepend=0.0) * JOINT_PER_S, (1, width))
    if group.space in ("ee_twist", "base_twist"):
        moving = float(steps[-1, 0] > 0.0)
        return np.full((len(steps), width), moving * METRES_PER_S)
    tool = group.names[0].rpartition(".")[0]
    way = np.array([[0.0, METRES_PER_S, 0.0]])
    if group.space == "ee_delta":
        turn = np.array([[0.0, 0.0, RADIANS_PER_S]])
        each = np.diff(steps, axis=0, prepend=0.0)
        return np.concatenate((each * way, each * turn), axis=1)
    pose = np.array([state[f"{tool}.{n}"] for n in ("x", "y", "z", "qx", "qy", "qz", "qw")])
    rows = np.tile(pose, (len(steps), 1))
    rows[:, :3] += steps * way
    return rows
