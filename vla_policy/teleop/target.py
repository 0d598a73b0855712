"""The teleoperation target: an action that moves at limited rates, inside the robot's limits.

The guard limits commands as well; the limits here make the chunk's rows equal to what is executed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, VELOCITY, ActionPart
from vla_policy.geometry.quaternions import turn_between, turned
from vla_policy.teleop.follower import (
    Follower,
    acceleration_limits,
    no_rates,
    rates_of,
    speed_limits,
)
from vla_policy.types import Array, readonly

SETTLE_S = 0.1  # time in which a position is approached
LEAD_S = 0.3  # the target may be ahead of the arm by its motion in this time
LEAD_SHARE = 0.7  # and by this share of the robot's start jump, a limit for the first row


@dataclass(frozen=True, slots=True)
class Target:
    """values: float64[d], the action. rates: its velocity, as in follower.py."""

    values: Array
    rates: Array


def at_rest(follower: Follower, here: Array) -> Target:
    """The target at the robot's position, inside its limits."""
    values = np.array(here)
    for part in follower.layout.of_kind(VELOCITY):
        values[part.columns] = 0.0
    return Target(readonly(_inside(follower, values)), readonly(no_rates(follower)))


def limited(follower: Follower, wanted: Array, before: Array, dt_s: float, share: float) -> Array:
    """wanted rates within share of the speed limits and, from before, the acceleration limits.

    Directions are kept. Slowing down is not limited, as in the guard.
    """
    rates = np.array(wanted)
    pairs = zip(rates_of(follower, rates), rates_of(follower, before), strict=True)
    for (part, rate), (_, old) in pairs:
        speeds, accelerations = share * speed_limits(part), acceleration_limits(part)
        for block in _blocks(part):
            rate[block] *= _ratio(rate[block], speeds[block], part.kind)
            if accelerations is None:
                continue
            change = rate[block] - old[block]
            if np.linalg.norm(rate[block]) > np.linalg.norm(old[block]):
                step = change * _ratio(change, dt_s * accelerations[block], part.kind)
                rate[block] = old[block] + step
    return readonly(rates)


def moved(follower: Follower, target: Target, rates: Array, dt_s: float) -> Target:
    """The target dt_s later, moved with rates, inside the limits."""
    values = np.array(target.values)
    for part, rate in rates_of(follower, rates):
        if part.kind == POSE:
            values[part.position] += dt_s * rate[:3]
            values[part.rotation] = turned(values[part.rotation], dt_s * rate[3:])
        elif part.kind == VELOCITY:
            values[part.columns] = rate
        else:
            values[part.columns] += dt_s * rate
    return Target(readonly(_inside(follower, values)), readonly(rates))


def rates_towards(follower: Follower, target: Target, place: Array, dt_s: float) -> Array:
    """Unlimited rates towards a position place, float64[d]; zero for velocities."""
    rates, time_s = no_rates(follower), max(SETTLE_S, dt_s)
    for part, rate in rates_of(follower, rates):
        if part.kind == POSE:
            rate[:3] = (place[part.position] - target.values[part.position]) / time_s
            rate[3:] = turn_between(target.values[part.rotation], place[part.rotation]) / time_s
        elif part.kind != VELOCITY:
            rate[:] = (place[part.columns] - target.values[part.columns]) / time_s
    return rates


def leashed(follower: Follower, target: Target, here: Array) -> Target:
    """The target, limited in its lead over the arm: a blocked arm must not jump later."""
    values, part = np.array(target.values), follower.arm
    rate = next(r for p, r in rates_of(follower, target.rates) if p is part)
    limits = part.limits
    if part.kind == POSE:
        way = values[part.position] - here[part.position]
        lead = LEAD_SHARE * (limits.start_jump_m or 0.0) + LEAD_S * float(np.linalg.norm(rate[:3]))
        values[part.position] = here[part.position] + way * _ratio(way, np.full(3, lead), POSE)
        turn = turn_between(here[part.rotation], values[part.rotation])
        lead = LEAD_SHARE * (limits.start_jump_rad or 0.0) + LEAD_S * float(
            np.linalg.norm(rate[3:])
        )
        turn = turn * _ratio(turn, np.full(3, lead), POSE)
        values[part.rotation] = turned(here[part.rotation], turn)
    elif part.kind == JOINTS:
        lead = LEAD_SHARE * (limits.start_jump_rad or 0.0) + LEAD_S * np.abs(rate)
        way = values[part.columns] - here[part.columns]
        values[part.columns] = here[part.columns] + np.clip(way, -lead, lead)
    return Target(readonly(values), target.rates)


def _blocks(part: ActionPart) -> tuple[slice, ...]:
    """The rates that share one limit."""
    return (slice(0, 3), slice(3, 6)) if part.kind == POSE else (slice(None),)


def _ratio(vector: Array, most: Array, kind: str) -> float:
    """Share of vector within most: of a tool by its norm, else by the column furthest outside."""
    size = np.array([np.linalg.norm(vector)]) if kind == POSE else np.abs(vector)
    bound = most[:1] if kind == POSE else most
    over = size > bound
    return float((bound[over] / size[over]).min()) if over.any() else 1.0


def _inside(follower: Follower, values: Array) -> Array:
    for part in follower.driven:
        if part.kind == POSE and part.limits.workspace is not None:
            box = part.limits.workspace
            values[part.position] = np.clip(values[part.position], box.lower, box.upper)
        elif part.kind in (JOINTS, GRIPPER):
            values[part.columns] = np.clip(values[part.columns], *part.range)
    return values
