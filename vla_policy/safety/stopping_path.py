"""What a controller does after a setpoint if no other follows: outputs that add a way to rest behind it.

A trajectory goes on to rest by itself (execution/stopping_trajectory.py). The guard has to know where that leads, as
nothing can be checked any more once a trajectory is on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vla_policy.embodiment.layout import JOINTS, Layout
from vla_policy.execution.stopping_trajectory import LEAD_PERIODS, Braking, joint_way
from vla_policy.safety.limits import stopping_ratio
from vla_policy.safety.rate_limits import arm_motions
from vla_policy.safety.robot import GuardedRobot
from vla_policy.timing import s_from_ns
from vla_policy.types import Array, Reason, RobotState

SHARES = (0.5, 1.0)  # of the way to rest that are looked at; it is straight
BRAKES = (1.0, 0.5, 0.25)  # of the step that are tried, until what lies behind it is free


def rates_of(velocity: Array, layout: Layout) -> Array:
    """float64[d], how fast joints pass through a command; zero for all else.

    velocity: of all arms, as in rate_limits.arm_motions, per s.
    """
    rates = np.zeros(len(layout.names))
    for part, rate in arm_motions(velocity, layout):
        if part.kind == JOINTS:
            rates[part.columns] = rate
    return rates


def ways_of(robot: GuardedRobot, values: Array, rates: Array) -> dict[str, Braking]:
    """What trajectory outputs are sent with a command, by the groups of the joints that they move."""
    outputs, period_ns = robot.embodiment.outputs, robot.embodiment.period_ns
    return {
        part.group: joint_way(part, values[part.columns], rates[part.columns], period_ns)
        for part in robot.layout.of_kind(JOINTS)
        if outputs[part.group].type == "joint_trajectory"
    }


def ranges_ratio(robot: GuardedRobot, start: Array, step: Array, dt_s: float) -> float:
    """Share of a step of the arms after which trajectory outputs come to rest inside the joint ranges.

    start: float64[d]. step: of all arms, as in rate_limits.arm_motions, within dt_s.
    """
    outputs, ratio = robot.embodiment.outputs, 1.0
    shortest_s = LEAD_PERIODS * s_from_ns(robot.embodiment.period_ns)
    for part, way in arm_motions(step, robot.layout):
        if part.kind != JOINTS or outputs[part.group].type != "joint_trajectory":
            continue
        here = start[part.columns]
        lower, upper = part.range
        room = np.maximum(np.where(way > 0.0, upper - here, here - lower), np.abs(way))
        brakes = part.limits.joint_rates[1]
        ratio = min(ratio, stopping_ratio(way, room, brakes, dt_s, shortest_s))
    return ratio


def blocked_beyond(
    robot: GuardedRobot, values: Array, ways: Mapping[str, Braking], seen: RobotState
) -> Reason | None:
    """Why the robot must not come to rest behind values, where its outputs would bring it; or None."""
    if robot.bodies is None:
        return None
    ends = np.array(values)
    for part in robot.layout.of_kind(JOINTS):
        if part.group in ways:
            ends[part.columns] = ways[part.group].positions[-1]
    if (ends == values).all():
        return None
    for share in SHARES:
        found = robot.bodies.problem(seen, values + share * (ends - values))
        if found is not None:
            return Reason(found.code, f"coming to rest behind the setpoint, {found.detail}")
    return None
