"""Converts a policy's rows to rows that can be executed.

Degrees become the joints' unit, every form of rotation a quaternion, and rows relative to a
reference absolute. Openings and velocities stay unchanged. This happens once, when a chunk is
accepted; later stages work with absolute rows only.

A relative row is added to a reference of the time *of the observation*:

* measured: the robot's position; each row continues from the row before.
* commanded: the commanded position; each row continues from the row before.
* chunk_start: the robot's position; every row is relative to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from vla_policy.embodiment import ActionGroup, Embodiment
from vla_policy.embodiment.layout import executed_groups
from vla_policy.execution.history import History, at
from vla_policy.geometry.quaternions import quaternion_multiply
from vla_policy.geometry.rotation_formats import QUATERNION, rotate
from vla_policy.types import ActionChunk, Array, Reason, required

DEG = np.pi / 180.0


@dataclass(frozen=True, slots=True)
class References:
    """Recent references of relative rows. Actions in executed columns.

    measured: the robot's positions. commanded: the published ones.
    """

    measured: History = field(default_factory=History)
    commanded: History = field(default_factory=History)


def is_relative(embodiment: Embodiment) -> bool:
    """Whether any group's rows need References."""
    return any(group.reference != "absolute" for group in embodiment.actions)


def resolve(
    chunk: ActionChunk, embodiment: Embodiment, references: References
) -> ActionChunk | Reason:
    """chunk with the columns of executed_groups; or why no row can be an action of this robot.

    Codes: chunk_names, chunk_step, chunk_not_finite, chunk_quaternion, no_position.
    """
    malformed = _malformed(chunk, embodiment) or _not_finite(chunk)
    if malformed is not None:
        return malformed
    groups = executed_groups(embodiment)
    columns: list[Array] = []
    start = 0
    for spoken, executed in zip(embodiment.actions, groups, strict=True):
        rows = chunk.actions[:, embodiment.columns(spoken)]
        width = len(executed.names)
        anchor = _anchor(spoken, references, chunk.obs_ns, slice(start, start + width))
        if isinstance(anchor, Reason):
            return anchor
        try:
            columns.append(_rows(rows, spoken, embodiment, anchor))
        except ValueError as error:
            return Reason("chunk_quaternion", f"action group {spoken.name!r}: {error}")
        start += width
    names = tuple(name for group in groups for name in group.names)
    resolved = replace(chunk, actions=np.concatenate(columns, axis=1), names=names)
    return _not_finite(resolved) or resolved


def as_executed(chunk: ActionChunk, embodiment: Embodiment) -> ActionChunk | Reason:
    """chunk, which already has the columns of executed_groups; or a reason, as in resolve."""
    spoken = replace(embodiment, actions=executed_groups(embodiment))
    return resolve(chunk, spoken, References())


def _malformed(chunk: ActionChunk, embodiment: Embodiment) -> Reason | None:
    if chunk.names != embodiment.action_names:
        return Reason(
            "chunk_names",
            f"the chunk has the columns {', '.join(chunk.names)}, "
            f"the robot {', '.join(embodiment.action_names)}",
        )
    step_ns = embodiment.step_ns
    if abs(chunk.step_ns - step_ns) > step_ns // 100:
        return Reason(
            "chunk_step", f"the chunk has a row every {chunk.step_ns} ns, the robot {step_ns} ns"
        )
    return None


def _not_finite(chunk: ActionChunk) -> Reason | None:
    """The first value of a row that is not finite, by name; sums of steps may overflow."""
    finite = np.isfinite(chunk.actions)
    if finite.all():
        return None
    row, column = (int(i) for i in np.argwhere(~finite)[0])
    value = chunk.actions[row, column]
    return Reason("chunk_not_finite", f"{chunk.names[column]} of row {row} is {value}")


def _anchor(
    group: ActionGroup, references: References, obs_ns: int, columns: slice
) -> Array | Reason | None:
    if group.reference == "absolute":
        return None
    found = None
    if group.reference == "commanded":
        found = at(references.commanded, obs_ns)
    # Before the first command the robot is at its measured position.
    if found is None:
        found = at(references.measured, obs_ns)
    if found is None:
        return Reason(
            "no_position",
            f"action group {group.name!r} is relative, and where the robot was "
            "at the observation is not known",
        )
    return found[columns]


def _rows(rows: Array, group: ActionGroup, embodiment: Embodiment, anchor: Array | None) -> Array:
    if group.space in ("joint_position", "joint_delta"):
        degrees = group.unit == "deg" and embodiment.joints.unit == "rad"
        rows = rows * DEG if degrees else rows
        if anchor is None:
            return rows
        ways = rows if group.reference == "chunk_start" else np.cumsum(rows, axis=0)
        joints: Array = anchor + ways
        return joints
    if group.space in ("ee_pose", "ee_delta"):
        turns = QUATERNION[required(group.rotation, f"{group.name}: rotation")](rows[:, 3:])
        if anchor is None:
            return np.concatenate((rows[:, :3], turns), axis=1)
        in_tool = group.frame == embodiment.tool_frame
        return _moved(
            anchor,
            rows[:, :3],
            turns,
            in_tool=in_tool,
            from_start=group.reference == "chunk_start",
        )
    return rows


def _moved(start: Array, steps: Array, turns: Array, *, in_tool: bool, from_start: bool) -> Array:
    """Poses float64[t, 7] after steps float64[t, 3] m and turns float64[t, 4] from start float64[7].

    in_tool: along the axes of the tool, else along those of the base.
    """
    poses = np.empty((len(steps), 7))
    before = np.array(start)
    for row, step, turn in zip(poses, steps, turns, strict=True):
        rotation = before[3:]
        row[:3] = before[:3] + (rotate(rotation, step) if in_tool else step)
        pair = (rotation, turn) if in_tool else (turn, rotation)
        row[3:] = quaternion_multiply(*pair)
        row[3:] /= np.linalg.norm(row[3:])
        if not from_start:
            before = row
    return poses
