"""Converts executed rows to a policy's own action columns: the inverse of to_absolute.py.

Demonstrations hold absolute commands; a policy that commands steps, degrees or another form of
rotation is trained on its own columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment import ActionGroup, Embodiment
from vla_policy.embodiment.layout import executed_groups
from vla_policy.execution.to_absolute import DEG
from vla_policy.geometry.quaternions import CONJUGATE, quaternion_multiply
from vla_policy.geometry.rotation_formats import WRITTEN, rotate
from vla_policy.types import Array, required


@dataclass(frozen=True, slots=True)
class Anchors:
    """Starting points of relative rows at the observation, executed columns, float64[d] each.

    measured: the robot's position; NaN in unmeasured columns. commanded: the last command before.
    """

    measured: Array
    commanded: Array


def written(rows: Array, embodiment: Embodiment, anchors: Anchors) -> Array:
    """float64[t, n] in the order of Embodiment.action_names, from rows float64[t, d] of executed_groups.

    Raises ValueError if a group is relative to a measurement that anchors lack, or a quaternion has no length.
    """
    columns: list[Array] = []
    start = 0
    for spoken, executed in zip(embodiment.actions, executed_groups(embodiment), strict=True):
        part = slice(start, start + len(executed.names))
        start = part.stop
        columns.append(_group(rows[:, part], spoken, embodiment, _anchor(spoken, anchors, part)))
    return np.concatenate(columns, axis=1)


def _anchor(group: ActionGroup, anchors: Anchors, part: slice) -> Array | None:
    if group.reference == "absolute":
        return None
    name = "commanded" if group.reference == "commanded" else "measured"
    anchor: Array = getattr(anchors, name)[part]
    if not np.isfinite(anchor).all():
        raise ValueError(
            f"action group {group.name!r} is relative to what is {name}, which is not known for "
            f"{group.names[int(np.argmin(np.isfinite(anchor)))]}"
        )
    return anchor


def _group(rows: Array, group: ActionGroup, embodiment: Embodiment, anchor: Array | None) -> Array:
    if group.space in ("joint_position", "joint_delta"):
        joints = rows if anchor is None else rows - _before(rows, group, anchor)
        degrees = group.unit == "deg" and embodiment.joints.unit == "rad"
        return joints / DEG if degrees else joints
    if group.space in ("ee_pose", "ee_delta"):
        form = WRITTEN[required(group.rotation, f"{group.name}: rotation")]
        if anchor is None:
            return np.concatenate((rows[:, :3], form(rows[:, 3:])), axis=1)
        before = _before(rows, group, anchor)
        back = before[:, 3:] * CONJUGATE
        steps = rows[:, :3] - before[:, :3]
        if group.frame == embodiment.tool_frame:
            steps, turns = rotate(back, steps), quaternion_multiply(back, rows[:, 3:])
        else:
            turns = quaternion_multiply(rows[:, 3:], back)
        return np.concatenate((steps, form(turns)), axis=1)
    return rows


def _before(rows: Array, group: ActionGroup, anchor: Array) -> Array:
    """The reference of each row's step, float64[t, n]."""
    if group.reference == "chunk_start":
        return np.broadcast_to(anchor, rows.shape)
    return np.concatenate((anchor[None], rows[:-1]))
