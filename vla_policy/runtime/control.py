"""The whole control path as one pure state: chunks in, one verdict per tick out.

A node owns one Control value, replaces it with what these functions return, and publishes the
verdict's command. Stale inputs, a stale chunk, a disengage or a stop empty the plan, so that old
actions never resume; only chunks of later observations are taken again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vla_policy.embodiment.layout import measured_action
from vla_policy.execution import timeline as plan
from vla_policy.execution.history import History, remember
from vla_policy.execution.schemes import SCHEMES
from vla_policy.execution.spline import ActionRates
from vla_policy.execution.timeline import Timeline
from vla_policy.execution.to_absolute import References, as_executed, is_relative, resolve
from vla_policy.runtime import control_mode as modes
from vla_policy.safety import guard, hold
from vla_policy.safety import guard_state as memory
from vla_policy.safety.controller_state import (
    MAX_PERIODS,
    Standing,
    measured_ns,
    rested_since,
    standing,
    told_now,
)
from vla_policy.safety.guard_state import GuardState
from vla_policy.safety.rate_limits import rates_of_arms
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.setpoint_limits import jump_between
from vla_policy.safety.watchdog import (
    STALE_CHUNK,
    InputStamps,
    clock_jumped,
    stale_inputs,
    too_old,
)
from vla_policy.timing import FUTURE_TOLERANCE_NS, ns_from_s
from vla_policy.types import ActionChunk, Array, Level, Reason, RobotState, Verdict


@dataclass(frozen=True, slots=True)
class Control:
    """State of the control path from tick to tick. now_ns: of the last tick.

    references: kept for robots whose policies predict steps.
    scheme: how chunks follow each other, one of execution.schemes.SCHEMES.
    instruction: the only one whose chunks are accepted; None: any.
    ended: the instruction that ended last, whose chunks are refused.
    hushed: a stop word ended the instruction; chunks are refused until another instruction begins.
    proposed: float64[d], the plan's action in the last tick, before the guard; None without one.
    mode: who is in control, one of control_mode.MODES; changed by set_mode, and from teleoperated
    to paused by hush.
    """

    timeline: Timeline = field(default_factory=Timeline)
    references: References = field(default_factory=References)
    guard: GuardState = field(default_factory=GuardState)
    now_ns: int | None = None
    scheme: str = "receding"
    instruction: str | None = None
    ended: str | None = None
    hushed: bool = False
    proposed: Array | None = None
    mode: str = modes.AUTONOMOUS


def accept(
    control: Control,
    robot: GuardedRobot,
    state: RobotState,
    chunk: ActionChunk,
    now_ns: int,
    *,
    source: str = modes.POLICY,
) -> tuple[Control, Reason | None]:
    """Accept a chunk of a source into the plan, or return why it is refused, as while holding.

    A policy's chunk has the robot's action columns; a person's the executed ones (robot.layout).
    """
    if not control.guard.engaged:
        return control, None
    unasked = _unasked(control, chunk, source)
    if unasked is not None:
        return _counted(control, unasked), unasked
    teleop = source == modes.TELEOP
    if teleop:
        resolved = as_executed(chunk, robot.embodiment)
    else:
        resolved = resolve(chunk, robot.embodiment, control.references)
    if isinstance(resolved, Reason):
        # The policy is broken: the rest of its plan is not trusted either.
        return refuse(control, resolved, now_ns, source=source), resolved
    here = measured_action(robot.layout, state)
    start = standing(control.guard, here, robot, now_ns, here_ns=measured_ns(state, now_ns))
    if start is None:
        return control, Reason("no_position", "where the robot is has not been measured")
    idle = plan.running_at(control.timeline, now_ns) is None
    rested = idle and not teleop and rested_since(control.guard, chunk.obs_ns)
    if teleop and idle:
        # A teleoperation device may be at any position, which no image of the arm determines.
        words = jump_between(start.values, resolved.actions[0], robot.layout)
        if words is not None:
            jump = Reason("start_jump", f"teleoperation does not begin: its first row is {words}")
            return _counted(control, jump), jump
    scheme = SCHEMES["receding" if teleop else control.scheme]
    timeline, reason = plan.insert(
        control.timeline,
        resolved,
        now_ns,
        start.values,
        robot.layout,
        lead_ns=0 if control.guard.sent is None else ns_from_s(start.dt_s),
        moving=_moving(control, start, robot, now_ns),
        merge=scheme.merge,
        whole=scheme.whole,
        rested=rested,
        direct=teleop and _continues(control, chunk),
    )
    control = replace(control, timeline=timeline)
    return (control if reason is None else _counted(control, reason)), reason


def _counted(control: Control, reason: Reason) -> Control:
    return replace(control, guard=memory.counted(control.guard, (reason,)))


def _unasked(control: Control, chunk: ActionChunk, source: str) -> Reason | None:
    """Why a chunk of this source, or of this instruction, was not requested; None if it was."""
    foreign = modes.not_in_control(control.mode, source, chunk.sequence)
    if foreign is not None or source != modes.POLICY:
        return foreign
    if control.hushed or (chunk.instruction and chunk.instruction == control.ended):
        return Reason("chunk_ended", f"chunk {chunk.sequence} is of an instruction that ended")
    if control.instruction is not None and chunk.instruction != control.instruction:
        return Reason("chunk_instruction", f"chunk {chunk.sequence} is of another instruction")
    return None


def _continues(control: Control, chunk: ActionChunk) -> bool:
    """Whether chunk was made to continue the one in execution."""
    running = control.timeline.chunk
    return running is not None and chunk.continues == running.sequence


def _moving(
    control: Control, start: Standing, robot: GuardedRobot, now_ns: int
) -> ActionRates | None:
    """The arms' velocity, if commands are so late that the arms no longer follow the plan."""
    sent = control.guard.sent
    if sent is None or now_ns - sent.stamp_ns <= MAX_PERIODS * robot.embodiment.period_ns:
        return None
    return rates_of_arms(start.velocity, robot.layout, robot.embodiment.step_ns)


