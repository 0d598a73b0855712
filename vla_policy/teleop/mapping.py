"""From a device's values to motion: rates of the tool and joints, or a target position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, VELOCITY, ActionPart, opening_of
from vla_policy.geometry.quaternions import turn_between, turned
from vla_policy.geometry.rotation_formats import rotate
from vla_policy.teleop.device import (
    ALWAYS,
    BUTTON,
    CENTRE,
    TOOL_RATES,
    Axis,
    Device,
    DeviceState,
    Heard,
)
from vla_policy.teleop.follower import Follower, no_rates, rates_of, speed_limits
from vla_policy.types import Array, Reason


@dataclass(frozen=True, slots=True)
class Grip:
    """Poses of hand and tool when the clutch closed, float64[7] each.

    seen: the hand's last pose.
    """

    hand: Array
    tool: Array
    seen: Heard


def malformed(device: Device, state: DeviceState) -> Reason | None:
    """Why the received values do not match the device, or are invalid; None if they are fine."""
    heard = state.motion
    if heard is None:
        return None
    if not np.isfinite(heard.values).all():
        return Reason("device_values", f"{device.topic}: got values that are not finite")
    sizes = {False: len(heard.values), True: len(heard.buttons)}
    for axis in _all_axes(device):
        if axis.index >= sizes[axis.button]:
            what = "buttons" if axis.button else "axes"
            said = f"{device.topic}: got {sizes[axis.button]} {what}, expected one of index {axis.index}"
            return Reason("device_values", said)
    for joint, value in zip(device.leader.values(), heard.values, strict=False):
        if not joint.low <= value <= joint.high:
            said = f"{joint.name} of the leader reads {value:.3f}, expected {joint.low:g} to {joint.high:g}"
            return Reason("device_values", said)
    return None


def held(device: Device, state: DeviceState) -> bool:
    """Whether a person holds the device. state: fresh."""
    how, pressed = device.dead_man.how, state.dead_man
    if how == ALWAYS:
        return True
    if how == CENTRE:
        moved = state.motion is not None and any(
            axis.share(state.motion, device.dead_zone) != 0.0 for axis in _all_axes(device)
        )
        return moved or state.gripper is not None
    if pressed is None:
        return False
    index = device.dead_man.button if how == BUTTON else 0
    return index < len(pressed.buttons) and pressed.buttons[index] > 0


def wanted_rates(device: Device, follower: Follower, heard: Heard, here: Array) -> Array:
    """For a device with axes: the requested rates, at most its share of the robot's limits.

    here: float64[d], the action, for axes along the tool.
    """
    rates = no_rates(follower)
    for part, rate in rates_of(follower, rates):
        shares = [
            0.0 if a is None else a.share(heard, device.dead_zone) for a in _axes(device, part)
        ]
        rate[:] = device.speed * np.array(shares) * speed_limits(part)
        if part.kind == GRIPPER:
            opens, closes = (
                0.0 if axis is None else max(0.0, axis.share(heard, device.dead_zone))
                for axis in (device.opens, device.closes)
            )
            rate[:] = (opens - closes) * speed_limits(part) * (1.0 if part.opens_up else -1.0)
        elif part.kind == POSE and device.in_tool:
            rate[:3] = rotate(here[part.rotation], rate[:3])
            rate[3:] = rotate(here[part.rotation], rate[3:])
    return rates


def place_of_hand(device: Device, follower: Follower, grip: Grip, hand: Array, at: Array) -> Array:
    """For a tracked hand: the action whose tool moved like the hand.

    at: float64[d], all other columns.
    """
    place, arm = np.array(at), follower.arm
    way = device.scale * rotate(device.turn, hand[:3] - grip.hand[:3])
    turn = rotate(device.turn, turn_between(grip.hand[3:], hand[3:]))
    place[arm.position] = grip.tool[:3] + way
    place[arm.rotation] = turned(grip.tool[3:], turn)
    return place


def place_of_leader(device: Device, follower: Follower, heard: Heard, at: Array) -> Array:
    """For a leader arm: the action with the leader's joint angles.

    at: float64[d], all other columns.
    """
    place, arm = np.array(at), follower.arm
    values = dict(zip(device.leader_names, heard.values, strict=True))
    place[arm.columns] = [
        device.leader[name].sign * values[device.leader[name].name] + device.leader[name].offset
        for name in arm.names
    ]
    gripper = device.leader_gripper
    if gripper is not None and follower.gripper is not None:
        opening = (values[gripper.name] - gripper.closed) / (gripper.open - gripper.closed)
        place = with_opening(follower, place, opening)
    return place


def with_opening(follower: Follower, place: Array, opening: float) -> Array:
    """place with the gripper at opening, 0 closed to 1 open, clamped; if there is one."""
    part = follower.gripper
    if part is None:
        return place
    place = np.array(place)
    place[part.columns] = opening_of(min(1.0, max(0.0, opening)), part.opens_up)
    return place


def too_far(follower: Follower, place: Array, here: Array, share: float) -> Reason | None:
    """Why a leader may not start here: the joint furthest off; None if all are close."""
    part = follower.arm
    most = share * (part.limits.start_jump_rad or 0.0)
    apart = np.abs(place[part.columns] - here[part.columns])
    worst = int(apart.argmax())
    if apart[worst] <= most:
        return None
    asked, stands = place[part.columns][worst], here[part.columns][worst]
    said = (
        f"{part.names[worst]}: the leader asks for {asked:.2f}, the robot is at {stands:.2f}, "
        f"at most {most:.2f} apart to begin; move the leader to the robot"
    )
    return Reason("leader_far", said)


def _axes(device: Device, part: ActionPart) -> list[Axis | None]:
    """The axis of each rate of a part."""
    if part.kind == POSE:
        return [device.axes.get(name) for name in TOOL_RATES]
    if part.kind == JOINTS:
        return list(device.joints[: len(part.names)])
    if part.kind == VELOCITY and part.source:  # a tool driven by velocity
        return [device.axes.get(name.rpartition(".")[2]) for name in part.names]
    return [device.axes.get(name) for name in part.names]


def _all_axes(device: Device) -> Iterator[Axis]:
    yield from device.axes.values()
    yield from (axis for axis in (device.opens, device.closes) if axis is not None)
