"""What no robot may be made to do, judged on what its controllers played.

Each rule gives at most one Violation for one scenario and group. Limits come from the robot file; SLACK
is what interpolation and rounding may add to them. Braking is not limited, as docs/safety.md says;
speeding up is.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .account import Account
from .description import BASE, GOALS, HAND, JOINTS, TOOL, TWIST, Described, Group
from .world import Sent, World

MS = 1_000_000
GRID_NS = MS  # of what is judged on the motion itself
SPEED_SLACK = 0.10  # a cubic between setpoints is a little faster in its middle
GAIN_SLACK = (
    1.0  # within one command period, of cubics whose setpoints come unevenly by a third of it
)
BACKWARD = 3e-3  # rad or m against the only direction in which anything ever pointed
DEPTH_M = 5e-3
MOVES = 0.02  # rad/s or m/s: more than the noise of a measurement that is held
SETTLED_NS = 150 * MS
PULL_NS = 700 * MS


@dataclass(frozen=True)
class Violation:
    rule: str
    group: str
    time_ns: int
    amount: float
    limit: float
    words: str


@dataclass(frozen=True)
class Motion:
    """One channel on the grid. quiet: nobody else led it, then and a moment before."""

    times_ns: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    quiet: np.ndarray
    heard_ns: np.ndarray

    def first_heard_ns(self, since_ns: int) -> int:
        """The first command from since_ns on: what is played before it was sent before. Never: the end of time."""
        later = self.heard_ns[self.heard_ns >= since_ns]
        return int(later[0]) if len(later) else np.iinfo(np.int64).max


def judge(robot: Described, world: World, account: Account) -> list[Violation]:
    found = [
        Violation("raised", "", 0, 1.0, 0.0, words.strip().splitlines()[-1])
        for words in account.raised[:1]
    ]
    times = np.arange(0, account.end_ns, GRID_NS, dtype=np.int64)
    for group in robot.groups:
        sent = world.sent[group.name]
        found += _messages(robot, group, sent, account)
        if group.output["type"] in GOALS:
            continue
        channel = world.channels[group.name]
        positions, velocities, _ = channel.played(times)
        quiet = np.ones(len(times), dtype=bool)
        for start, end in account.led[group.name]:
            quiet &= (times < start - 2 * MS) | (times > end + SETTLED_NS)
        heard_ns = np.array([one.time_ns for one in sent if not one.ignored], dtype=np.int64)
        motion = Motion(times, positions, velocities, quiet, heard_ns)
        if group.output["type"] == "joint_trajectory":
            found += _trajectory(robot, group, motion, account)
        elif group.kind in (TWIST, BASE):
            found += _velocities(robot, group, sent, account)
        else:
            found += _steps(robot, group, sent, account)
        found += _rest(robot, group, motion, account)
        if group.kind in (TOOL, TWIST):
            found += _boxes(robot, group, motion, account)
        found += _backward(robot, group, motion, account)
    return found


def _worst(rule, group, times_ns, amount, limit, words) -> list[Violation]:
    """The largest of what is over its limit; amount, limit: float64[n]."""
    if len(amount) == 0:
        return []
    over = amount - limit
    k = int(np.argmax(over))
    if not over[k] > 0.0:
        return []
    first = int(np.argmax(over > 0.0))
    return [
        Violation(rule, group.name, int(times_ns[first]), float(amount[k]),
                  float(np.broadcast_to(limit, amount.shape)[k]), words)
    ]  # fmt: skip


# Messages.


def _messages(robot, group: Group, sent: list[Sent], account: Account) -> list[Violation]:
    found = []
    for one in sent:
        if not np.isfinite(one.values).all():
            found += [Violation("finite", group.name, one.time_ns, np.nan, 0.0, "not finite")]
        elif one.refused is not None:
            found += [Violation("refused", group.name, one.time_ns, 1.0, 0.0, one.refused)]
        elif group.kind in (JOINTS, HAND):
            low, high = (group.lower, group.upper) if group.kind == JOINTS else (0.0, 1.0)
            # An arm that already is outside may be told to stay there, or to come back.
            low, high = np.minimum(low, one.here) - 1e-3, np.maximum(high, one.here) + 1e-3
            over = np.maximum(low - one.values, one.values - high).max()
            if over > 0.0:
                found += [
                    Violation(
                        "range",
                        group.name,
                        one.time_ns,
                        float(over),
                        0.0,
                        "told to leave its range",
                    )
                ]
    velocity = group.kind in (TWIST, BASE)
    for start, end in account.silent:
        before = None
        for one in sent:
            if not start + 5 * MS < one.time_ns < end:
                continue
            if not velocity:
                far = float(np.abs(one.values - one.here).max())
                found += [Violation("silence", group.name, one.time_ns, far, 0.0,
                                    "a position while nothing may move")]  # fmt: skip
                break
            size = np.array([np.linalg.norm(one.values[:3]), np.linalg.norm(one.values[3:])])
            if before is not None and (size > before + 1e-9).any():
                found += [Violation("silence", group.name, one.time_ns, float(size.max()),
                                    float(before.max()), "a velocity that grows")]  # fmt: skip
                break
            before = size
    for start, end in account.dead:
        late = [s for s in sent if start + 5 * MS < s.time_ns < end]
        if late:
            found += [Violation("dead", group.name, late[0].time_ns, 1.0, 0.0,
                                "a message from an inactive node")]  # fmt: skip
    if not velocity:
        found += _pulls(group, sent, account)
    seen, first = set(), []
    for violation in found:
        if violation.rule not in seen:
            seen.add(violation.rule)
            first.append(violation)
    return first


def _pulls(group: Group, sent: list[Sent], account: Account) -> list[Violation]:
    """Commands that go on although a hand has kept the arm far away for longer than is allowed."""
    speed = group.speed if group.kind == JOINTS else group.speed[:1]
    allowed = 1.05 * (group.jump + 0.3 * speed)
    for name, start, end in account.against:
        since = None
        for one in sent:
            if name != group.name or not start < one.time_ns < end:
                continue
            away = np.abs(one.values - one.here)
            if group.kind == TOOL:
                away = np.linalg.norm((one.values - one.here)[:3], keepdims=True)
            if not (away > allowed).any():
                since = None
            elif since is None:
                since = one.time_ns
            elif one.time_ns - since > PULL_NS:
                return [Violation("pulls", group.name, one.time_ns, float(away.max()),
                                  float(allowed.max()), "commanded on while a hand keeps it away")]  # fmt: skip
    return []


# Trajectories: the motion itself.


def _trajectory(robot, group: Group, motion: Motion, account: Account) -> list[Violation]:
    times, v = motion.times_ns, motion.velocities
    quiet = motion.quiet
    if group.kind == HAND:
        limit = 2.0 * group.speed[0]  # a late command makes up for two periods
        return _worst("speed", group, times, np.abs(v[:, 0]) * quiet, np.full(len(v), limit),
                      "opens or closes too fast")  # fmt: skip
    share = _share(robot, motion, account)
    limit = (1.0 + SPEED_SLACK) * group.speed * np.maximum(share, 0.0)[:, None] + 0.02
    over = np.where(quiet[:, None], np.abs(v) - limit, -1.0)
    worst = np.argmax(over, axis=1)
    rows = np.arange(len(v))
    found = _worst("speed", group, times, np.abs(v)[rows, worst] * quiet, limit[rows, worst],
                   "a joint faster than its limit")  # fmt: skip
    w = max(1, robot.period_ns // GRID_NS)
    a, b = v[:-w], v[w:]
    gain = np.where(a * b > 0.0, np.maximum(np.abs(b) - np.abs(a), 0.0), np.abs(b))
    calm = quiet[:-w] & quiet[w:]
    allowed = (1.0 + GAIN_SLACK) * group.acceleration * robot.period_s + 0.02
    over = np.where(calm[:, None], gain - allowed, -1.0)
    worst = np.argmax(over, axis=1)
    rows = np.arange(len(a))
    found += _worst("acceleration", group, times[w:], gain[rows, worst] * calm / robot.period_s,
                    allowed[worst] / robot.period_s, "a joint speeds up too fast")  # fmt: skip
    low, high = motion.positions - group.upper, group.lower - motion.positions
    beyond = np.maximum(low, high).max(axis=1)
    outside = _running(np.where(quiet, beyond, np.inf), account, times, group)
    over = np.where(quiet, beyond, -1.0)
    found += _worst("range", group, times, over, np.maximum(outside, 0.0) + 2e-3,
                    "played beyond its range")  # fmt: skip
    return found


def _share(robot, motion: Motion, account) -> np.ndarray:
    """How much of the speed is allowed so soon after engaging; 1 where nobody engaged.

    An arm that is engaged again on its way to rest goes on to rest until the first command.
    """
    times = motion.times_ns
    share = np.ones(len(times))
    if robot.fade_s <= 0.0:
        return share
    for start in account.engaged:
        since = (times - start) / 1e9
        # Engaging is not yet the first command: what grows, grows from that at the earliest.
        grown = (since + 4 * robot.period_s) / robot.fade_s
        counts = (times >= motion.first_heard_ns(start)) & (grown < 1.0)
        share = np.where(counts, np.minimum(share, grown), share)
    return share


def _running(depth, account, times, group) -> np.ndarray:
    """The smallest depth since the last engaging or hand, so far: who is outside may only come in."""
    least = np.empty(len(depth))
    since = sorted([*account.engaged, *(end for _, end in account.led[group.name])])
    starts = [0, *np.searchsorted(times, since).tolist(), len(depth)]
    for a, b in itertools.pairwise(starts):
        if b > a:
            least[a:b] = np.minimum.accumulate(depth[a:b])
    return least


# Setpoints that stand: forward commands, poses, grippers by position.


def _steps(robot, group: Group, sent: list[Sent], account: Account) -> list[Violation]:
    period = robot.period_s
    last, last_ns, speed_before = None, None, None
    for one in sent:
        if one.ignored or one.refused is not None or not np.isfinite(one.values).all():
            last = None
            continue
        engaged = [ns for ns in account.engaged if ns <= one.time_ns]
        led = [end for start, end in account.led[group.name] if start <= one.time_ns]
        fresh = (
            last_ns is None or (engaged and engaged[-1] > last_ns) or (led and led[-1] > last_ns)
        )
        gap = period if fresh else (one.time_ns - last_ns) / 1e9
        # A late command may make up for two periods; whoever stood still starts with one.
        still = fresh or last is None or gap > 2.2 * period
        dt = period if still else min(max(gap, 1e-6), 2 * period)
        dt = 2 * period if group.kind == HAND else dt
        start = one.here if fresh or last is None else last
        before = None if still else speed_before
        parts = _parts(group, start, one.values)
        before = before or [np.zeros_like(way) for way, _, _ in parts]
        grown = 1.0
        if engaged and robot.fade_s > 0.0 and group.kind != HAND:
            grown = min(1.0, ((one.time_ns - engaged[-1]) / 1e9 + 4 * period) / robot.fade_s)
        now = []
        for (way, speed, acceleration), old in zip(parts, before, strict=True):
            size = np.linalg.norm(way)
            small = 2e-4 if group.kind == JOINTS else 4e-4
            allowed = 1.02 * grown * speed * dt + small
            if size > allowed:
                words = "the first step" if fresh else "a step"
                return [Violation("first" if fresh else "speed", group.name, one.time_ns, size / dt,
                                  speed, f"{words} of {size:.4f} where {allowed:.4f} is allowed")]  # fmt: skip
            rate = way / dt
            excess = _speeding_up(rate, old)
            limit = 1.05 * acceleration * dt + small / dt
            if excess > limit:
                return [Violation("first" if fresh else "acceleration", group.name, one.time_ns,
                                  excess / dt, acceleration,
                                  f"speeds up by {excess:.3f} within {dt * 1e3:.1f} ms"
                                  + f" after {gap * 1e3:.0f} ms")]  # fmt: skip
            now.append(rate)
        last, last_ns, speed_before = one.values, one.time_ns, now
    return []


def _speeding_up(rate: np.ndarray, old: np.ndarray) -> float:
    """How much faster it goes where it now goes; what it loses across that is braking."""
    size = float(np.linalg.norm(rate))
    return 0.0 if size == 0.0 else size - max(0.0, float(rate @ old) / size)


def _parts(group: Group, start, end):
    """(way, speed, acceleration) of what has limits of its own."""
    if group.kind == JOINTS:
        return [
            ((end - start)[i : i + 1], group.speed[i], group.acceleration[i])
            for i in range(len(start))
        ]
    if group.kind == HAND:
        return [(end - start, group.speed[0], group.acceleration[0])]
    turn = _turn(start[3:], end[3:])
    return [
        (end[:3] - start[:3], group.speed[0], group.acceleration[0]),
        (turn, group.speed[1], group.acceleration[1]),
    ]


def _turn(a, b) -> np.ndarray:
    """Rotation vector from quaternion a to b, xyzw."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    ax, ay, az, aw = -a[0], -a[1], -a[2], a[3]
    bx, by, bz, bw = b
    v = np.array([
        bw * ax + bx * aw + by * az - bz * ay, bw * ay - bx * az + by * aw + bz * ax,
        bw * az + bx * ay - by * ax + bz * aw,
    ])  # fmt: skip
    w = bw * aw - bx * ax - by * ay - bz * az
    size = np.linalg.norm(v)
    if size < 1e-12:
        return np.zeros(3)
    return 2.0 * np.arctan2(size, abs(w)) * np.sign(w or 1.0) * v / size


