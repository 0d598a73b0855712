"""One person at one device, from message to chunk: the chunk to send now, or why there is none.

Pure: a node owns one Teleop and replaces it with the result of tick(). If an input is unknown, old
or released, one chunk at rest is sent, then nothing; then the control path holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from vla_policy.embodiment.layout import GRIPPER, POSE, VELOCITY
from vla_policy.safety.watchdog import too_old
from vla_policy.teleop.device import BUTTON, TOPIC, Device, DeviceState, Heard
from vla_policy.teleop.follower import Follower, rates_of, speed_limits
from vla_policy.teleop.mapping import (
    Grip,
    held,
    malformed,
    place_of_hand,
    place_of_leader,
    too_far,
    wanted_rates,
    with_opening,
)
from vla_policy.teleop.target import (
    LEAD_SHARE,
    SETTLE_S,
    Target,
    at_rest,
    leashed,
    limited,
    moved,
    rates_towards,
)
from vla_policy.timing import ns_from_s, s_from_ns
from vla_policy.types import ActionChunk, Array, Reason, required

ROWS_S = 0.25  # that a chunk reaches ahead: without further messages the robot stops after it
BRAKE_ROWS = 1.0 / 3.0  # of one row's motion is still made when stopping
MAX_TICK_S = 0.1  # a later tick moves the target no further

IDLE = Reason("not_teleoperated", "the robot is not teleoperated: take over first")
RELEASED = Reason("released", "the dead-man is released, or the device is at rest")
NO_POSITION = Reason("no_position", "where the robot is has not been measured")
LOST = Reason("hand_lost", "the tracked hand jumped: open the clutch, and close it again")


@dataclass(frozen=True, slots=True)
class Teleop:
    """target: the moving target; None while the device drives nothing. stood: its last position.

    stood is kept until control changes. sequence: of the next chunk. lost: the hand jumped;
    nothing moves until the clutch has been opened. waits: why nothing is sent; None while driving.
    """

    target: Target | None = None
    stood: Target | None = None
    grip: Grip | None = None
    begun_ns: int = 0
    ticked_ns: int = 0
    sequence: int = 0
    lost: bool = False
    waits: Reason | None = IDLE


def tick(
    teleop: Teleop,
    device: Device,
    follower: Follower,
    state: DeviceState,
    *,
    here: Array | None,
    teleoperated: bool,
    now_ns: int,
) -> tuple[Teleop, ActionChunk | None]:
    """The chunk to send at now_ns, or None.

    here: float64[d], the measured action, fresh; None if not. teleoperated: a person is in
    control.
    """
    if not teleoperated:
        return replace(teleop, target=None, stood=None, grip=None, waits=IDLE), None
    state = _fresh(device, state, now_ns)
    problem = _problem(teleop, device, state, here)
    if problem is not None or here is None or state.motion is None:
        return _let_go(teleop, follower, problem or NO_POSITION, now_ns)
    if teleop.target is None:
        began = _begin(teleop, device, follower, state, here, now_ns)
        if isinstance(began, Reason):
            return replace(teleop, waits=began), None
        teleop = began
    grip = teleop.grip
    if grip is not None:
        apart_m = float(np.linalg.norm(state.motion.values[:3] - grip.seen.values[:3]))
        if apart_m > device.max_step_m:
            return _let_go(replace(teleop, lost=True), follower, LOST, now_ns)
        teleop = replace(teleop, grip=Grip(grip.hand, grip.tool, state.motion))
    return _driven(teleop, device, follower, state, here, now_ns)


def _fresh(device: Device, state: DeviceState, now_ns: int) -> DeviceState:
    """state without messages that are too old.

    A gripper command holds while the clutch is closed.
    """

    def kept(heard: Heard | None, what: str) -> Heard | None:
        if heard is None or too_old(what, heard.stamp_ns, device.max_age_s, now_ns) is not None:
            return None
        return heard

    return DeviceState(
        kept(state.motion, device.topic),
        kept(state.dead_man, device.dead_man.topic or device.topic),
        kept(state.gripper, device.gripper_topic),
    )


def _problem(
    teleop: Teleop, device: Device, state: DeviceState, here: Array | None
) -> Reason | None:
    if state.motion is None:
        return Reason(
            "device_silent", f"{device.topic}: nothing younger than {device.max_age_s:g} s"
        )
    broken = malformed(device, state)
    if broken is not None:
        return broken
    if device.dead_man.how in (BUTTON, TOPIC) and state.dead_man is None:
        topic = device.dead_man.topic or device.topic
        return Reason("device_silent", f"{topic}: nothing younger than {device.max_age_s:g} s")
    if not held(device, state):
        return RELEASED
    if teleop.lost:
        return LOST
    return NO_POSITION if here is None else None


def _let_go(
    teleop: Teleop, follower: Follower, why: Reason, now_ns: int
) -> tuple[Teleop, ActionChunk | None]:
    """Stop driving: one chunk at rest, then nothing."""
    lost = teleop.lost and why is not RELEASED
    target = teleop.target
    teleop = replace(teleop, target=None, grip=None, lost=lost, waits=why)
    if target is None:
        return teleop, None
    # No further than the arm moves while it brakes.
    braked = moved(follower, target, target.rates, BRAKE_ROWS * s_from_ns(follower.robot.step_ns))
    values = np.array(braked.values)
    for part in follower.layout.of_kind(VELOCITY):
        values[part.columns] = 0.0
    still = replace(target, values=values)
    obs_ns, ahead_s = _begin_of_rows(teleop, follower, now_ns)
    rows = [values if ahead_s > 0.0 else target.values, *[values] * _row_count(follower)]
    return _sent(replace(teleop, stood=still), follower, rows, obs_ns)


def _begin(
    teleop: Teleop,
    device: Device,
    follower: Follower,
    state: DeviceState,
    here: Array,
    now_ns: int,
) -> Teleop | Reason:
    """The target at the robot's position, or the last one if close; or why it may not start."""
    target = at_rest(follower, here)
    if teleop.stood is not None:
        target = leashed(follower, replace(target, values=teleop.stood.values), here)
    grip = None
    if device.kind == "leader":
        far = too_far(follower, _place(device, follower, state, None, target), here, LEAD_SHARE)
        if far is not None:
            return far
    if device.kind == "hand":
        arm = follower.arm
        motion = _motion(state)
        grip = Grip(motion.values, target.values[arm.columns], motion)
    ticked_ns = now_ns - ns_from_s(0.02)
    return replace(teleop, target=target, grip=grip, begun_ns=now_ns, ticked_ns=ticked_ns)


