"""Chunks of a policy that misbehaves."""

from __future__ import annotations

import numpy as np

from .description import Described
from .motions import MONOTONE


def spoilt(
    robot: Described, rows: np.ndarray, rng: np.random.Generator, style: str
) -> tuple[np.ndarray, bool]:
    """Rows that no policy should give; whether they may be followed all the same."""
    rows = np.array(rows)
    # Where all plans are to follow one line, only what nobody may follow is thrown in.
    what = rng.random() * (0.35 if style == MONOTONE else 1.0)
    if what < 0.35:
        where = rng.integers(0, rows.shape[0]), rng.integers(0, rows.shape[1])
        rows[where] = rng.choice([np.nan, np.inf, -np.inf])
        return rows, False
    if what < 0.6:  # one row far away
        rows[rng.integers(0, len(rows)) :] += rng.normal(0, 1.0, rows.shape[1])
        return unit(robot, rows), True
    if what < 0.8:
        where = rng.integers(0, rows.shape[0]), rng.integers(0, rows.shape[1])
        rows[where] = rng.choice([1e160, -1e300, 1e3, -1e3, 5e-324])
        return rows, True
    rows += rng.normal(0, 0.2, rows.shape)
    return unit(robot, rows), True


def unit(robot: Described, rows: np.ndarray) -> np.ndarray:
    """rows with quaternions of length 1."""
    start = 0
    for group in robot.groups:
        width = len(group.columns)
        if group.space == "ee_pose" and group.rotation == "quaternion_xyzw":
            q = slice(start + 3, start + 7)
            rows[:, q] /= np.linalg.norm(rows[:, q], axis=1, keepdims=True)
        start += width
    return rows