# Velocities.


def _velocities(robot, group: Group, sent: list[Sent], account: Account) -> list[Violation]:
    period = robot.period_s
    timeout_s = 0.1 if group.output["type"] == "servo_twist" else 0.5
    last, last_ns = np.zeros(6), None
    for one in sent:
        if one.refused is not None or not np.isfinite(one.values).all():
            continue
        gap = np.inf if last_ns is None else (one.time_ns - last_ns) / 1e9
        before = np.zeros(6) if gap > timeout_s else last
        dt = period if gap > timeout_s else min(max(gap, 1e-6), 2 * period)
        engaged = [ns for ns in account.engaged if ns <= one.time_ns]
        grown = 1.0
        if engaged and robot.fade_s > 0.0:
            grown = min(1.0, ((one.time_ns - engaged[-1]) / 1e9 + 4 * period) / robot.fade_s)
        for k, axes in enumerate((slice(0, 3), slice(3, 6))):
            size = float(np.linalg.norm(one.values[axes]))
            allowed = max(1.001 * grown * group.speed[k], float(np.linalg.norm(before[axes])))
            allowed = min(allowed, 1.001 * group.speed[k])
            if size > allowed + 1e-4:
                return [Violation("speed", group.name, one.time_ns, size, allowed, "too fast")]
            excess = _speeding_up(one.values[axes], before[axes])
            if excess > 1.05 * group.acceleration[k] * dt + 1e-3:
                words = f"speeds up by {excess:.3f} within {dt * 1e3:.0f} ms after {gap:.2f} s"
                return [Violation("acceleration", group.name, one.time_ns, excess / dt,
                                  group.acceleration[k], words)]  # fmt: skip
        last, last_ns = one.values, one.time_ns
    return []


