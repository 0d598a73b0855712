"""Long tasks in closed loop in the twin: clear the table, put everything in the tray, sort by colour, swap two things.

    python benchmarks/long_tasks.py --policy tiny --trials 20 --out benchmarks/long_tasks.json

The planner is `model`: it sees what the policy sees and nothing else. Physics judges, by code of this file: where each thing lies
when the task has ended, whatever anybody reported. Scenes are drawn with seeds of their own. Results are written after every trial.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.closed_loop import Pace
from vla_policy.evaluate.long_trial import follow_long
from vla_policy.evaluate.metrics import wilson
from vla_policy.execution.replanning import replan_interval_rows
from vla_policy.planners.own import own_planner
from vla_policy.policy import load_policy
from vla_policy.runtime.long_task import LongBounds
from vla_policy.runtime.task import Outcome
from vla_policy.sim.scenes.scene import PAD_RADIUS_M, TRAY_HALF_M, Scene, sample_scene
from vla_policy.sim.world.ground_truth import Truth
from vla_policy.sim.world.world import World

ROBOT, FIRST_SEED = "vx300s", 730_000
HIGH_M = 0.11  # a thing on top of others in the tray lies lower
REST_M_S = 0.05
TIMEOUT_S = 180.0
BOUNDS = LongBounds(subtasks=12, tries=3, subtask_s=15.0)


@dataclass(frozen=True, slots=True)
class LongCase:
    """words of a scene. fits: which scenes are drawn. goal: place of each thing, as indices. prepare: before the start."""

    words: Callable[[Scene], str]
    goal: Callable[[Scene, list[str]], bool]
    fits: Callable[[Scene], bool] = lambda scene: True
    prepare: Callable[[World, Scene, np.random.Generator], None] = lambda world, scene, rng: None


def places(truth: Truth) -> list[str]:
    """Of each thing: tray, pad, table, or air while it is held or moves."""
    found = []
    for index, xyz in enumerate(truth.object_xyz):
        tray = np.abs(xyz[:2] - np.array(truth.scene.tray_xy)).max() <= TRAY_HALF_M
        pad = np.linalg.norm(xyz[:2] - np.array(truth.scene.pad_xy)) <= PAD_RADIUS_M
        if truth.held[index] or truth.object_speed[index] > REST_M_S or xyz[2] > HIGH_M:
            found.append("air")
        else:
            found.append("tray" if tray else "pad" if pad else "table")
    return found


def sorted_by_colour(scene: Scene, at: list[str]) -> bool:
    """One colour has the tray to itself, the other the pad."""
    by_colour = {
        item.colour: {p for o, p in zip(scene.objects, at, strict=True) if o.colour == item.colour}
        for item in scene.objects
    }
    return sorted(map(tuple, by_colour.values())) == [("pad",), ("tray",)]


def lay_out(world: World, scene: Scene, rng: np.random.Generator) -> None:
    """The first thing in the tray and the second on the pad, not quite in the middle."""
    for index, place, floor in ((0, "tray", 0.002), (1, "pad", 0.0)):
        xy = scene.destination_xyz(place)[:2] + rng.uniform(-0.02, 0.02, 2)
        world.place_object(index, np.array([*xy, scene.objects[index].half_m + floor]))


CASES = {
    "clear the table": LongCase(
        lambda scene: "clear the table", lambda scene, at: all(p in ("tray", "pad") for p in at)
    ),
    "everything in the tray": LongCase(
        lambda scene: "put everything in the tray", lambda scene, at: all(p == "tray" for p in at)
    ),
    "sort by colour": LongCase(
        lambda scene: "sort the things by colour",
        sorted_by_colour,
        fits=lambda scene: len({item.colour for item in scene.objects}) == 2,
    ),
    "swap": LongCase(
        lambda scene: f"swap the {scene.objects[0].name} and the {scene.objects[1].name}",
        lambda scene, at: at[:2] == ["pad", "tray"],
        prepare=lay_out,
    ),
}


def scene_of(case: LongCase, index: int) -> Scene:
    """The scene of a trial: the first that fits, from seeds of its own on."""
    seed = FIRST_SEED + 1000 * index
    return next(s for s in (sample_scene(seed + k) for k in range(1000)) if case.fits(s))


def trial(name: str, index: int, policy: Any, world: World, pace: Pace) -> dict[str, Any]:
    """One trial, as plain data."""
    case, scene = CASES[name], scene_of(CASES[name], index)
    world.reset(scene)
    case.prepare(world, scene, np.random.default_rng([scene.seed, 1]))
    began_s = time.perf_counter()
    result = follow_long(
        policy, world, case.words(scene), own_planner,
        embodiment=load_embodiment(ROBOT), pace=pace, bounds=BOUNDS, timeout_s=TIMEOUT_S,
    )  # fmt: skip
    at = places(world.truth())
    success = case.goal(scene, at)
    return {
        "seed": scene.seed,
        "words": case.words(scene),
        "things": {o.name: p for o, p in zip(scene.objects, at, strict=True)},
        "seen": list(result.seen),
        "success": success,
        "failure": "" if success else failure(scene, result.ended.outcome, result.seen),
        "outcome": result.ended.outcome.name,
        "message": result.ended.message,
        "subtasks": [[a.subtask, a.outcome] for a in result.done],
        "seconds": round(result.seconds, 1),
        "wall_s": round(time.perf_counter() - began_s, 1),
    }


def failure(scene: Scene, outcome: Outcome, seen: tuple[str, ...]) -> str:
    """Why a trial failed: what was overlooked comes before how it ended."""
    names = {line.partition(":")[0] for line in seen}
    if not {item.name for item in scene.objects} <= names:
        return "overlooked"
    return {Outcome.DONE: "reported done", Outcome.REFUSED: "gave up"}.get(outcome, "out of time")


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rate, interval and failures of one task."""
    won = sum(row["success"] for row in rows)
    told = [row for row in rows if row["outcome"] == "DONE"]
    return {
        "success": won,
        "trials": len(rows),
        "interval": [round(x, 3) for x in wilson(won, len(rows))],
        "failures": dict(Counter(row["failure"] for row in rows if row["failure"]).most_common()),
        "reported done": len(told),
        "reported done wrongly": sum(not row["success"] for row in told),
        "mean sub-tasks": round(float(np.mean([len(row["subtasks"]) for row in rows])), 2),
        "mean seconds": round(float(np.mean([row["seconds"] for row in rows])), 1),
    }


