"""The path of a controller after a setpoint if no other follows, for outputs that add one.

A trajectory comes to rest by itself (execution/stopping_trajectory.py). The guard has to check
where that path leads before the trajectory is published: nothing can be checked afterwards.
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

SHARES = (0.5, 1.0)  # points on the path to rest that are checked; it is straight
BRAKES = (1.0, 0.5, 0.25)  # shares of the step to try, until the path after it is free


def rates_of(velocity: Array, layout: Layout) -> Array:
    """float64[d], the velocity of joints at a command; zero in all other columns.

    velocity: of all arms, as in rate_limits.arm_motions, per s.
    """
    rates = np.zeros(len(layout.names))
    for part, rate in arm_motions(velocity, layout):
        if part.kind == JOINTS:
            rates[part.columns] = rate
    return rates


def ways_of(robot: GuardedRobot, values: Array, rates: Array) -> dict[str, Braking]:
    """The trajectories that outputs send with a command, by group of the joints they move."""
    outputs, period_ns = robot.embodiment.outputs, robot.embodiment.period_ns
    return {
        part.group: joint_way(part, values[part.columns], rates[part.columns], period_ns)
        for part in robot.layout.of_kind(JOINTS)
        if outputs[part.group].type == "joint_trajectory"
    }


def ranges_ratio(robot: GuardedRobot, start: Array, step: Array, dt_s: float) -> float:
    """Share of a step of the arms after which trajectory outputs stop inside the joint ranges.

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
    """The reason if the robot must not come to rest where its outputs bring it after values."""
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