# Rest, boxes, direction.


def _rest(robot, group: Group, motion: Motion, account: Account) -> list[Violation]:
    """Where nothing may be followed, all comes to rest and stays."""
    if group.kind == HAND:
        return []
    speed = np.abs(motion.velocities)
    speed = speed[:, :3].max(axis=1) if group.kind == TOOL else speed.max(axis=1)
    late_ns = round(1e9 * robot.braking_s)
    found = []
    for start, end, words in account.still:
        begin = start + late_ns
        for from_ns, to_ns in account.stalls:  # what was sent before it goes on meanwhile
            if from_ns < begin and to_ns > start:
                begin += to_ns - max(from_ns, start)
        a, b = np.searchsorted(motion.times_ns, (begin, end))
        if b > a:
            moving = np.where(motion.quiet[a:b], speed[a:b], 0.0)
            if moving.max() > MOVES and not found:
                k = a + int(np.argmax(moving > MOVES))
                found = [Violation("rest", group.name, int(motion.times_ns[k]), float(moving.max()),
                                   MOVES, f"moves although {words}")]  # fmt: skip
    return found


def _boxes(robot, group: Group, motion: Motion, account: Account) -> list[Violation]:
    place = motion.positions[:, :3]
    found = []
    if group.box is not None:
        lower, upper = group.box
        beyond = np.maximum(lower - place, place - upper).max(axis=1)
        found += _deeper("workspace", group, beyond, motion, account, "leaves its workspace")
    for lower, upper in robot.keep_out:
        inside = np.minimum(place - lower, upper - place).min(axis=1)
        found += _deeper("keep_out", group, inside, motion, account, "enters a keep-out box")
    return found[:2]


