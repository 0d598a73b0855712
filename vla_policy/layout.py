"""Which columns of an action are joints, position, rotation, gripper; what can be executed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .embodiment import ActionGroup, Embodiment
from .types import Array, RobotState

EXECUTED = {
    "joint_position": ("float64_multi_array",),
    "ee_pose": ("pose",),
    "gripper": ("float64_multi_array",),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns of an action: an arm by its joints or by its tool pose, and perhaps a gripper.

    joints, position, rotation (quaternion xyzw), gripper: slices of the action, None where absent.
    """

    names: tuple[str, ...]
    joints: slice | None = None
    position: slice | None = None
    rotation: slice | None = None
    gripper: slice | None = None
    gripper_group: ActionGroup | None = None


def unsupported(embodiment: Embodiment) -> tuple[str, ...]:
    """One sentence for each thing in the description that cannot be executed; empty if all can."""
    problems = []
    for group in embodiment.actions:
        if group.space not in EXECUTED:
            problems.append(
                f"action group {group.name!r}: space {group.space} cannot be executed yet, "
                f"expected one of {', '.join(EXECUTED)}"
            )
            continue
        problems += [f"action group {group.name!r}: {p}" for p in _details(embodiment, group)]
    arms = [g.name for g in embodiment.actions if g.space in ("joint_position", "ee_pose")]
    hands = [g.name for g in embodiment.actions if g.space == "gripper"]
    if len(arms) != 1 or len(hands) > 1:
        problems.append(
            f"got the arm groups {arms} and gripper groups {hands}, "
            "expected one arm and at most one gripper"
        )
    return tuple(problems)


def layout_of(embodiment: Embodiment) -> Layout:
    """The columns of embodiment's actions. Raises ValueError with every reason why not."""
    problems = unsupported(embodiment)
    if problems:
        raise ValueError(f"robot {embodiment.name!r}: {'; '.join(problems)}")
    parts: dict[str, slice] = {}
    for group in embodiment.actions:
        columns = embodiment.columns(group)
        if group.space == "ee_pose":
            parts["position"] = slice(columns.start, columns.start + 3)
            parts["rotation"] = slice(columns.start + 3, columns.stop)
        else:
            parts["joints" if group.space == "joint_position" else "gripper"] = columns
    return Layout(embodiment.action_names, **parts, gripper_group=embodiment.group("gripper"))


def opening_of(value: float, group: ActionGroup) -> float:
    """The opening, 0 closed to 1 open, of a gripper action; its own inverse."""
    return value if group.open == 1.0 else 1.0 - value


def measured(layout: Layout, robot: RobotState) -> Array | None:
    """The action that would leave the robot where it is, float64[d]; None if that is not known."""
    values = np.zeros(len(layout.names))
    if layout.joints is not None:
        if robot.joint_positions is None:
            return None
        values[layout.joints] = robot.joint_positions
    if layout.position is not None and layout.rotation is not None:
        if robot.ee_pose is None:
            return None
        values[layout.position] = robot.ee_pose[:3]
        values[layout.rotation] = robot.ee_pose[3:]
    if layout.gripper is not None:
        if robot.gripper is None or layout.gripper_group is None:
            return None
        values[layout.gripper] = opening_of(robot.gripper, layout.gripper_group)
    return values


def _details(embodiment: Embodiment, group: ActionGroup) -> list[str]:
    problems = []
    if group.rotation not in (None, "quaternion_xyzw"):
        problems.append(f"rotation {group.rotation} cannot be executed yet, only quaternion_xyzw")
    if group.space == "joint_position" and group.unit != embodiment.joints.unit:
        problems.append(
            f"unit {group.unit} differs from the joints' unit {embodiment.joints.unit}"
        )
    output = embodiment.outputs[group.name]
    if output.type not in EXECUTED[group.space]:
        served = ", ".join(EXECUTED[group.space])
        problems.append(f"output {output.type} cannot be served yet, expected {served}")
    return problems
