"""Paths of a robot's tools for rows of actions, for displays only; nothing here is commanded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.forward_kinematics import ForwardKinematics
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, Layout, layout_of, opening_of
from vla_policy.execution.to_absolute import is_relative
from vla_policy.types import Array

# float64[j] joint positions, in the order of Embodiment.joint_names -> float64[7] x y z qx qy qz qw, base frame.
Kinematics = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class ToolPath:
    """tool: 'ee' or 'left.ee'. poses: float64[n, 7] x y z qx qy qz qw, m, base frame.

    openings: float64[n] of its gripper, 0 closed, 1 open; None without one.
    """

    tool: str
    poses: Array
    openings: Array | None


def tool_paths(
    rows: Array, layout: Layout, joints: Array | None, kinematics: Mapping[str, Kinematics]
) -> tuple[ToolPath, ...]:
    """rows: float64[n, d] in the order of layout.names; rows with NaN in an arm are skipped.

    joints: float64[j], the measured ones, for joints that the rows do not command. kinematics:
    tool -> forward kinematics, for arms commanded by joints. Velocity-driven arms have no path.
    """
    found = []
    for part in layout.of_kind(POSE):
        found.append(_path(part.source, rows[:, part.columns], rows, layout))
    arms = layout.of_kind(JOINTS)
    if arms and joints is not None:
        known = np.isfinite(np.concatenate([rows[:, a.columns] for a in arms], axis=1)).all(1)
        positions = np.repeat(joints[None], len(rows), 0)
        for arm in arms:
            positions[:, arm.joints] = rows[:, arm.columns]
        for tool, pose_of in kinematics.items():
            poses = np.full((len(rows), 7), np.nan)
            for i in np.flatnonzero(known):
                poses[i] = pose_of(positions[i])
            found.append(_path(tool, poses, rows, layout))
    return tuple(path for path in found if len(path.poses))


def _path(tool: str, poses: Array, rows: Array, layout: Layout) -> ToolPath:
    known = np.isfinite(poses).all(1)
    side = tool.rpartition(".")[0]
    gripper = next(
        (g for g in layout.of_kind(GRIPPER) if g.source.rpartition(".")[0] == side), None
    )
    openings = None
    if gripper is not None:
        values = rows[known, gripper.columns.start]
        openings = np.array([opening_of(float(v), gripper.opens_up) for v in values])
    return ToolPath(tool, poses[known], openings)


def path_tools(robot: Embodiment) -> tuple[str, ...]:
    """The tools that have a path; none where arms are commanded by velocities, or by joints without a model."""
    layout = layout_of(robot)
    return (*(part.source for part in layout.of_kind(POSE)), *_modelled(robot))


def start_from_state(robot: Embodiment) -> bool:
    """Whether the paths of chunks need the robot's state: for relative rows, or joints that no row commands."""
    return is_relative(robot) or bool(layout_of(robot).of_kind(JOINTS))


def kinematics_of(robot: Embodiment) -> dict[str, Kinematics]:
    """The forward kinematics of the tools of arms commanded by joints; empty without a model."""
    return {t: ForwardKinematics(robot, frame).pose for t, frame in _modelled(robot).items()}


def _modelled(robot: Embodiment) -> dict[str, str]:
    """Tool -> its frame in the robot's model."""
    if robot.model is None or not layout_of(robot).of_kind(JOINTS):
        return {}
    frames = {tool: source.frame for tool, source in robot.poses.items() if source.frame}
    return frames or {"ee": robot.tool_frame}


def topic_of(tool: str) -> str:
    """The tool as the end of a topic's name: 'left.ee' becomes left/ee."""
    return tool.replace(".", "/")