def instruct(control: Control, instruction: str, *, flush: bool = True) -> Control:
    """Follow another instruction from now on: with flush the previous plan ends at once.

    Unlike after emptying the plan, observations from before stay valid. An empty instruction ends
    the previous one: its plan is dropped, the robot holds, and chunks of any instruction are
    accepted again, as before the first.
    """
    timeline = control.timeline
    planned = _instruction_of_plan(control)
    if not instruction:
        ended = control.instruction or planned or control.ended
        if control.mode != modes.TELEOPERATED:
            timeline = Timeline(floor_ns=timeline.floor_ns)
        return replace(control, timeline=timeline, instruction=None, ended=ended)
    if control.hushed or control.ended is not None:
        control = replace(control, ended=None, hushed=False)
    if not flush or instruction == control.instruction:
        return control
    if planned is not None and planned != instruction:
        timeline = Timeline(floor_ns=timeline.floor_ns)
    return replace(control, timeline=timeline, instruction=instruction)


def _instruction_of_plan(control: Control) -> str | None:
    running = control.timeline.plan
    if running is None or control.mode == modes.TELEOPERATED:
        return None
    return running.chunk.instruction


def hush(control: Control, now_ns: int) -> Control:
    """A stop word: drop the plan and refuse chunks until an instruction begins.

    Teleoperation is paused; the person takes over again to continue.
    """
    mode = modes.PAUSED if control.mode == modes.TELEOPERATED else control.mode
    timeline = plan.emptied(control.timeline, now_ns)
    return replace(control, timeline=timeline, hushed=True, mode=mode)


def set_mode(control: Control, mode: str, now_ns: int) -> Control:
    """Change who is in control, one of control_mode.MODES; the previous plan is dropped.

    Chunks of observations before now_ns are refused, too. The arm continues from its position then.
    """
    if mode == control.mode:
        return control
    return replace(control, mode=mode, timeline=plan.emptied(control.timeline, now_ns))


def refuse(
    control: Control, reason: Reason, now_ns: int, *, source: str = modes.POLICY
) -> Control:
    """Count a chunk that is no valid action; empty the plan if source is in control."""
    control = _counted(control, reason)
    if source != modes.source_of(control.mode):
        return control
    return replace(control, timeline=plan.emptied(control.timeline, now_ns))


def tick(
    control: Control, robot: GuardedRobot, state: RobotState, inputs: InputStamps, now_ns: int
) -> tuple[Control, Verdict]:
    """What to command at now_ns."""
    before_ns = control.now_ns
    control = replace(control, now_ns=now_ns)
    if before_ns is not None and (jump := clock_jumped(before_ns, now_ns)) is not None:
        # Stamps from before the jump cannot be compared with now.
        floor_ns = _seen_before_jump_ns(robot, before_ns, now_ns)
        state_after = memory.after_jump(memory.counted(control.guard, (jump,)), now_ns)
        state_after, command = hold.ramp_down(state_after, robot, now_ns)
        control = replace(
            control,
            timeline=Timeline(floor_ns=max(floor_ns, state_after.settled_ns)),
            references=References(),
            guard=state_after,
            proposed=None,
        )
        level = Level.STOP if state_after.stopped is not None else Level.HOLD
        return control, Verdict(level, command, (jump,))
    faults = _faults(control, robot, inputs, now_ns)
    proposed: Array | None = None
    if faults:
        control = replace(control, timeline=plan.emptied(control.timeline, now_ns))
    else:
        proposed = plan.setpoint(control.timeline, now_ns, robot.layout)
    state_after, verdict = guard.check(
        control.guard,
        robot,
        proposed,
        here=measured_action(robot.layout, state),
        seen=state,
        faults=faults,
        idle=modes.idle(control.mode),
        now_ns=now_ns,
    )
    let_go = control.guard.engaged and not state_after.engaged
    timeline = plan.emptied(control.timeline, now_ns) if let_go else control.timeline
    control = replace(control, guard=state_after, timeline=timeline, proposed=proposed)
    return _remembered(control, robot, state, now_ns), verdict