def _deeper(rule, group, depth, motion: Motion, account: Account, words) -> list[Violation]:
    known = np.where(motion.quiet, depth, np.inf)
    least = np.maximum(_running(known, account, motion.times_ns, group), 0.0)
    over = np.where(motion.quiet, depth, -np.inf)
    return _worst(rule, group, motion.times_ns, over, least + DEPTH_M, words)


def _backward(robot, group: Group, motion: Motion, account: Account) -> list[Violation]:
    """Against the line that every plan since has gone along, and not to where a plan is.

    An arm that runs after its plan as fast as it may, rolls out beyond it when the commands stop. To come back to
    where the plan is now is to follow it, at speeds that other rules judge; further back no plan has ever asked for.
    """
    found = []
    # From a setpoint to where the arm is, by lead, jitter and latency.
    behind_ns = 4 * robot.period_ns + 5 * MS
    for start, end, path in account.lines[group.name]:
        # The plans themselves may end before where the arm rolls out to.
        a, b = np.searchsorted(motion.times_ns, (motion.first_heard_ns(start), end))
        if b - a < 2 or found:
            continue
        times = motion.times_ns[a:b]
        far = path.direction[:3] if group.kind == TOOL else path.direction
        here = motion.positions[a:b, : len(far)]
        done = (here - path.start[: len(far)]) @ far / (far @ far if far.any() else 1.0)
        size = np.linalg.norm(far)
        reached, planned = np.zeros(b - a), np.full(b - a, np.inf)
        for offered, until, shift in account.reach:
            if offered >= start:
                k, over = np.searchsorted(times, (offered, until + shift + behind_ns))
                reached[k:] = np.maximum(reached[k:], path.share(until))
                at = path.share(times[k:over] - shift - behind_ns)
                planned[k:over] = np.minimum(planned[k:over], at)
        # Back to where the last row of all is, is no reversal.
        back = np.minimum(_furthest(done, planned), reached) - done
        back = np.where(motion.quiet[a:b], back * size, 0.0)
        found += _worst("reversal", group, times, back, np.full(b - a, BACKWARD),
                        "runs back along its line")  # fmt: skip
    return found


def _furthest(done: np.ndarray, planned: np.ndarray) -> np.ndarray:
    """How far along its line an arm has been, float64[n]; forgotten where a plan is further back."""
    furthest, out = -np.inf, np.empty(len(done))
    for k, (here, plan) in enumerate(zip(done.tolist(), planned.tolist(), strict=True)):
        furthest = max(here, min(furthest, plan))
        out[k] = furthest
    return out
