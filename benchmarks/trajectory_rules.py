"""What a JointTrajectoryController refuses of random chunks: ours, and one point stamped now.

    python benchmarks/trajectory_rules.py            10,000 chunks, about two minutes on one core

Each random chunk (absolute, in steps, of 1 to 50 rows, also with NaN, huge values and wrong widths)
goes the whole way: resolve, timeline, guard, trajectory message; every message is held against the
controller's published rules, as it would be after 0.2 to 20 ms on the wire. Beside it what a bridge
sends that stamps one point with the present time, for the same setpoints and delays.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Duration
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_policy.embodiment import Embodiment, load_embodiment
from vla_policy.embodiment.layout import JOINTS, ActionPart
from vla_policy.ros.messages import convert
from vla_policy.ros.outputs.trajectory import JointTarget
from vla_policy.ros.simulation.mock_controllers import trajectory_of
from vla_policy.runtime import control as core
from vla_policy.runtime.control import Control
from vla_policy.safety.robot import robot_of
from vla_policy.safety.watchdog import InputStamps
from vla_policy.sim.mock.controller_rules import trajectory_refusal
from vla_policy.types import ActionChunk, Command, RobotState

ROBOTS = ("fr3", "ur5e_2f85", "xarm7", "aloha", "tiago")
TICKS = 12  # commands after each chunk
BROKEN = 0.1  # share of chunks with a value that no policy should give
START_NS = 1_000_000_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=10_000, help="random chunks over all robots")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON to write, default beside this program")
    args = parser.parse_args()
    started_s = time.perf_counter()
    results = {
        name: run(load_embodiment(name), args.chunks // len(ROBOTS), args.seed) for name in ROBOTS
    }
    total = {key: sum(r[key] for r in results.values()) for key in next(iter(results.values()))
             if key != "refusals"}  # fmt: skip
    report = {
        "command": "python benchmarks/trajectory_rules.py " + " ".join(sys.argv[1:]),
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "seconds": round(time.perf_counter() - started_s, 1),
        "total": total,
        "robots": results,
    }
    out = args.out or Path(__file__).with_suffix(".json")
    out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"{total['chunks']} chunks, {total['sent']} trajectories sent")
    print(f"refused of ours: {total['refused']}")
    print(f"refused of one point stamped now: {total['one_point_refused']} of {total['sent']}")
    return 0 if total["refused"] == 0 else 1


def run(robot: Embodiment, chunks: int, seed: int) -> dict[str, object]:
    """Counts for one robot. chunks: how many are drawn."""
    rng = np.random.default_rng([seed, len(robot.name), sum(robot.name.encode())])
    safe = robot_of(robot)
    senders = {
        part.group: (part, JointTarget(robot, part, robot.outputs[part.group]))
        for part in safe.layout.of_kind(JOINTS)
        if robot.outputs[part.group].type == "joint_trajectory"
    }
    counts: Counter[str] = Counter(chunks=chunks)
    refusals: Counter[str] = Counter()
    now_ns, control = START_NS, Control()
    state = random_state(rng, robot, now_ns)
    for sequence in range(chunks):
        now_ns += int(rng.integers(1, 200)) * 1_000_000
        if rng.random() < 0.2:  # moved by hand, or another run
            state = random_state(rng, robot, now_ns)
        inputs = fresh(robot, now_ns)
        control, refusal = core.engage(core.reset(core.disengage(control, now_ns))[0], safe, inputs,
                                       now_ns)  # fmt: skip
        assert refusal is None, refusal
        control, _ = core.tick(control, safe, state, inputs, now_ns)
        chunk = random_chunk(rng, robot, state, now_ns, sequence)
        now_ns += int(rng.integers(0, 300)) * 1_000_000  # of inference
        state = replace(state, joint_ns=now_ns)
        control, reason = core.accept(control, safe, state, chunk, now_ns)
        counts["chunks_taken"] += reason is None
        for _ in range(TICKS):
            now_ns += robot.period_ns + int(rng.integers(-2_000_000, 4_000_000))
            state = replace(state, joint_ns=now_ns, ee_ns=now_ns)
            control, verdict = core.tick(control, safe, state, fresh(robot, now_ns), now_ns)
            if verdict.command is None:
                continue
            state = follow(state, verdict.command, safe.layout.parts)
            for part, target in senders.values():
                own = columns_of(verdict.command, part)
                if own is None:
                    continue
                values, rates = verdict.command.values[own], verdict.command.rates[own]
                heard_ns = now_ns + int(rng.integers(200_000, 20_000_000))
                ours = trajectory_of(target.message(values, rates, now_ns))
                found = trajectory_refusal(ours, target.names, heard_ns)
                theirs = trajectory_of(one_point(target.names, values, now_ns))
                counts["sent"] += 1
                counts["refused"] += found is not None
                counts["one_point_refused"] += (
                    trajectory_refusal(theirs, target.names, heard_ns) is not None
                )
                if found is not None:
                    refusals[found] += 1
    keys = ("chunks", "chunks_taken", "sent", "refused", "one_point_refused")
    return {**{key: counts[key] for key in keys}, "refusals": dict(refusals)}


def one_point(names: list[str], values: np.ndarray, stamp_ns: int) -> JointTrajectory:
    """One point at once, as most bridges from policies to ROS send it."""
    point = JointTrajectoryPoint(positions=values.tolist(), time_from_start=Duration())
    header = Header(stamp=convert.stamp_from_ns(stamp_ns))
    return JointTrajectory(header=header, joint_names=names, points=[point])


def random_chunk(
    rng: np.random.Generator, robot: Embodiment, state: RobotState, now_ns: int, sequence: int
) -> ActionChunk:
    """Rows around where the robot is, some of them wild, a few that mean nothing."""
    rows = int(rng.integers(1, 51))
    columns = []
    for group in robot.actions:
        width = len(group.names)
        scale = 10.0 ** rng.uniform(-4, 0.5)
        walk = np.cumsum(rng.normal(0, scale, (rows, width)), axis=0)
        if group.space == "joint_position":
            walk += state.joint_positions[[robot.joint_names.index(n.removeprefix("joint."))
                                           for n in group.names]]  # fmt: skip
        columns.append(walk)
    actions = np.concatenate(columns, axis=1)
    names = robot.action_names
    if rng.random() < BROKEN:
        where = int(rng.integers(rows)), int(rng.integers(len(names)))
        actions[where] = rng.choice([np.nan, np.inf, -1e300, 1e300, 5e-324])
    return ActionChunk(actions, names, now_ns, robot.step_ns, sequence, "go")


def random_state(rng: np.random.Generator, robot: Embodiment, now_ns: int) -> RobotState:
    grippers = {g.names[0]: float(rng.random()) for g in robot.actions if g.space == "gripper"}
    joints = rng.uniform(robot.joints.lower, robot.joints.upper)
    return RobotState(joints, now_ns, {}, None, grippers)


def follow(state: RobotState, command: Command, parts: tuple[ActionPart, ...]) -> RobotState:
    """The state of a robot that does at once as it is told."""
    joints, grippers = np.array(state.joint_positions), dict(state.grippers)
    for part in parts:
        own = columns_of(command, part)
        if own is None:
            continue
        values = command.values[own]
        if part.kind == JOINTS:
            joints[list(part.joints)] = values
        elif part.source in grippers:
            grippers[part.source] = float(values[0])
    return replace(state, joint_positions=joints, grippers=grippers)


def columns_of(command: Command, part: ActionPart) -> slice | None:
    if part.names[0] not in command.names:
        return None
    start = command.names.index(part.names[0])
    return slice(start, start + len(part.names))


def fresh(robot: Embodiment, now_ns: int) -> InputStamps:
    return InputStamps(now_ns, now_ns, dict.fromkeys(robot.cameras, now_ns))


if __name__ == "__main__":
    sys.exit(main())
