"""The action of a frame as a policy learns it: what went out after the guard, or what was asked for.

What went out is a motion that the robot can follow in time. What was asked for runs ahead where the guard slowed it, so
that a policy that learned it is slowed again; it is right where the guard was tighter than it will be. A gripper is
commanded from the start of a row on, while a frame has what was asked for by its end, so that a grip would come up to a
frame early: of grippers what went out is learned in any case, which shows how far they have closed by then.
"""

from __future__ import annotations

import numpy as np

from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, Layout
from vla_policy.types import Array

PROPOSED, SENT = "proposed", "sent"
LEARNED = (PROPOSED, SENT)
START, END = "start", "end"
GRIPS = (START, END)  # of a frame
_SHORTEST = 0.5  # of a quaternion that still is a rotation


def learned_action(sent: Array, proposed: Array, layout: Layout) -> Array:
    """float64[n, d]: of each group what was proposed, joints in their range; of grippers what was sent.

    sent, proposed: float64[n, d], columns of layout. What was sent is also learned where proposed is NaN: there nothing
    was, or the robot did not follow it.
    """
    learned = np.array(sent, np.float64)
    for part in layout.parts:
        if part.kind == GRIPPER:
            continue
        asked = proposed[:, part.columns]
        rows = np.flatnonzero(np.isfinite(asked).all(axis=1))
        values = np.array(asked[rows], np.float64)
        if part.kind == JOINTS:
            values = np.clip(values, *part.range)
        elif part.kind == POSE:
            turns = proposed[rows, part.rotation]
            lengths = np.linalg.norm(turns, axis=1)
            whole = lengths > _SHORTEST
            rows, values = rows[whole], values[whole]
            turns = turns[whole] / lengths[whole, None]
            # q and -q are one rotation; a set keeps to one of the two.
            same = (turns * sent[rows, part.rotation]).sum(axis=1) >= 0.0
            values[:, 3:] = np.where(same[:, None], turns, -turns)
        learned[rows, part.columns] = values
    return learned


def grips_from_start(action: Array, first: Array, layout: Layout) -> Array:
    """float64[n, d]: action with the grippers' commands that were in force where each frame begins.

    action: float64[n, d], those in force at its end. first: int64[e], the first frame of each episode, which keeps its own.
    A policy's gripper is commanded from the start of a row on: with the command at a frame's end it acts up to a frame
    before it was seen to act, with that at its start up to a frame later.
    """
    found = np.array(action, np.float64)
    for part in layout.of_kind(GRIPPER):
        found[1:, part.columns] = action[:-1, part.columns]
        found[first, part.columns] = action[first, part.columns]
    return found
