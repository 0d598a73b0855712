"""Where the controllers are now: the state from which the next command continues.

Each kind of controller treats the last command differently when the next one is late:

* a trajectory controller follows the path to rest that was sent with the command
  (execution/stopping_trajectory.py);
* a controller of positions or poses reaches the last setpoint and stays there;
* MoveIt Servo stops after its timeout; from then on its position is the measured one;
* a velocity continues until its controller's timeout.

An arm at rest stays at its setpoint, although gravity may pull it a little below. If it moves
nevertheless, a person or another program has moved it, and its position is the measured one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vla_policy.embodiment.layout import JOINTS, POSE, VELOCITY, ActionPart, Layout
from vla_policy.embodiment.spaces import BASE_TIMEOUT_NS, SERVO_TIMEOUT_NS
from vla_policy.execution.replanning import SETTLE_NS
from vla_policy.execution.stopping_trajectory import LEAD_PERIODS, at
from vla_policy.geometry.quaternions import turn_between
from vla_policy.safety.guard_state import SEEN_NS, Drive, GuardState, Sent
from vla_policy.safety.rate_limits import arm_motions
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.stillness import displaced
from vla_policy.timing import s_from_ns
from vla_policy.types import Array, RobotState, readonly

MAX_PERIODS = LEAD_PERIODS  # a late tick may make up for this many command periods, not more
SAG_M, SAG_RAD = 0.01, 0.02  # distance to its setpoint that an arm at rest may keep


@dataclass(frozen=True, slots=True)
class Standing:
    """The state from which the next command continues.

    values: float64[d]; for a velocity, the one that drives the robot now.
    velocity: of all arms, as in rate_limits.arm_motions, per s.
    dt_s: time from this state until the next setpoint is reached.
    lapse_s: time since the last command that moved, at least dt_s.
    seen: an arm's values are the measured ones, because it is not where it was commanded to be.
    """

    values: Array
    velocity: Array
    dt_s: float
    lapse_s: float
    seen: bool = False


def standing(
    state: GuardState,
    here: Array | None,
    robot: GuardedRobot,
    now_ns: int,
    *,
    here_ns: int | None = None,
) -> Standing | None:
    """From the last command, or before the first from the measured action; None if unknown.

    here: float64[d], the measured action, stamped here_ns (None: now). A trajectory is joined
    where the controller, without another command, would be dt_s before the new setpoint is
    reached: while commands come in time that is the last setpoint, later a point on the path
    to rest.
    """
    layout, period_ns, last = robot.layout, robot.embodiment.period_ns, state.sent
    if last is None:
        if here is None:
            return None
        still = np.zeros(_width(layout))
        dt_s = s_from_ns(period_ns)
        return Standing(_driven(here, state, robot, now_ns), still, dt_s, dt_s)
    late_ns = max(0, now_ns - last.stamp_ns)
    at_rest = last.stamp_ns != last.moved_ns or late_ns > MAX_PERIODS * period_ns
    dt_ns = min(late_ns, period_ns if last.ways or at_rest else MAX_PERIODS * period_ns)
    joined_ns = now_ns + LEAD_PERIODS * period_ns - dt_ns
    values = _driven(last.values, state, robot, now_ns)
    velocity = np.zeros_like(last.velocity) if at_rest else np.array(last.velocity)
    seen = False
    for part, rate in arm_motions(velocity, layout):  # views into velocity
        way = last.ways.get(part.group)
        if way is not None:
            values[part.columns], rate[:] = at(way, joined_ns - last.moved_ns)
        seen_ns = now_ns if here_ns is None else here_ns
        silent = timed_out(part, robot, late_ns)
        if silent or led_away(part, last, here, seen_ns):
            if here is None or (silent and seen_ns < last.stamp_ns + timeout_ns(part, robot)):
                return None
            values[part.columns], rate[:], seen = here[part.columns], 0.0, True
    lapse_ns = max(dt_ns, now_ns - last.moved_ns)
    return Standing(values, velocity, s_from_ns(dt_ns), s_from_ns(lapse_ns), seen)


def settled(state: GuardState, here: Array | None, here_ns: int) -> GuardState:
    """state with the position at which the arms came to rest: here, float64[d], of here_ns."""
    last = state.sent
    if last is None or here is None or last.rested is not None or here_ns < rest_ns(last):
        return state
    return replace(state, sent=replace(last, rested=readonly(here)))


def led_away(part: ActionPart, last: Sent, here: Array | None, here_ns: int) -> bool:
    """Whether an arm that had come to rest was moved since, or its rest position is unknown.

    False for measurements, of here_ns, from before it came to rest: they do not show it.
    """
    if here_ns < rest_ns(last):
        return False
    return last.rested is None or here is None or displaced(part, last.rested, here)


def measured_ns(seen: RobotState, now_ns: int) -> int:
    """The oldest stamp of the measurements behind the action; now_ns where they have no stamps."""
    return min((ns for ns in (seen.joint_ns, seen.ee_ns) if ns is not None), default=now_ns)


def told_now(last: Sent, now_ns: int, layout: Layout) -> tuple[Array, Array | None]:
    """The commanded position of the arms now, float64[d], and their velocity there.

    The velocity is None once they have come to rest, as far as is known at now_ns.
    """
    values = np.array(last.values)
    for part in layout.of_kind(JOINTS):
        if part.group in last.ways:
            values[part.columns] = at(last.ways[part.group], now_ns - last.moved_ns)[0]
    held = last.stamp_ns != last.moved_ns and not last.ways
    return values, None if held or (last.ways and now_ns >= rest_ns(last)) else last.velocity


def rest_ns(last: Sent) -> int:
    """When the arms have come to rest, as far as is known, if no other command follows."""
    stops_ns = [way.times_ns[1] + SEEN_NS for way in last.ways.values()]
    return last.moved_ns + max(SETTLE_NS, *stops_ns) if stops_ns else last.moved_ns + SETTLE_NS


def rested_since(state: GuardState, time_ns: int) -> bool:
    """Whether no command has caused motion since shortly before time_ns."""
    if time_ns < state.settled_ns or (state.sent is not None and time_ns < rest_ns(state.sent)):
        return False
    return state.drive is None or time_ns - state.drive.moved_ns >= SETTLE_NS


def drive_now(state: GuardState, robot: GuardedRobot, now_ns: int) -> Drive | None:
    """The velocities that drive the robot now; none after the timeout of a controller."""
    drive = state.drive
    if drive is None or not drive.values.any():
        return drive
    values = np.array(drive.values)
    for part in robot.layout.of_kind(VELOCITY):
        if timed_out(part, robot, now_ns - drive.stamp_ns):
            values[part.columns] = 0.0
    if (values == drive.values).all():
        return drive
    return replace(drive, values=readonly(values), moved_ns=now_ns)


def drive_lapse_s(drive: Drive | None, robot: GuardedRobot, now_ns: int) -> float:
    """Time in which velocities may change: since the last ones, at most one command period."""
    period_ns = robot.embodiment.period_ns
    lapse_ns = period_ns if drive is None else now_ns - drive.stamp_ns
    return s_from_ns(min(max(lapse_ns, 0), period_ns))


def elsewhere(part: ActionPart, told: Array, here: Array) -> bool:
    """Whether an arm is off its setpoint by more than its controller leaves at rest."""
    if part.kind == JOINTS:
        return not (np.abs(here[part.columns] - told[part.columns]) <= SAG_RAD).all()
    away = here[part.position] - told[part.position]
    turn = turn_between(told[part.rotation], here[part.rotation])
    return not (np.linalg.norm(away) <= SAG_M and np.linalg.norm(turn) <= SAG_RAD)


def timed_out(part: ActionPart, robot: GuardedRobot, silent_ns: int) -> bool:
    """Whether a part's controller has stopped because it received nothing for silent_ns."""
    servo = robot.embodiment.outputs[part.group].servo is not None
    if part.kind == VELOCITY or (part.kind == POSE and servo):
        return silent_ns > timeout_ns(part, robot)
    return False


def timeout_ns(part: ActionPart, robot: GuardedRobot) -> int:
    """Timeout of a velocity controller or of MoveIt Servo after the last command."""
    servo = robot.embodiment.outputs[part.group].servo is not None
    return SERVO_TIMEOUT_NS if servo else BASE_TIMEOUT_NS


def _driven(values: Array, state: GuardState, robot: GuardedRobot, now_ns: int) -> Array:
    """values with the velocities that drive the robot now."""
    values, drive = np.array(values), drive_now(state, robot, now_ns)
    for part in robot.layout.of_kind(VELOCITY):
        values[part.columns] = 0.0 if drive is None else drive.values[part.columns]
    return values


def _width(layout: Layout) -> int:
    return sum(len(p.names) if p.kind == JOINTS else 6 for p in layout.of_kind(JOINTS, POSE))
