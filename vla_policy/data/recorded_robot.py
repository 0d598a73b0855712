"""Whether recorded numbers keep their meaning in today's robot file: units, frames, grippers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from vla_policy.embodiment import Embodiment
from vla_policy.parsing import strict_yaml
from vla_policy.parsing.files import one_line


def require_same_units(label: str, robot_yaml: str, robot: Embodiment) -> None:
    """Raises ValueError naming a difference.

    robot_yaml: the robot file in the set; '' without one.
    Limits, topics and rates may have changed; the policy's columns are computed from the executed
    ones.
    """
    if not robot_yaml:
        return
    try:
        then = strict_yaml.StrictLoader(robot_yaml).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(
            f"{label}: the robot file that it brings cannot be read: {one_line(error)}"
        ) from error
    for what, recorded, now in _pairs(then, robot):
        if recorded is not None and recorded != now:
            raise ValueError(
                f"{label}: {what}: was {recorded!r} when it was recorded, robot {robot.name!r} has {now!r}; "
                "name the robot file that it was recorded with, `robot: FILE.yaml`"
            )


def _pairs(then: Any, robot: Embodiment) -> Iterator[tuple[str, Any, Any]]:
    """(key, recorded, current) of all values that determine the meaning of executed numbers."""
    yield "base_frame", _at(then, "base_frame"), robot.base_frame
    yield "tool_frame", _at(then, "tool_frame"), robot.tool_frame
    yield "joints.unit", _at(then, "joints", "unit"), robot.joints.unit
    listed = _at(then, "actions")
    groups = {_at(g, "group"): g for g in listed} if isinstance(listed, list) else {}
    for group in robot.actions:
        if group.open is not None:
            said = _at(groups.get(group.name), "open")
            yield f"actions.{group.name}.open", said, group.open


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
