"""The columns that a model of one tool's steps can drive: the steps, or the resulting pose.

OpenVLA's and RT-2's numbers are metres and radians of a tool. Under names of joints, or as speeds,
they would cause other motion, so names and spaces are compared, not only counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vla_policy.embodiment.spaces import POSITION, ROTATIONS, TOOL_POSE

STEP = (*POSITION, *ROTATIONS["rpy"])


@dataclass(frozen=True, slots=True)
class ToolColumns:
    """called: the model, in messages.

    arms: the arm's space -> its columns. The gripper follows.
    """

    called: str
    arms: Mapping[str, tuple[str, ...]]


def problem(
    tool: ToolColumns | None,
    names: tuple[str, ...],
    spaces: tuple[str, ...],
    state: tuple[str, ...],
) -> str | None:
    """Why a model cannot drive these columns, as text; None if it can. tool None: it drives any.

    names, state: of the robot. spaces: of its action groups, in order.
    """
    if tool is None:
        return None
    arm = spaces[0] if spaces else ""
    if len(spaces) != 2 or spaces[1] != "gripper" or names[:-1] != tool.arms.get(arm):
        expected = " or ".join(f"{space} ({', '.join(own)})" for space, own in tool.arms.items())
        return (
            f"got {', '.join(names)} in {', '.join(spaces)}, expected the columns of one tool, "
            f"{expected}, and a gripper: {tool.called} says steps of a tool"
        )
    if arm == "ee_pose" and (missing := [name for name in TOOL_POSE if name not in state]):
        return f"state: {', '.join(missing)} missing: {tool.called}'s steps are added to the measured pose"
    return None


def require(tool: ToolColumns, path: object, names: tuple[str, ...], spaces: tuple[tuple[str, str], ...],
            state: tuple[str, ...]) -> None:  # fmt: skip
    """Raises ValueError, naming the policy file path, if the columns cannot be driven."""
    says = problem(tool, names, tuple(space for _, space in spaces), state)
    if says is not None:
        at = path if says.startswith("state") else f"{path}: actions"
        raise ValueError(f"{at}: {says}")
