"""The last check before a command is published: a setpoint within all limits, or none, and why.

Fixed order: enabled, fresh inputs, no other source of motion, a plan, names and width, finite,
workspace, position, velocity and acceleration, step from the last command, finite again, keep-out
boxes, bodies. The most restrictive level wins.

* HOLD repeats the last command for a moment, then publishes nothing. Before the first command
  there is no output.
* STOP gives no output until reset().
* A velocity is never held: on HOLD, STOP and disengage it is reduced to zero within its
  acceleration limit, and zero is repeated for a moment.
* A target outside the workspace by at most WORKSPACE_MARGIN_M is moved to its edge (SLOW), since a
  policy that grasps at table height misses the edge by a little; further outside it is not what
  anybody meant, and the arm holds. The same goes for joint ranges with JOINT_MARGIN.
* Where an output adds a way to rest behind the setpoint, that way is checked too. If it is not free,
  the step is shortened (SLOW) until it is; if it never is, the arm holds: it stops earlier.
* After engaging, the speed limits grow from nothing within engage_fade_s, to the share that an operator allows.
* No command begins while others move an arm, nor within a moment after that.
* A robot that is not where it was told to be is blocked, or somebody else moves it: HOLD, and it is
  disengaged, so that the next command starts from where it then is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vla_policy.safety.controller_state import (
    Standing,
    drive_lapse_s,
    measured_ns,
    rest_ns,
    settled,
    standing,
    told_now,
)
from vla_policy.safety.guard_state import GuardState, counted, sent
from vla_policy.safety.hold import REPEAT_NS, disengage_for, hold, ramp_down
from vla_policy.safety.rate_limits import (
    advance,
    arm_motions,
    motion,
    motion_ratio,
    move_grippers,
    move_velocities,
    step_problem,
)
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.setpoint_limits import (
    enters_keep_out,
    inside_limits,
    near_start,
    tracking_error,
    well_formed,
)
from vla_policy.safety.stillness import begun, goes_elsewhere, gone_on, led, lost, watch
from vla_policy.safety.stopping_path import BRAKES, blocked_beyond, ranges_ratio, rates_of, ways_of
from vla_policy.safety.twist_limits import SHARES, leaves, linear, tools
from vla_policy.timing import ns_from_s
from vla_policy.types import Array, Command, Level, Reason, RobotState, Verdict

ASTRAY_NS = 500_000_000  # a moving arm may be off its commanded path for this long


def check(
    state: GuardState,
    robot: GuardedRobot,
    proposed: Array | None,
    *,
    here: Array | None,
    seen: RobotState,
    faults: tuple[Reason, ...],
    now_ns: int,
    idle: Reason | None = None,
) -> tuple[GuardState, Verdict]:
    """The verdict on one setpoint, and the guard's next state.

    proposed: float64[d] in the order of robot.layout.names; None if there is no plan.
    here: float64[d], the measured action; None if unknown. seen: the state it was measured from.
    faults: why inputs are not fresh. idle: why there is no plan, if that is known.
    """
    here_ns = measured_ns(seen, now_ns)
    if here is not None:
        here = well_formed(here, robot.layout, [])
    if state.sent is None or here_ns >= rest_ns(state.sent):
        state = watch(state, here, here_ns, robot.layout)
    stopped = state.stopped
    if stopped is not None:
        state, command = ramp_down(state, robot, now_ns)
        return state, Verdict(Level.STOP, command, (stopped,))
    if not state.engaged:
        state, command = ramp_down(state, robot, now_ns)
        return state, Verdict(Level.HOLD, command, (_DISENGAGED,))
    if faults:
        return hold(state, robot, faults, now_ns, here=here)
    state, astray = _astray(state, robot, here, now_ns)
    if astray is not None:
        return disengage_for(state, robot, astray, now_ns)
    if proposed is None:
        waiting = (_NO_CHUNK if idle is None else idle,)
        return hold(settled(state, here, here_ns), robot, waiting, now_ns, here=here)
    start = standing(state, here, robot, now_ns, here_ns=here_ns)
    if start is None:
        return hold(state, robot, (_NO_POSITION,), now_ns, here=here)
    if state.sent is None and now_ns < state.settled_ns:
        return hold(state, robot, (_SETTLING,), now_ns, here=here)
    reasons: list[Reason] = []
    target = well_formed(proposed, robot.layout, reasons)
    if target is not None:
        target = inside_limits(target, robot.layout, reasons)
    if target is not None and state.sent is None:
        target = near_start(start.values, target, robot.layout, reasons)
    elif target is not None and start.seen and state.astray_ns is not None:
        reasons.append(_ASTRAY)
        target = None
    last = state.sent
    if target is not None and here is not None and last is not None and here_ns < rest_ns(last):
        if goes_elsewhere(state, here, now_ns, robot.layout):
            state = lost(state, here, here_ns)
            reasons.append(_LED)
            target = None
    if target is not None and (last is None or start.seen) and led(state):
        reasons.append(_SETTLING)
        target = None
    if target is None:
        return hold(state, robot, tuple(reasons), now_ns, here=here)
    blocked: tuple[Reason, ...] = ()
    for brake in BRAKES:
        found: list[Reason] = []
        values, velocity = _limited(state, robot, start, target, found, now_ns, brake=brake)
        problem = _driven(state, robot, start, target, values, found, seen, now_ns)
        problem = problem or _problem(robot, start, values, seen)
        if problem is not None:
            return hold(state, robot, (*reasons, *found, *blocked, problem), now_ns, here=here)
        rates = rates_of(velocity, robot.layout)
        ways = ways_of(robot, values, rates)
        beyond = blocked_beyond(robot, values, ways, seen)
        if beyond is None:
            break
        blocked = (beyond,)
    else:
        return hold(state, robot, (*reasons, *blocked), now_ns, here=here)
    if last is None or start.seen or now_ns >= rest_ns(last):
        state = begun(state, here, start.values, values, now_ns)
    state = gone_on(state, robot.layout, values, ways)
    state = sent(state, robot.layout, values, velocity, ways, now_ns)
    acted = (*reasons, *found, *blocked)
    level = Level.SLOW if acted else Level.PASS
    command = Command(values, robot.layout.names, now_ns, rates)
    return counted(state, acted), Verdict(level, command, acted)


def _astray(
    state: GuardState, robot: GuardedRobot, here: Array | None, now_ns: int
) -> tuple[GuardState, Reason | None]:
    """The reason if the robot has been off its commanded position for long enough.

    Immediately if it had come to rest: then only a person or another controller can move it.
    """
    last = state.sent
    if last is None or here is None:
        return _on_its_way(state), None
    told, velocity = told_now(last, now_ns, robot.layout)
    words = tracking_error(told, here, velocity, robot.layout)
    if words is None:
        return _on_its_way(state), None
    since_ns = now_ns if state.astray_ns is None else state.astray_ns
    state = replace(state, astray_ns=since_ns)
    settled_ns = max(last.moved_ns + REPEAT_NS, rest_ns(last))
    if now_ns <= settled_ns and now_ns - since_ns < ASTRAY_NS:
        return state, None
    detail = (
        f"the robot is not where it was told to be, it is {words}: blocked, or moved by others"
    )
    return state, Reason("moved_away", detail)


def _on_its_way(state: GuardState) -> GuardState:
    return state if state.astray_ns is None else replace(state, astray_ns=None)


def _limited(
    state: GuardState,
    robot: GuardedRobot,
    start: Standing,
    target: Array,
    reasons: list[Reason],
    now_ns: int,
    *,
    brake: float,
) -> tuple[Array, Array]:
    """Limit velocity and acceleration: the values to publish now, and the arms' velocity there.

    brake: share of the arms' step that is made, at most 1.
    """
    layout, dt_s = robot.layout, start.dt_s
    share = _speed_share(state, robot, now_ns)
    step = motion(start.values, target, layout)
    ratio = motion_ratio(
        step, start.velocity, layout, dt_s, reasons, share=share, grown=robot.speed_share
    )
    stops = ranges_ratio(robot, start.values, step, dt_s)
    if stops < ratio:
        ratio = stops
        detail = f"motion scaled to {stops:.0%}, to come to rest inside the joint ranges"
        reasons.append(Reason("position", detail))
    ratio *= brake
    values = advance(start.values, target, step * ratio, ratio, layout)
    move_grippers(values, start.values, layout, dt_s, reasons)
    _drive(values, state, robot, start, reasons, now_ns)
    velocity = step * ratio / dt_s if dt_s > 0.0 else np.array(start.velocity)
    # A command that stands until the next one was reached at this average speed.
    for part, rate in arm_motions(velocity, layout):
        if state.sent is not None and part.group not in state.sent.ways and start.lapse_s > 0.0:
            rate *= dt_s / start.lapse_s
    return values, velocity


def _drive(
    values: Array,
    state: GuardState,
    robot: GuardedRobot,
    start: Standing,
    reasons: list[Reason],
    now_ns: int,
) -> None:
    """Limit the velocities in values, in place."""
    dt_s, share = drive_lapse_s(state.drive, robot, now_ns), _speed_share(state, robot, now_ns)
    move_velocities(values, start.values, robot.layout, dt_s, reasons, share=share)


def _driven(
    state: GuardState,
    robot: GuardedRobot,
    start: Standing,
    target: Array,
    values: Array,
    reasons: list[Reason],
    seen: RobotState,
    now_ns: int,
) -> Reason | None:
    """Slow the tools in values, in place, so that they stop inside the boxes; else a reason."""
    driven = tools(robot)
    blocked = leaves(robot, start.values, values, seen, now_ns) if driven else None
    if blocked is None or blocked.code == "no_position":
        return blocked
    for share in SHARES[1:]:
        slower = np.array(values)
        for part in driven:
            slower[part.columns] = target[part.columns]
            slower[linear(part)] *= share
        _drive(slower, state, robot, start, [], now_ns)
        if leaves(robot, start.values, slower, seen, now_ns) is None:
            values[:] = slower
            code = "workspace" if blocked.code == "workspace_far" else blocked.code
            reasons.append(Reason(code, f"slowed to {share:.0%}: else {blocked.detail}"))
            return None
    return blocked


def _problem(
    robot: GuardedRobot, start: Standing, values: Array, seen: RobotState
) -> Reason | None:
    """Check the step of the final values again: its size, finite, keep-out boxes, bodies."""
    layout, limits = robot.layout, robot.embodiment.limits
    problem = step_problem(start.values, values, layout, start.dt_s)
    problem = problem or enters_keep_out(start.values, values, limits.keep_out, layout)
    if problem is None and robot.bodies is not None:
        problem = robot.bodies.problem(seen, values)
    return problem


def _speed_share(state: GuardState, robot: GuardedRobot, now_ns: int) -> float:
    """How much of the speed limits is allowed, from 0 to 1: an operator's share, grown into after engaging."""
    fade_ns = ns_from_s(robot.embodiment.limits.engage_fade_s)
    period_ns = robot.embodiment.period_ns
    since_ns = 0 if state.began_ns is None else max(0, now_ns - state.began_ns)
    faded = min(1.0, (since_ns + period_ns) / fade_ns) if fade_ns > 0 else 1.0
    return faded * robot.speed_share


_DISENGAGED = Reason("disengaged", "no operator has engaged the robot")
_NO_CHUNK = Reason("no_chunk", "there is no plan to follow")
_SETTLING = Reason("settling", "an arm is still moving: it comes to rest, or others move it")
_LED = Reason("led_away", "an arm that began to move goes elsewhere: others move it")
_ASTRAY = Reason("start_jump", "the robot is measured too far from where it was told to be")
_NO_POSITION = Reason("no_position", "where the robot is has not been measured")
