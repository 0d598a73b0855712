"""Frames at the start of an episode in which nothing happens yet: recorded, and not learned.

A person presses the button, and begins a second later. A policy that learned to wait there waits for ever, as what it
sees does not change while it waits.
"""

from __future__ import annotations

import numpy as np

from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, VELOCITY, Layout
from vla_policy.types import Array

JOINT_SHARE = 0.002  # of a joint's range: what encoders and a supported arm's sag move
PLACE_M, TURN = 0.002, 0.005  # of a tool; of a part of its quaternion
OPENING = 0.02
STEP = 1e-3  # of an action that policies write, in its own unit


def still_starts(
    state: Array, action: Array, first: Array, length: Array, state_names: tuple[str, ...], layout: Layout,
    *, written: bool,
) -> Array:  # fmt: skip
    """bool[n]: frames before the last one in which neither the robot nor its command has changed.

    state: float64[n, s]. action: float64[n, d], columns of layout; written: as policies write it. first, length:
    int64[e] of the episodes. An episode without any change is left as it is.
    """
    room = tolerances(layout)
    known = [(k, layout.names.index(n)) for k, n in enumerate(state_names) if n in layout.names]
    measured = np.array([k for k, _ in known], np.int64)
    within = room[[c for _, c in known]]
    still = np.zeros(len(state), bool)
    for begin, count in zip(first.tolist(), length.tolist(), strict=True):
        own, told = state[begin : begin + count, measured], action[begin : begin + count]
        moved = (np.abs(own - own[:1]) > within).any(axis=1)
        moved |= (np.abs(told - told[:1]) > (STEP if written else room)).any(axis=1)
        if moved.any():
            still[begin : begin + max(0, int(np.argmax(moved)) - 1)] = True
    return still


def tolerances(layout: Layout) -> Array:
    """float64[d]: by how much each column may differ and still be the same."""
    room = np.zeros(len(layout.names))
    for part in layout.parts:
        if part.kind == JOINTS:
            lower, upper = part.range
            room[part.columns] = JOINT_SHARE * (upper - lower)
        elif part.kind == POSE:
            room[part.position], room[part.rotation] = PLACE_M, TURN
        elif part.kind == GRIPPER:
            room[part.columns] = OPENING
        elif part.kind == VELOCITY:
            room[part.columns] = STEP
    return room
