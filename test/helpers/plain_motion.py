"""Plain, slow motion as a reference: de Casteljau's cubics, rotations as matrices."""

from itertools import pairwise

import numpy as np

from vla_policy.embodiment import GroupLimits
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, VELOCITY, ActionPart, Layout

POSE_NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw")


def _part(group, kind, start, names, **more):
    columns = slice(start, start + len(names))
    return ActionPart(
        group, kind, columns, tuple(f"{group}.{n}" for n in names), GroupLimits(), **more
    )


PARTS = (
    _part("torso", JOINTS, 0, ("a", "b"), joints=(0, 1)),
    _part("left", POSE, 2, POSE_NAMES),
    _part("left_hand", GRIPPER, 9, ("opening",)),
    _part("base", VELOCITY, 10, ("x", "yaw")),
    _part("right", POSE, 12, POSE_NAMES),
    _part("right_hand", GRIPPER, 19, ("opening",)),
)
# A layout with every kind of part, and two of each kind that may occur twice.
BODY = Layout(tuple(name for part in PARTS for name in part.names), PARTS)
LINEAR = [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
ROTATIONS = [slice(5, 9), slice(15, 19)]
HANDS = [9, 19]


def rows_of(rng, count, step=0.3, turn=0.6):
    """float64[count, 20]: a walk in every column, rotations about changing axes; openings 0 to 1."""
    rows = np.cumsum(rng.normal(0.0, step, (count, 20)), axis=0)
    rows[rng.random((count, 20)) < 0.1] = 0.25  # zero steps, and back
    for columns in ROTATIONS:
        matrix = exp_matrix(rng.normal(0.0, 1.0, 3))
        for row in rows:
            matrix = exp_matrix(rng.normal(0.0, turn, 3)) @ matrix
            row[columns] = quaternion_of(matrix) * rng.choice((1.0, -1.0))
    rows[:, HANDS] = rng.choice((0.0, 0.3, 0.45, 0.6, 0.95, 1.0), (count, 2))
    return rows


def slopes(start, rows):
    """Slopes of one column, at start and at each row: zero at both ends; at row 0 that of the
    rows; elsewhere the harmonic mean of the two steps, zero if their signs differ."""
    knots = [start, *rows]
    steps = [b - a for a, b in pairwise(knots)]
    found = [0.0]
    for k, (a, b) in enumerate(pairwise(steps)):
        mean = 1.0 / (0.5 / a + 0.5 / b) if a * b > 0.0 else 0.0
        found.append(b if k == 0 else mean)
    return [*found, 0.0]


def path(start, rows, u):
    """Position and rate of one column after u steps from start."""
    u = min(max(u, 0.0), float(len(rows)))
    k = min(int(u), len(rows) - 1)
    knots, slope = [start, *rows], slopes(start, rows)
    return cubic(knots[k], knots[k + 1], slope[k], slope[k + 1], u - k)


def cubic(a, b, rate_a, rate_b, s, span=1.0):
    """Position and rate at s of the cubic from a to b with these rates at its ends, in span."""
    points = [a, a + rate_a * span / 3.0, b - rate_b * span / 3.0, b]
    while len(points) > 2:
        points = [(1.0 - s) * p + s * q for p, q in pairwise(points)]
    return (1.0 - s) * points[0] + s * points[1], 3.0 * (points[1] - points[0]) / span


def cross_matrix(v):
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def exp_matrix(turn):
    """float64[3, 3] of a rotation vector."""
    return _series(turn, shift=0)


def jacobian(turn):
    """float64[3, 3]: from the rate of a rotation vector to the angular velocity."""
    return _series(turn, shift=1)


def _series(turn, shift):
    """Sum of K^n / (n + shift)!, K the cross product with turn."""
    k, term = cross_matrix(turn), np.eye(3)
    total = np.array(term)
    for n in range(1, 60):
        term = term @ k / (n + shift)
        total += term
    return total


def matrix_of(quaternion):
    """float64[3, 3] of xyzw of any length."""
    x, y, z, w = quaternion / np.linalg.norm(quaternion)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def log_matrix(matrix):
    """Rotation vector of a matrix, for rotations below half a turn."""
    odd = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0],
                    matrix[1, 0] - matrix[0, 1]])  # fmt: skip
    sine, cosine = np.linalg.norm(odd) / 2.0, (np.trace(matrix) - 1.0) / 2.0
    angle = np.arctan2(sine, cosine)
    return odd / 2.0 * (angle / sine if sine > 1e-12 else 1.0)


def quaternion_of(matrix):
    """xyzw; through the rotation vector, which is slower than necessary."""
    turn = log_matrix(matrix)
    angle = np.linalg.norm(turn)
    axis = turn / angle if angle > 0.0 else turn
    return np.array([*(axis * np.sin(angle / 2.0)), np.cos(angle / 2.0)])