def _driven(
    teleop: Teleop,
    device: Device,
    follower: Follower,
    state: DeviceState,
    here: Array,
    now_ns: int,
) -> tuple[Teleop, ActionChunk]:
    dt_s = min(MAX_TICK_S, max(0.0, s_from_ns(now_ns - teleop.ticked_ns)))
    share = 1.0
    if device.ease_s > 0.0:
        share = min(1.0, (s_from_ns(now_ns - teleop.begun_ns) + 0.02) / device.ease_s)
    ahead = leashed(follower, required(teleop.target, "target"), here)
    target = _stepped(ahead, device, follower, state, teleop.grip, dt_s, share)
    obs_ns, ahead_s = _begin_of_rows(teleop, follower, now_ns)
    row = target
    if ahead_s > 0.0:
        row = _stepped(row, device, follower, state, teleop.grip, ahead_s, share)
    rows, step_s = [row.values], s_from_ns(follower.robot.step_ns)
    for _ in range(_row_count(follower)):
        row = _stepped(row, device, follower, state, teleop.grip, step_s, share)
        rows.append(row.values)
    teleop = replace(teleop, target=target, ticked_ns=now_ns, waits=None)
    return _sent(teleop, follower, rows, obs_ns)


def _begin_of_rows(teleop: Teleop, follower: Follower, now_ns: int) -> tuple[int, float]:
    """(stamp of a chunk, time from now until its row 0 is reached, in s).

    Row 0 is reached now, so that every chunk continues the previous one, whatever the time between
    them. At the start it is reached one step later: a chunk may not be stamped before the person
    took over.
    """
    step_ns = follower.robot.step_ns
    back_ns = min(step_ns, (now_ns - teleop.begun_ns) // 2)
    return now_ns - back_ns, s_from_ns(step_ns - back_ns)


def _stepped(
    target: Target,
    device: Device,
    follower: Follower,
    state: DeviceState,
    grip: Grip | None,
    dt_s: float,
    share: float,
) -> Target:
    """The target dt_s later, as the device requests now."""
    if device.kind in ("hand", "leader"):
        place = _place(device, follower, state, grip, target)
        wanted = rates_towards(follower, target, place, dt_s)
    else:
        wanted = wanted_rates(device, follower, _motion(state), target.values)
        wanted = _with_gripper(follower, target, state, wanted, dt_s)
    most = share * device.speed
    return moved(follower, target, limited(follower, wanted, target.rates, dt_s, most), dt_s)


def _place(
    device: Device, follower: Follower, state: DeviceState, grip: Grip | None, target: Target
) -> Array:
    """The position that a hand or a leader requests, float64[d]."""
    if grip is not None:
        place = place_of_hand(device, follower, grip, _motion(state).values, target.values)
    else:
        place = place_of_leader(device, follower, _motion(state), target.values)
    if state.gripper is not None:
        place = with_opening(follower, place, float(state.gripper.values[0]))
    return place


def _with_gripper(
    follower: Follower, target: Target, state: DeviceState, wanted: Array, dt_s: float
) -> Array:
    """wanted with the gripper moving towards the requested opening, if any."""
    if state.gripper is None:
        return wanted
    place = with_opening(follower, target.values, float(state.gripper.values[0]))
    wanted = np.array(wanted)
    for part, rate in rates_of(follower, wanted):
        if part.kind == GRIPPER:
            way = place[part.columns] - target.values[part.columns]
            rate[:] = np.clip(way / max(SETTLE_S, dt_s), -speed_limits(part), speed_limits(part))
    return wanted


def _sent(
    teleop: Teleop, follower: Follower, rows: list[Array], obs_ns: int
) -> tuple[Teleop, ActionChunk]:
    actions, names = np.array(rows), follower.layout.names
    for part in follower.layout.of_kind(POSE):
        norms = np.linalg.norm(actions[:, part.rotation], axis=1, keepdims=True)
        actions[:, part.rotation] /= norms
    step_ns, sequence = follower.robot.step_ns, teleop.sequence
    before = sequence - 1 if sequence > 0 else None
    chunk = ActionChunk(actions, names, obs_ns, step_ns, sequence, "", continues=before)
    return replace(teleop, sequence=teleop.sequence + 1), chunk


def _motion(state: DeviceState) -> Heard:
    return required(state.motion, "motion")


def _row_count(follower: Follower) -> int:
    return max(2, math.ceil(ROWS_S / s_from_ns(follower.robot.step_ns)))