def give_up(control: Control, robot: GuardedRobot, groups: frozenset[str]) -> Control:
    """Another controller commands these groups: they receive no commands until engaging again."""
    return replace(control, guard=hold.give_up(control.guard, robot, groups))


def disengage_for(
    control: Control, robot: GuardedRobot, reason: Reason, now_ns: int
) -> tuple[Control, Verdict]:
    """HOLD and disengage: another controller has taken over."""
    state, verdict = hold.disengage_for(control.guard, robot, reason, now_ns)
    timeline = plan.emptied(control.timeline, now_ns)
    return replace(control, guard=state, timeline=timeline, proposed=None), verdict


def engage(
    control: Control, robot: GuardedRobot, inputs: InputStamps, now_ns: int
) -> tuple[Control, str | None]:
    """Let commands through from now on; or unchanged, and one sentence why not."""
    if control.guard.stopped is not None:
        return control, f"stopped ({control.guard.stopped.detail}); reset first"
    stale = stale_inputs(inputs, robot.embodiment, now_ns)
    if stale:
        return control, "; ".join(r.detail for r in stale)
    if control.guard.engaged:
        return replace(control, hushed=False), None
    guard_state = memory.engage(control.guard)
    # An observation of an arm still coming to rest is no valid start.
    seen_ns = max(now_ns, guard_state.settled_ns)
    return (
        replace(
            control,
            guard=guard_state,
            timeline=plan.emptied(control.timeline, seen_ns),
            references=replace(control.references, commanded=History()),
            hushed=False,
        ),
        None,
    )


def disengage(control: Control, now_ns: int) -> Control:
    """Let no command through, and drop the plan."""
    return replace(
        control,
        guard=memory.disengage(control.guard),
        timeline=plan.emptied(control.timeline, now_ns),
    )


def stop(control: Control, reason: Reason, now_ns: int) -> Control:
    """Let no command through until reset, and drop the plan."""
    return replace(
        control,
        guard=memory.stop(control.guard, reason),
        timeline=plan.emptied(control.timeline, now_ns),
    )


def reset(control: Control) -> tuple[Control, str | None]:
    """End a stop; or unchanged, and one sentence why not."""
    if control.guard.engaged:
        return control, "the robot is engaged; disengage it first"
    return replace(control, guard=memory.reset(control.guard)), None


def _seen_before_jump_ns(robot: GuardedRobot, before_ns: int, now_ns: int) -> int:
    """The latest possible stamp of an observation from before the clock jumped to now_ns.

    If the clock went back by less than the delay of a chunk, a chunk computed before the jump has
    a stamp that seems new, although the robot may have been moved since. After larger jumps it is
    ahead of the clock, and refused for that.
    """
    back_ns = before_ns - now_ns
    longest_ns = ns_from_s(robot.embodiment.limits.max_chunk_age_s) + FUTURE_TOLERANCE_NS
    return before_ns if 0 < back_ns <= longest_ns else now_ns


def _remembered(control: Control, robot: GuardedRobot, state: RobotState, now_ns: int) -> Control:
    """control with the robot's measured and commanded positions of now recorded."""
    if not is_relative(robot.embodiment):
        return control
    references = control.references
    here = measured_action(robot.layout, state)
    stamps = [ns for ns in (state.joint_ns, state.ee_ns) if ns is not None]
    if here is not None:
        stamp_ns = min(stamps, default=now_ns)
        references = replace(references, measured=remember(references.measured, stamp_ns, here))
    sent = control.guard.sent
    if sent is not None and sent.ways and sent.moved_ns < now_ns:  # on the path to rest
        commanded = remember(references.commanded, now_ns, told_now(sent, now_ns, robot.layout)[0])
        references = replace(references, commanded=commanded)
    elif sent is not None:
        commanded = remember(references.commanded, sent.stamp_ns, sent.values)
        references = replace(references, commanded=commanded)
    return replace(control, references=references)


def _faults(
    control: Control, robot: GuardedRobot, inputs: InputStamps, now_ns: int
) -> tuple[Reason, ...]:
    faults = stale_inputs(inputs, robot.embodiment, now_ns)
    running = plan.running_at(control.timeline, now_ns)
    if running is None:
        return faults
    max_age_s = robot.embodiment.limits.max_chunk_age_s
    detail = too_old("the observation of the plan", running.chunk.obs_ns, max_age_s, now_ns)
    return faults if detail is None else (*faults, Reason(STALE_CHUNK, detail))
