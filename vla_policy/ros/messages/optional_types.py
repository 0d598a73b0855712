"""Message packages that not every ROS installation has; the only module that imports them.

Each function returns the types, or raises ValueError that names what needs them and how to install them.
"""

from __future__ import annotations

import importlib
from types import ModuleType


def gripper_action(kind: str, needed_by: str) -> type:
    """The action type of 'gripper_command' or 'parallel_gripper_command'."""
    actions = _module("control_msgs", "action", needed_by)
    name = {"gripper_command": "GripperCommand",
            "parallel_gripper_command": "ParallelGripperCommand"}[kind]  # fmt: skip
    found = getattr(actions, name, None)
    if found is None:
        raise ValueError(
            f"{needed_by}: control_msgs of this ROS has no {name}, which came with Jazzy; "
            "use type gripper_command"
        )
    return found


def servo_command_type(needed_by: str) -> type:
    """The service type ServoCommandType of MoveIt Servo."""
    return _module("moveit_msgs", "srv", needed_by).ServoCommandType


def _module(package: str, part: str, needed_by: str) -> ModuleType:
    try:
        return importlib.import_module(f"{package}.{part}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        apt = f"ros-$ROS_DISTRO-{package.replace('_', '-')}"
        raise ValueError(
            f"{needed_by} needs the messages of {package}, which this ROS lacks; "
            f"install {apt} or build {package} from source"
        ) from error
