"""A robot arm in plain numpy: kinematics and distances, as reference for collision models."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from vla_policy.embodiment import Model, load_embodiment
from vla_policy.safety.robot import robot_of
from vla_policy.types import RobotState

GOLDEN = Path(__file__).parents[1] / "golden"
TEXT = (GOLDEN / "arm_bodies.xml").read_text()
TABLE = '<geom name="table" type="box" pos="0 0 -0.02" size="1 1 0.02"/>'
HOME = np.array([0.0, -0.5, 0.6, 0.0, 0.6, 0.0])
# For each joint: its position in the previous link, and its axis; then the tool.
CHAIN = (
    ("shoulder_link", (0, 0, 0.079), 2), ("upper_arm_link", (0, 0, 0.04805), 1),
    ("upper_forearm_link", (0.05955, 0, 0.3), 1), ("lower_forearm_link", (0.2, 0, 0), 0),
    ("wrist_link", (0.1, 0, 0), 1), ("gripper_link", (0.069744, 0, 0), 0),
)  # fmt: skip
TOOL = (0.139, 0, 0)
CLEARANCE_M = 0.008
# The capsule along each link: its end in the link, and its radius.
CAPSULES = {
    "shoulder_link": ((0, 0, 0.048), 0.045), "upper_arm_link": ((0.05955, 0, 0.3), 0.035),
    "upper_forearm_link": ((0.2, 0, 0), 0.03), "lower_forearm_link": ((0.1, 0, 0), 0.03),
    "wrist_link": ((0.05, 0, 0), 0.03), "gripper_link": ((0.11, 0, 0), 0.03),
}  # fmt: skip
# Base of the second model: moved, and rotated about an arbitrary axis.
BASE_QUAT = np.array([0.8, 0.2, -0.4, 0.4])  # wxyz, unit
BASE = f'<body name="base_link" pos="0.4 -0.3 0.2" quat="{" ".join(map(str, BASE_QUAT))}">'


def turn(axis, angle):
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    found = np.eye(3)
    found[i, i], found[j, j], found[i, j], found[j, i] = c, c, -s, s
    return found


def links(joints):
    """Rotation and position of each link in the base frame, and of the tool last."""
    rotation, place, found = np.eye(3), np.zeros(3), []
    for (_, offset, axis), angle in zip(CHAIN, joints, strict=True):
        place = place + rotation @ offset
        rotation = rotation @ turn(axis, angle)
        found.append((rotation, place))
    return [*found, (rotation, place + rotation @ TOOL)]


def quaternion(rotation):
    """xyzw: the best match of a rotation matrix, as an eigenvector; for rotations of any size."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    fit = np.array(
        [
            [a - e - i, b + d, c + g, h - f],
            [0, e - a - i, f + h, c - g],
            [0, 0, i - a - e, d - b],
            [0, 0, 0, a + e + i],
        ]
    )
    return np.linalg.eigh(fit, UPLO="U")[1][:, -1]


def pose(joints):
    rotation, place = links(joints)[-1]
    return np.concatenate((place, quaternion(rotation)))


def least_singular_value(joints):
    """Of m and rad per rad, by differences."""
    columns, step = [], 1e-6
    rotation, place = links(joints)[-1]
    for k in range(6):
        r, p = links(joints + step * np.eye(6)[k])[-1]
        w = (r @ rotation.T - np.eye(3)) / step
        columns.append([*((p - place) / step), w[2, 1], w[0, 2], w[1, 0]])
    return np.linalg.svd(np.array(columns).T, compute_uv=False)[-1]


def segments_apart(a, b, c, d):
    """Distance of two segments: the minimum over many points of one, exact to the other."""
    p = a + np.linspace(0.0, 1.0, 201)[:, None] * (b - a)
    u = np.clip((p - c) @ (d - c) / ((d - c) @ (d - c)), 0.0, 1.0)
    return np.linalg.norm(p - (c + u[:, None] * (d - c)), axis=1).min()


def gaps(joints):
    """Distances of bodies that no joint connects, by names; the table is 'world'."""
    ends = {}
    for (name, _, _), (rotation, place) in zip(CHAIN, links(joints), strict=False):
        ends[name] = (place, place + rotation @ np.array(CAPSULES[name][0]), CAPSULES[name][1])
    found = {}
    names = [name for name, _, _ in CHAIN]
    for a, b in combinations(names, 2):
        if names.index(b) - names.index(a) > 1:
            found[a, b] = segments_apart(*ends[a][:2], *ends[b][:2]) - ends[a][2] - ends[b][2]
    for name in names[1:]:
        found[name, "world"] = min(ends[name][0][2], ends[name][1][2]) - ends[name][2]
    return found


def robot(
    tmp_path,
    name="vx300s",
    *,
    text=TEXT,
    keep_out=(),
    ignore=(),
    clearance_m=CLEARANCE_M,
    margin=0.0,
    singular=0.0,
    **changes,
):
    file = tmp_path / "arm.xml"
    file.write_text(text)
    model = Model(file, clearance_m, (("base_link", "shoulder_link"), ("world", "base_link"), ("world", "shoulder_link"),
                               *(("base_link", n) for n, _, _ in CHAIN[1:]), *ignore), margin, singular)  # fmt: skip
    embodiment = load_embodiment(name)
    limits = replace(embodiment.limits, keep_out=keep_out)
    return robot_of(replace(embodiment, limits=limits, model=model, **changes))


def joint_robot(tmp_path, **changes):
    return robot(tmp_path, GOLDEN / "joint_robot.yaml", **changes)


def asked(arm, here, wanted):
    return arm.bodies.problem(RobotState(here, 1), np.append(wanted, 0.5))


def code(reason):
    return None if reason is None else reason.code
