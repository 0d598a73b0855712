"""Faults that are planted in the product while it runs, one for each check; does the observer see them?

A fault replaces functions or constants wherever they were imported, and takes them back. It is seen if some
scenario has a violation that the sound code does not have.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import robots, scenario
from .run import known, one

MOST = 160  # scenarios that one fault is looked for in
Swaps = tuple[tuple[str, Callable[[Any], Any]], ...]


@dataclass(frozen=True)
class Fault:
    """swaps: name of a function or constant, and what makes the broken one of the sound one.

    blind: why it cannot be seen from outside. temper: fields of tempers.Temper with another value than was
    drawn, so that a rare occasion comes often; the sound code then has the same ones.
    """

    name: str
    swaps: Swaps
    blind: str = ""
    temper: tuple[tuple[str, Any], ...] = ()


def _always(value: Any) -> Callable[[Any], Any]:
    return lambda _: lambda *args, **known: value


def _constant(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def _same_state(_: Any) -> Any:
    return lambda state, *args, **known: state


def _nearer(reach: Any) -> Any:
    """Where a tool comes to rest is a tenth as far away as it is."""

    def broken(*args: Any) -> Any:
        now, then = reach(*args)
        return now, now + (then - now) / 10.0

    return broken


_NO_STEP = ("step_problem", _always(None))


def _doubled(function: Any) -> Any:
    return lambda way, most, dt_s: function(way, 2.0 * most, dt_s)


def _far(function: Any) -> Any:
    """The measured place is 5 cm or 0.05 rad off."""

    def broken(layout, state):
        found = function(layout, state)
        if found is None:
            return None
        found = np.array(found)
        for part in layout.parts:
            if part.kind == "joints":
                found[part.columns] += 0.05
            elif part.kind == "pose":
                found[part.position] += 0.05
        return found

    return broken


def _endless(function: Any) -> Any:
    """The way to rest does not end at rest."""

    def broken(*args, **named):
        way = function(*args, **named)
        velocities = np.array(way.velocities)
        velocities[-1] = velocities[0] + 0.01
        return replace(way, velocities=velocities)

    return broken


def _kept_speed(_: Any) -> Any:
    def broken(state, robot, now_ns):
        return state, None if state.drive is None else np.array(state.drive.values)

    return broken


def _reset_engages(function: Any) -> Any:
    return lambda state: replace(function(state), engaged=True)


def _quick(function: Any) -> Any:
    """Trajectories reach their setpoints in a quarter of the time."""

    def broken(part, values, rates, period_ns):
        return function(part, values, rates, period_ns // 4)

    return broken


def _fast_message(function: Any) -> Any:
    return lambda names, values, **named: function(names, 2.0 * np.asarray(values), **named)


def _wrong_frame(function: Any) -> Any:
    return lambda pose, *, stamp_ns, frame_id: function(pose, stamp_ns=stamp_ns, frame_id="world_")


def _off_position(function: Any) -> Any:
    return lambda *args: function(*args) + 0.3


def _old_plan(_: Any) -> Any:
    return lambda control, instruction, **_: replace(control, instruction=instruction or None)


def _last_again(_: Any) -> Any:
    """The last message repeats the last position that ever went out."""

    def broken(_state, _robot, now_ns):
        last = _remembered.get("last")
        return None if last is None else replace(last, stamp_ns=now_ns)

    return broken


_remembered: dict[str, Any] = {}


def _remembering(function: Any) -> Any:
    def send(self, command):
        _remembered["last"] = command
        return function(self, command)

    return send


FAULTS = (
    Fault("joints may be twice as fast", (("joint_speed_ratio", _doubled), _NO_STEP)),
    Fault("tools and bases may be twice as fast", (("speed_ratio", _doubled), _NO_STEP)),
    Fault("the acceleration of joints is not limited", (("joint_acceleration_ratio", _always(1.0)),)),
    Fault("the acceleration of tools is not limited", (("acceleration_ratio", _always(1.0)),)),
    Fault("the acceleration of velocities is not limited",
          (("limit_vector", lambda _: lambda target, before, most: np.array(target)),)),
    Fault("the speed of grippers is not limited", (("limit_scalar", lambda _: lambda t, b, m: t),)),
    Fault("ranges and workspaces are not looked at",
          (("inside_limits", lambda _: lambda target, layout, reasons: np.array(target)),)),
    Fault("the keep-out boxes of poses are not looked at", (("enters_keep_out", _always(None)),)),
    Fault("the workspace of twists is not looked at", (("vla_policy.safety.twist_limits._left", _always(None)),)),
    Fault("the look-ahead of twists is ten times too short", (("vla_policy.safety.twist_limits.reach", _nearer),)),
    Fault("a stop stops nothing", (("vla_policy.safety.guard_state.stop", lambda _: lambda state, reason: state),)),
    Fault("a disengage lets on", (("vla_policy.safety.guard_state.disengage", _same_state),)),
    Fault("nothing empties the plan", (("emptied", lambda _: lambda timeline, now_ns: timeline),)),
    Fault("stale inputs are not noticed", (("stale_inputs", _always(())),)),
    Fault("the age of the plan is not noticed", (("vla_policy.runtime.control.too_old", _always(None)),)),
    # Mostly what was stamped before a jump is stale after it; a small jump back is noticed by nothing else.
    Fault("jumps of the clock are not noticed", (("clock_jumped", _always(None)),), temper=(("jump", 0.05),)),
    Fault("speeds do not fade in", (("_speed_share", _always(1.0)),)),
    # Together with its second lock, for arms that have just begun to move.
    Fault("a robot that is moved by others is not noticed",
          (("_astray", lambda _: lambda state, *args: (state, None)), ("goes_elsewhere", _always(False)))),
    Fault("another controller is not noticed", (("vla_policy.ros.nodes.control_node.ControlNode._against", _always(None)),)),
    Fault("another instruction keeps the plan", (("vla_policy.runtime.control.instruct", _old_plan),)),
    Fault("a late tick makes up for all that was missed", (("MAX_PERIODS", _constant(1000)), _NO_STEP)),
    Fault("velocities go on where nothing may move", (("_slower", _kept_speed),)),
    Fault("a reset engages", (("vla_policy.safety.guard_state.reset", _reset_engages),)),
    Fault("the first command starts 5 cm off", (("vla_policy.runtime.control.measured_action", _far),)),
    Fault("the way to rest does not end at rest", (("braking", _endless),)),
    Fault("trajectories are four times too short", (("vla_policy.ros.outputs.trajectory.joint_way", _quick),)),
    Fault("twists go out doubled", (("vla_policy.ros.messages.convert.twist_to_msg", _fast_message),)),
    Fault("poses go out in another frame", (("vla_policy.ros.messages.convert.pose_to_msg", _wrong_frame),)),
    Fault("grippers are told positions beyond their range", (("gripper_position", _off_position),)),
    Fault("the last message repeats the last position",
          (("final_command", _last_again), ("vla_policy.ros.outputs.outputs.Outputs.send", _remembering))),
    Fault("the step is not checked again", (_NO_STEP,),
          blind="the limits before it have already made the step small enough; it is a second lock"),
    Fault("finite is not checked again", (("not_finite", _always(())),),
          blind="chunks that are not finite are refused before, as they come and as they were resolved"),
    Fault("keep-out boxes are looked at only at the end of a step",
          (("crosses_box", lambda f: lambda start, end, lower, upper: f(end, end, lower, upper)),),
          blind="a step is at most 1 cm long; no box is so thin that it leads through one"),
)  # fmt: skip


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """The product with the fault in it."""
    undo: list[tuple[Any, str, Any]] = []
    try:
        for name, make in fault.swaps:
            places = list(_places(name))
            if not places:
                raise LookupError(f"fault {fault.name!r}: the product has no {name} to break")
            for owner, attribute in places:
                sound = getattr(owner, attribute)
                undo.append((owner, attribute, sound))
                setattr(owner, attribute, make(sound))
        _remembered.clear()
        yield
    finally:
        for owner, attribute, sound in reversed(undo):
            setattr(owner, attribute, sound)


@contextmanager
def tempered(fault: Fault) -> Iterator[None]:
    """Scenarios in which the occasion of a fault comes often."""
    drawn = scenario.temper
    scenario.temper = lambda rng: replace(drawn(rng), **dict(fault.temper))
    try:
        yield
    finally:
        scenario.temper = drawn


def _places(name: str) -> Iterator[tuple[Any, str]]:
    """Owners and attributes: of a dotted name one, of a plain one every module of the product."""
    owner, _, attribute = name.rpartition(".")
    if owner:
        module, _, cls = owner.rpartition(".")
        found = sys.modules.get(owner) or getattr(sys.modules[module], cls)
        if hasattr(found, attribute):
            yield found, attribute
        return
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("vla_policy.") and attribute in vars(module):
            yield module, attribute


def seen(fault: Fault, seed: int, most: int, sound: dict[int, set]) -> dict[str, Any]:
    """In which scenario, after how many ticks and by which rule a fault is seen first.

    sound: what the sound code shows, by scenario; filled as needed.
    """
    ticks, names = 0, robots.names()
    sound = {} if fault.temper else sound
    for number in range(most):
        if names[number % len(names)] not in known()[0]:
            continue
        with tempered(fault):
            if number not in sound:
                sound[number] = {(v.group, v.rule) for v in one(number, seed)[3]}
            with planted(fault):
                robot, _, account, found = one(number, seed)
        ticks += account.ticks
        # A broken signature would raise: that is no sight.
        new = [v for v in found if v.rule != "raised" and (v.group, v.rule) not in sound[number]]
        if new:
            return {
                "seen": True, "ticks": ticks, "scenario": number, "robot": robot.name,
                "rule": new[0].rule, "words": new[0].words,
            }  # fmt: skip
    return {"seen": False, "ticks": ticks}


def every(seed: int, most: int = MOST, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """All faults, or those of these names."""
    sound: dict[int, set] = {}
    results = {}
    for fault in FAULTS:
        if names and fault.name not in names:
            continue
        few = 20 if fault.blind else most
        result = seen(fault, seed, few, sound)
        results[fault.name] = result | ({"blind": fault.blind} if fault.blind else {})
        what = f"{result['rule']} after {result['ticks']} ticks" if result["seen"] else "NOT SEEN"
        print(f"{fault.name}: {what}", file=sys.stderr, flush=True)
    return results