def main() -> int:
    """Measure, print, write; 1 if fewer than 70 in 100 of all succeed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--head", default="flow", choices=("flow", "token"))
    parser.add_argument("--tasks", default=",".join(CASES), help="of them, separated by commas")
    parser.add_argument("--trials", type=int, default=20, help="of each task")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no trial later")
    parser.add_argument("--renderer", default="auto")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    policy = load_policy(args.policy, embodiment=ROBOT, head=args.head)
    world = World(renderer=args.renderer, robot=ROBOT)
    pace = Pace(execute_rows=replan_interval_rows(policy.rows, 0))
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in args.tasks.split(",")}
    ends_s = time.monotonic() + 60 * args.minutes
    for index in range(args.first, args.first + args.trials):  # all tasks alike, wherever it ends
        for name, done in rows.items():
            if time.monotonic() > ends_s:
                break
            done.append(trial(name, index, policy, world, pace))
            won = sum(row["success"] for row in done)
            last = done[-1]
            print(f"{name:<24}{won:3} of {len(done):3}  {last['failure'] or 'done':<14}{last['wall_s']:6.1f} s", flush=True)  # fmt: skip
            if args.out:
                args.out.write_text(json.dumps(report(args, policy, rows), indent=1) + "\n")
    counted = [row for done in rows.values() for row in done]
    print(json.dumps({name: summary(done) for name, done in rows.items() if done}, indent=1))
    return int(sum(row["success"] for row in counted) < 0.7 * len(counted))


def report(
    args: argparse.Namespace, policy: Any, rows: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """All that is written."""
    import mujoco

    return {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "mujoco": mujoco.__version__},
        "policy": args.policy,
        "head": policy.head,
        "weights": policy.weights_hash,
        "bounds": {"sub-tasks": BOUNDS.subtasks, "tries": BOUNDS.tries, "subtask_s": BOUNDS.subtask_s, "task_s": TIMEOUT_S},
        "tasks": {name: summary(done) for name, done in rows.items() if done},
        "all": summary([row for done in rows.values() for row in done]),
        "trials": rows,
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
