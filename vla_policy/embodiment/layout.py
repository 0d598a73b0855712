"""The parts of an action, one for each action group: arms, grippers, bases; as executed.

The names of a part's columns determine its measurement: `joint.waist` is the joint `waist`, `ee.x`
the pose of the tool `ee`, `left.ee.x` that of `left.ee`, `left.gripper` the gripper of that name.
So a robot with two arms is described like one with one arm.

A layout has the executed columns. Rows of a policy that predicts steps, degrees or another form of
rotation are converted to them by execution/to_absolute.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vla_policy.embodiment.description import ActionGroup, Embodiment, GroupLimits
from vla_policy.embodiment.spaces import JOINT_PREFIX, POSITION, TOOL_POSE
from vla_policy.types import Array, RobotState, required

JOINTS, POSE, GRIPPER, VELOCITY = "joints", "pose", "gripper", "velocity"
KINDS = {
    "joint_position": JOINTS,
    "ee_pose": POSE,
    "gripper": GRIPPER,
    "ee_twist": VELOCITY,
    "base_twist": VELOCITY,
}
EXECUTED_AS = {"joint_delta": "joint_position", "ee_delta": "ee_pose"}


@dataclass(frozen=True, slots=True)
class ActionPart:
    """One action group: its columns, their kind, ranges and limits.

    group: its name. kind: JOINTS (positions, rad or m), POSE (x y z qx qy qz qw), GRIPPER (one
    value) or VELOCITY (one per axis, linear ones first). columns: of the action.
    source: the measured tool or gripper, or the tool driven by a velocity; '' for a base.
    joints: of JOINTS, indices of its columns in Embodiment.joint_names. lower, upper: float64[n]
    of its columns, if it has a range.
    opens_up: of a GRIPPER, whether 1 is open.
    """

    group: str
    kind: str
    columns: slice
    names: tuple[str, ...]
    limits: GroupLimits
    source: str = ""
    joints: tuple[int, ...] = ()
    lower: Array | None = None
    upper: Array | None = None
    opens_up: bool = True

    @property
    def range(self) -> tuple[Array, Array]:
        """Of JOINTS and a GRIPPER: lower and upper. Raises ValueError for the others."""
        return required(self.lower, f"{self.group}: lower"), required(
            self.upper, f"{self.group}: upper"
        )

    @property
    def position(self) -> slice:
        """Of a POSE: the columns of x, y, z."""
        return slice(self.columns.start, self.columns.start + 3)

    @property
    def rotation(self) -> slice:
        """Of a POSE: the columns of the quaternion, xyzw."""
        return slice(self.columns.start + 3, self.columns.stop)


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns of an action by parts, in the order of the action groups."""

    names: tuple[str, ...]
    parts: tuple[ActionPart, ...]

    def of_kind(self, *kinds: str) -> tuple[ActionPart, ...]:
        """The parts of these kinds, in order."""
        return tuple(p for p in self.parts if p.kind in kinds)


def executed_groups(embodiment: Embodiment) -> tuple[ActionGroup, ...]:
    """The action groups in the form in which they are executed, in the same order.

    Joints are absolute and in the joints' unit, poses absolute, in the base frame, with a quaternion.
    """
    return tuple(_executed(embodiment, group) for group in embodiment.actions)


def layout_of(embodiment: Embodiment) -> Layout:
    """The parts of embodiment's actions, as they are executed."""
    groups = executed_groups(embodiment)
    parts, start = [], 0
    for group in groups:
        columns = slice(start, start + len(group.names))
        parts.append(_part(embodiment, group, columns))
        start = columns.stop
    return Layout(tuple(name for group in groups for name in group.names), tuple(parts))


def opening_of(value: float, opens_up: bool) -> float:
    """The opening, 0 closed to 1 open, of a gripper action; its own inverse."""
    return value if opens_up else 1.0 - value


def measured_action(layout: Layout, robot: RobotState) -> Array | None:
    """The action that would keep the robot where it is, float64[d]; None if unknown.

    For a velocity that is zero.
    """
    values = np.zeros(len(layout.names))
    for part in layout.parts:
        if part.kind == VELOCITY:
            continue
        found = _measured(part, robot)
        if found is None:
            return None
        values[part.columns] = found
    return values


def _measured(part: ActionPart, robot: RobotState) -> Array | float | None:
    if part.kind == JOINTS:
        positions = robot.joint_positions
        return None if positions is None else positions[list(part.joints)]
    if part.kind == POSE:
        return robot.poses.get(part.source)
    opening = robot.grippers.get(part.source)
    return None if opening is None else opening_of(opening, part.opens_up)


def _executed(embodiment: Embodiment, group: ActionGroup) -> ActionGroup:
    space = EXECUTED_AS.get(group.space, group.space)
    if space == "joint_position":
        return replace(group, space=space, unit=embodiment.joints.unit, reference="absolute")
    if space != "ee_pose":
        return group
    side = group.names[0].removesuffix(POSITION[0])
    return replace(
        group,
        space=space,
        reference="absolute",
        rotation="quaternion_xyzw",
        names=tuple(side + name for name in TOOL_POSE),
        frame=embodiment.base_frame,
    )


def _part(embodiment: Embodiment, group: ActionGroup, columns: slice) -> ActionPart:
    kind = KINDS[group.space]
    limits = embodiment.limits.groups[group.name]
    part = ActionPart(group.name, kind, columns, group.names, limits)
    if kind == JOINTS:
        names = [name.removeprefix(JOINT_PREFIX) for name in group.names]
        joints = tuple(embodiment.joint_names.index(name) for name in names)
        lower, upper = (
            b[list(joints)] for b in (embodiment.joints.lower, embodiment.joints.upper)
        )
        return replace(part, joints=joints, lower=lower, upper=upper)
    if kind == POSE or group.space == "ee_twist":
        return replace(part, source=group.names[0].rpartition(".")[0])
    if kind == GRIPPER:
        return replace(
            part,
            source=group.names[0],
            lower=np.zeros(1),
            upper=np.ones(1),
            opens_up=group.open == 1.0,
        )
    return part
