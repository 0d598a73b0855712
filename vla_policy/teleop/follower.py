"""Which parts of a robot a device drives, and whether it can; the parts' rates and positions.

Rates are one vector, per s: for an arm commanded by poses float64[6] m and rad along base axes,
for joints and velocities one per column, for a gripper its column's. A velocity's rate is its
value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import (
    GRIPPER,
    JOINTS,
    POSE,
    VELOCITY,
    ActionPart,
    Layout,
    layout_of,
)
from vla_policy.teleop.device import Device
from vla_policy.types import Array, required


@dataclass(frozen=True, slots=True)
class Follower:
    """layout: all executed parts.

    arm: the driven part; gripper: the arm's, or None; base: driven too.
    """

    robot: Embodiment
    layout: Layout
    arm: ActionPart
    gripper: ActionPart | None
    base: ActionPart | None = None

    @property
    def driven(self) -> tuple[ActionPart, ...]:
        """The parts that the device moves; the others hold their position."""
        return tuple(p for p in (self.arm, self.gripper, self.base) if p is not None)


def width(part: ActionPart) -> int:
    """Number of rates of a part."""
    return 6 if part.kind == POSE else len(part.names)


def rates_of(follower: Follower, rates: Array) -> Iterator[tuple[ActionPart, Array]]:
    """Each driven part's own rates, as views."""
    start = 0
    for part in follower.driven:
        yield part, rates[start : start + width(part)]
        start += width(part)


def no_rates(follower: Follower) -> Array:
    """All rates zero."""
    return np.zeros(sum(width(part) for part in follower.driven))


def follower_of(robot: Embodiment, device: Device, arm: str = "") -> Follower:
    """The parts of robot that device drives.

    arm: name of the action group; '' if there is one arm.
    Raises ValueError if the device cannot drive it: got, expected and the device's file.
    """
    layout = layout_of(robot)
    chosen = _arm(robot, layout, arm)
    base = next((p for p in layout.of_kind(VELOCITY) if not p.source and p is not chosen), None)
    follower = Follower(robot, layout, chosen, _gripper(layout, chosen), base)
    problem = _problem(follower, device)
    if problem is not None:
        raise ValueError(f"device {device.name!r} cannot drive {robot.name}: {problem}")
    return follower


def _arm(robot: Embodiment, layout: Layout, arm: str) -> ActionPart:
    arms = [
        p for p in layout.parts if p.kind in (JOINTS, POSE) or (p.kind == VELOCITY and p.source)
    ]
    names = ", ".join(p.group for p in arms)
    if arm:
        found = next((p for p in arms if p.group == arm), None)
        if found is None:
            raise ValueError(f"arm: got {arm!r}, expected one of {names} of {robot.name}")
        return found
    if len(arms) != 1:
        raise ValueError(f"arm: got none, expected one of {names}, as {robot.name} has several")
    return arms[0]


def _gripper(layout: Layout, arm: ActionPart) -> ActionPart | None:
    """The gripper listed after the arm, before the next arm."""
    behind = layout.parts[layout.parts.index(arm) + 1 :]
    for part in behind:
        if part.kind in (JOINTS, POSE) or (part.kind == VELOCITY and part.source):
            return None
        if part.kind == GRIPPER:
            return part
    return None


def _problem(follower: Follower, device: Device) -> str | None:
    arm = follower.arm
    if device.kind == "leader":
        if arm.kind != JOINTS:
            return f"got a leader arm, expected another device, as {arm.group} is not commanded by joints"
        missing = [n for n in arm.names if n not in device.leader]
        unknown = [n for n in device.leader if n not in arm.names]
        if missing or unknown:
            return f"joints: got {', '.join(device.leader)}, expected {', '.join(arm.names)}"
        if device.leader_gripper is not None and follower.gripper is None:
            return "gripper: got one, expected none, as the robot has none"
        return None
    if device.kind == "hand":
        if arm.kind != POSE:
            return f"got a tracked hand, expected another device, as {arm.group} is not commanded by its pose"
        return None
    if arm.kind == JOINTS and len(device.joints) < len(arm.names):
        return f"joint_axes: got {len(device.joints)} axes, expected {len(arm.names)}, one a joint"
    columns = () if follower.base is None else follower.base.names
    for key in device.axes:
        if "." in key and key not in columns:
            return f"axes: got {key!r}, expected a column of the tool or of the base ({', '.join(columns) or 'it has none'})"
    return None


def speed_limits(part: ActionPart) -> Array:
    """float64[width]: the largest rates, from the robot's file; a tool's axes share one."""
    limits = part.limits
    if part.kind == JOINTS:
        return limits.joint_rates[0]
    if part.kind == GRIPPER:
        return np.array([required(limits.gripper_speed_per_s, "gripper_speed_per_s")])
    linear, angular = limits.linear_rates[0], limits.angular_rates[0]
    if part.kind == POSE:
        return np.array([linear] * 3 + [angular] * 3)
    return np.array(
        [linear if n.rpartition(".")[2].startswith("v") else angular for n in part.names]
    )


def acceleration_limits(part: ActionPart) -> Array | None:
    """float64[width]; None for a gripper, which has no limit."""
    limits = part.limits
    if part.kind == GRIPPER:
        return None
    if part.kind == JOINTS:
        return limits.joint_rates[1]
    linear, angular = limits.linear_rates[1], limits.angular_rates[1]
    if part.kind == POSE:
        return np.array([linear] * 3 + [angular] * 3)
    return np.array(
        [linear if n.rpartition(".")[2].startswith("v") else angular for n in part.names]
    )
