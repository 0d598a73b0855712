"""Random setpoints, measurements, stamps and events through the guard: is what goes out within limits?

Each case is one tick; 20 ticks remember each other. The rules are written here again, from the
description of the robot alone, and not with the guard's own functions. Every shipped robot is used.

. tools/env.sh && python benchmarks/guard_cases.py --cases 1000000 --out benchmarks/guard_cases.json
"""

import argparse
import datetime
import json
import os
import platform
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from vla_policy.embodiment import embodiment_names, load_embodiment
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, VELOCITY
from vla_policy.execution.stopping_trajectory import joint_way
from vla_policy.safety import guard_state
from vla_policy.safety.guard import check
from vla_policy.safety.guard_state import GuardState
from vla_policy.safety.robot import robot_of
from vla_policy.types import Level, Reason, RobotState

TICKS = 20
SLACK = 1e-6
MS = 1_000_000
ODD = (0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 5e-324, 1e-160, 1e160, 1.7e308, -1.7e308)
STALE = Reason("stale_camera", "for a test")
STEPS = ("period", "period", "period", "period", 0, 7, 31 * MS, 10**9, -(10**9), 2**62)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    started = time.monotonic()
    share = 2_000
    seeds = [args.seed + k for k in range(-(-args.cases // share))]
    totals: Counter[str] = Counter()
    with ProcessPoolExecutor(args.processes) as pool:
        futures = pool.map(run_share, ((seed, share) for seed in seeds))
        for done, counts in enumerate(futures, 1):
            totals += counts
            if done % 25 == 0 or done == len(seeds):
                print(f"{done * share} cases, {totals['violations']} violations", flush=True)
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "robots": sorted(robots()),
        "seconds": round(time.monotonic() - started, 1),
        **{name: totals[name] for name in ("cases", "violations")},
        "levels": {level.name: totals[level.name] for level in Level},
        "with_command": totals["with_command"],
        "examples": sorted(name[2:] for name in totals if name.startswith("! "))[:20],
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return 1 if totals["violations"] else 0


@cache
def robots():
    """Every shipped robot, fading in at different speeds, and one whose tool is driven by its velocity."""
    found = {}
    for name in embodiment_names():
        embodiment = load_embodiment(name)
        fade_s = 0.0 if len(found) % 2 else 0.3
        limits = replace(embodiment.limits, engage_fade_s=fade_s)
        # Collisions have tests of their own, against MuJoCo's kinematics; here they only cost time.
        found[name] = robot_of(replace(embodiment, limits=limits, model=None))
    twist = _with_twist(load_embodiment("vx300s"))
    found["vx300s by velocity, with a base"] = robot_of(twist)
    return found


def _with_twist(embodiment):
    """The arm's tool by its velocity, and a base that drives."""
    arm, hand = embodiment.actions
    columns = tuple(f"ee.{axis}" for axis in ("vx", "vy", "vz", "wx", "wy", "wz"))
    arm = replace(arm, space="ee_twist", unit="m_s", rotation=None, names=columns)
    base = replace(
        arm, name="base", space="base_twist", names=("base.vx", "base.vy", "base.wz"), frame="base"
    )
    groups = embodiment.limits.groups
    limits = replace(
        embodiment.limits, groups={**groups, "base": replace(groups["arm"], workspace=None)}
    )
    outputs = {**embodiment.outputs}
    outputs["arm"] = replace(outputs["arm"], type="twist")
    outputs["base"] = replace(outputs["arm"], topic="cmd_vel")
    return replace(embodiment, actions=(arm, hand, base), limits=limits, outputs=outputs)


def run_share(job):
    """Counts of one share of cases; violations have a name that starts with '! '."""
    seed, cases = job
    np.seterr(all="ignore")
    known = robots()
    names = sorted(known)
    counts: Counter[str] = Counter()
    for run in range(cases // TICKS):
        rng = np.random.default_rng((seed, run))
        name = names[int(rng.integers(len(names)))]
        run_ticks(rng, name, known[name], counts)
    return counts


def run_ticks(rng, name, robot, counts):
    """TICKS cases that remember each other."""
    state, now_ns = guard_state.engage(GuardState()), int(rng.integers(1, 2**50))
    rest = middle(robot)
    here = rest
    for _ in range(TICKS):
        step = STEPS[int(rng.integers(len(STEPS)))] if rng.random() < 0.5 else "period"
        now_ns += robot.embodiment.period_ns if step == "period" else step
        state = event(rng, state)
        measured = odd_values(rng, here) if rng.random() < 0.2 else here
        measured = None if rng.random() < 0.02 else measured
        proposed = None if rng.random() < 0.05 else odd_values(rng, here)
        before = state
        state, verdict = check(
            state,
            robot,
            proposed,
            here=measured,
            seen=seen(rng, robot),
            faults=(STALE,) if rng.random() < 0.05 else (),
            now_ns=now_ns,
        )
        counts["cases"] += 1
        counts[verdict.level.name] += 1
        counts["with_command"] += verdict.command is not None
        problem = violation(robot, before, verdict, now_ns, measured)
        if problem is not None:
            counts["violations"] += 1
            counts[f"! {name}: {problem}"] += 1
        if verdict.command is not None and len(verdict.command.values) == len(here):
            here = np.array(verdict.command.values)
            for part in robot.layout.of_kind(VELOCITY):
                here[part.columns] = 0.0


def middle(robot):
    """An action in the middle of all limits."""
    values = np.zeros(len(robot.layout.names))
    for part in robot.layout.parts:
        if part.lower is not None:
            values[part.columns] = (part.lower + part.upper) / 2
        if part.kind == POSE:
            box = part.limits.workspace
            values[part.position] = (box.lower + box.upper) / 2
            values[part.rotation] = [0.0, 0.0, 0.0, 1.0]
    return values


def seen(rng, robot):
    """A measured state for those checks that need more than the action."""
    poses = {}
    for part in robot.layout.parts:
        box = part.limits.workspace
        if part.kind == VELOCITY and box is not None and rng.random() < 0.95:
            position = rng.uniform(box.lower - 0.05, box.upper + 0.05)
            poses[part.source] = np.array([*position, 0.0, 0.0, 0.0, 1.0])
    return RobotState(poses=poses)


def event(rng, state):
    """What operators do."""
    what = rng.random()
    if what < 0.01:
        return guard_state.stop(state, Reason("operator_stop", "for a test"))
    if what < 0.02:
        return guard_state.disengage(state)
    if what < 0.15 and not state.engaged:
        return guard_state.engage(guard_state.reset(state))
    return state


def odd_values(rng, base):
    """base with noise of some size, and sometimes values that no policy should give."""
    values = base + rng.normal(size=base.shape) * 10.0 ** rng.integers(-9, 2)
    if rng.random() < 0.6:
        values = base + rng.normal(size=base.shape) * 0.01
    if rng.random() < 0.3:
        where = rng.integers(0, len(base), size=rng.integers(1, 3))
        values[where] = rng.choice(ODD, size=len(where))
    if rng.random() < 0.04:
        return values[: rng.integers(0, len(base) + 1)]
    if rng.random() < 0.01:
        return values.astype(np.float32)
    return np.append(values, 0.0) if rng.random() < 0.02 else values


def violation(robot, before, verdict, now_ns, here=None):
    """Words for what a verdict must not be, or None. here: the measured action."""
    command = verdict.command
    if command is None:
        return (
            None if verdict.level >= Level.HOLD else "no command although the level lets one out"
        )
    known = dict(zip(command.names, command.values, strict=True))
    if not np.isfinite(command.values).all():
        return "not finite"
    rates = dict(zip(command.names, command.rates, strict=True))
    for part in robot.layout.parts:
        found = [known[n] for n in part.names if n in known]
        if found and len(found) != len(part.names):
            return f"half of the group {part.group}"
        if not found and verdict.level < Level.HOLD:
            return f"the group {part.group} is missing"
        if found:
            through = np.array([rates[n] for n in part.names])
            words = part_violation(
                part, np.array(found), robot, before, verdict, now_ns, here
            ) or rate_violation(part, np.array(found), through, robot)
            if words is not None:
                return f"{part.group}: {words}"
    return None


def part_violation(part, values, robot, before, verdict, now_ns, here):
    if part.kind == VELOCITY:
        return velocity_violation(part, values, robot, before, verdict, now_ns)
    outputs = robot.embodiment.outputs
    if not before.engaged or before.stopped is not None:
        return "a position although nothing may go out"
    if part.lower is not None and not (
        (values >= part.lower).all() and (values <= part.upper).all()
    ):
        return "outside the range"
    if part.kind == POSE:
        box = part.limits.workspace
        if not ((values[:3] >= box.lower).all() and (values[:3] <= box.upper).all()):
            return "outside the workspace"
        if not abs(np.linalg.norm(values[3:]) - 1.0) < SLACK:
            return "no rotation"
    if before.sent is None:
        return None
    old = before.sent.values[part.columns]
    rolls_out = part.kind == JOINTS and outputs[part.group].type == "joint_trajectory"
    if verdict.level >= Level.HOLD:
        if rolls_out:
            return "a hold that pulls an arm off its way to rest"
        return None if (values == old).all() else "a hold that moves"
    dt_s = elapsed_s(robot, before.sent.stamp_ns, now_ns)
    if rolls_out:  # meanwhile the controller has gone on
        dt_s = max(dt_s, (now_ns - before.sent.moved_ns) / 1e9)
    words = step_violation(part, values, old, dt_s)
    if words is None or here is None or now_ns - before.sent.moved_ns < 200 * MS:
        return words
    # At rest an arm may have been led elsewhere: then it starts from where it is measured.
    measured = np.array(here[part.columns])
    if part.kind == POSE:
        measured[3:] /= np.linalg.norm(measured[3:])
    return step_violation(part, values, measured, dt_s)


def rate_violation(part, values, rates, robot):
    """What a trajectory begins with at the setpoint, and where it comes to rest behind it."""
    if part.kind != JOINTS:
        return "a rate of what is no joint" if rates.any() else None
    if not np.isfinite(rates).all():
        return "a rate that is not finite"
    if (np.abs(rates) > part.limits.joint_speed_per_s * (1.0 + SLACK)).any():
        return "a joint passes through too fast"
    way = joint_way(part, values, rates, robot.embodiment.period_ns)
    inside = (way.positions >= part.lower - SLACK) & (way.positions <= part.upper + SLACK)
    return None if inside.all() else "comes to rest outside the range"


def step_violation(part, values, old, dt_s):
    limits = part.limits
    if part.kind == JOINTS:
        fast = np.abs(values - old) > limits.joint_speed_per_s * dt_s + SLACK
        return "a joint is too fast" if fast.any() else None
    if part.kind == GRIPPER:
        fast = abs(values[0] - old[0]) > limits.gripper_speed_per_s * dt_s + SLACK
        return "the gripper is too fast" if fast else None
    if np.linalg.norm(values[:3] - old[:3]) > limits.linear_speed_m_s * dt_s + SLACK:
        return "the tool is too fast"
    turn = 2.0 * np.arccos(min(1.0, abs(float(values[3:] @ old[3:]))))
    # The arc cosine loses half of the digits near 1.
    return "the tool turns too fast" if turn > limits.angular_speed_rad_s * dt_s + 1e-4 else None


def velocity_violation(part, values, robot, before, verdict, now_ns):
    limits = part.limits
    linear = sum(".v" in name for name in part.names)
    drive = before.drive
    old = np.zeros(len(values)) if drive is None else drive.values[part.columns]
    if drive is not None and now_ns - drive.stamp_ns > timeout_ns(robot, part):
        old = np.zeros(len(values))  # its controller has stopped it
    dt_s = elapsed_s(robot, None if drive is None else drive.stamp_ns, now_ns)
    for axes, speed, acceleration in (
        (slice(0, linear), limits.linear_speed_m_s, limits.linear_acceleration_m_s2),
        (slice(linear, None), limits.angular_speed_rad_s, limits.angular_acceleration_rad_s2),
    ):
        if np.linalg.norm(values[axes]) > speed + SLACK:
            return "too fast"
        if np.linalg.norm(values[axes] - old[axes]) > acceleration * dt_s + SLACK:
            return "accelerates too fast"
        held = verdict.level >= Level.HOLD
        if held and np.linalg.norm(values[axes]) > np.linalg.norm(old[axes]) + SLACK:
            return "a hold that speeds up"
    return None


def timeout_ns(robot, part):
    """MoveIt Servo stops without commands after 0.1 s, a base after 0.5 s."""
    return 100 * MS if robot.embodiment.outputs[part.group].servo is not None else 500 * MS


def elapsed_s(robot, last_ns, now_ns):
    """Time since the last command, of which two periods count at most."""
    period_ns = robot.embodiment.period_ns
    if last_ns is None:
        return period_ns / 1e9
    return min(max(now_ns - last_ns, 0), 2 * period_ns) / 1e9


if __name__ == "__main__":
    sys.exit(main())
