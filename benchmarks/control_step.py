"""What one tick of the control path costs here and at earlier commits, side by side, as a ratio.

Processes of the same interpreter, one for each source tree, take turns on the same machine: their order changes
from round to round, so that a load that comes and goes meets all. A robot follows at once, and a new chunk comes every
0.4 s; only tick() is timed, not what takes the chunk. Of each round the median counts, and of the rounds' ratios the median
with its quartiles.

git worktree add --detach /tmp/7ac1aa9 7ac1aa9
. tools/env.sh && python benchmarks/control_step.py --before /tmp/7ac1aa9 --out benchmarks/control_step.json
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

TOP = Path(__file__).parents[1]
ROBOTS = ("vx300s", "ur5e_2f85", "aloha")  # by a tool's pose, by joints' trajectories, two arms
ROUNDS, TICKS, WARM = 12, 1500, 100
NOW, KEYS = "now", ("p50_us", "p99_us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--before", type=Path, nargs="+", default=[], help="source trees of earlier commits"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--measure", metavar="ROBOT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    trees = {_commit(tree): tree.resolve() for tree in args.before} | {NOW: TOP}
    report = {
        "command": f"python benchmarks/control_step.py --before {' '.join(list(trees)[:-1])} --rounds {args.rounds}",
        "date": datetime.date.today().isoformat(),
        "now": _commit(TOP),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "ticks_per_round": TICKS,
        "rounds": args.rounds,
        "robots": {robot: compare(robot, trees, args.rounds) for robot in ROBOTS},
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def compare(robot: str, trees: dict[str, Path], rounds: int) -> dict[str, Any]:
    """By tree: p50 and p99 of a tick, us, medians of the rounds; of earlier ones quartiles of the ratio now / then."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for k in range(rounds):
        for name in sorted(trees, reverse=bool(k % 2)):
            found[name].append(_measured_in(trees[name], robot))
    report: dict[str, Any] = {}
    for name, ones in found.items():
        report[name] = {
            key: round(float(np.median([one[key] for one in ones])), 1) for key in KEYS
        }
        if name != NOW:
            pairs = zip(found[NOW], ones, strict=True)
            ratios = [now["p50_us"] / then["p50_us"] for now, then in pairs]
            quartiles = np.percentile(ratios, (25, 50, 75))
            report[name]["now_by_then_quartiles"] = [round(float(q), 3) for q in quartiles]
    return report


def _measured_in(tree: Path, robot: str) -> dict[str, float]:
    words = [sys.executable, str(Path(__file__).resolve()), "--measure", robot]
    environ = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environ, cwd=tree, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(name: str) -> dict[str, float]:
    """Microseconds per tick of the source tree that is imported, while a robot swings to and fro."""
    from vla_policy.embodiment import load_embodiment
    from vla_policy.types import ActionChunk, RobotState

    core, robot_of, stamps = _of_this_tree()
    description = load_embodiment(name)
    robot, now_ns, sequence = robot_of(description), 10**9, 0
    inputs = lambda: stamps(now_ns, now_ns, dict.fromkeys(description.cameras, now_ns))  # noqa: E731
    control, refusal = core.engage(core.Control(), robot, inputs(), now_ns)
    action = _home(robot.layout)
    times, moved = [], 0
    for tick in range(TICKS + WARM):
        now_ns += description.period_ns
        state = _state(robot.layout, action, now_ns, RobotState, len(description.joint_names))
        if now_ns - sequence * 400_000_000 >= 10**9:
            rows = np.tile(action, (round(0.6 * description.policy_hz), 1))
            side = 1.0 if sequence // 5 % 2 else -1.0
            rows[:, 1] += side * 0.02 / description.policy_hz * np.arange(1, len(rows) + 1)
            step_ns = description.step_ns
            chunk = ActionChunk(rows, robot.layout.names, now_ns - 1000, step_ns, sequence, "go")
            control, refusal = core.accept(control, robot, state, chunk, now_ns)
            sequence += 1
        began = time.perf_counter_ns()
        control, verdict = core.tick(control, robot, state, inputs(), now_ns)
        took = time.perf_counter_ns() - began
        if verdict.command is not None and len(verdict.command.names) == len(action):
            moved += 1
            action = np.array(verdict.command.values)
        if tick >= WARM:
            times.append(took)
    if moved < 0.9 * TICKS:
        raise RuntimeError(f"{name}: moved in {moved} of {TICKS} ticks: {refusal}, {verdict}")
    p50, p99 = np.percentile(times, (50, 99)) / 1e3
    return {"p50_us": float(p50), "p99_us": float(p99)}


def _of_this_tree() -> tuple[Any, Any, Any]:
    """The control path, what makes a robot for it, and its inputs, wherever this commit has them."""
    try:
        from vla_policy.runtime import control
        from vla_policy.safety.robot import robot_of
    except ModuleNotFoundError:
        from vla_policy.safety.bounds import robot_of

        from vla_policy import control
    from vla_policy.safety import watchdog

    stamps = getattr(watchdog, "InputStamps", None) or watchdog.Inputs  # as it was called
    return control, robot_of, stamps


def _home(layout: Any) -> Any:
    """A place in the middle of all ranges and workspaces."""
    values = np.zeros(len(layout.names))
    for part in layout.parts:
        if part.kind == "pose":
            box = part.limits.workspace
            values[part.position] = (box.lower + box.upper) / 2
            values[part.columns.stop - 1] = 1.0
        elif part.lower is not None:
            values[part.columns] = (part.lower + part.upper) / 2
    return values


def _state(layout: Any, action: Any, now_ns: int, RobotState: Any, joints: int) -> Any:
    """What a robot reports that is where action says."""
    positions, poses, grippers = np.zeros(joints), {}, {}
    for part in layout.parts:
        if part.kind == "joints":
            positions[list(part.joints)] = action[part.columns]
        elif part.kind == "pose":
            poses[part.source] = action[part.columns]
        elif part.kind == "gripper":
            grippers[part.source] = float(action[part.columns][0])
    return RobotState(positions, now_ns, poses, now_ns if poses else None, grippers)


def _commit(tree: Path) -> str:
    words = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
