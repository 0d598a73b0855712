"""Rows that were recorded through the running twin beside those that the generator makes of the same scenes.

    python benchmarks/recorded_generated.py --set TAKES/set --out benchmarks/recorded_generated.json

For each episode of a set of `vla record --sim --operator expert`: the generator's expert, without the noise that
`vla generate` adds, in the episode's scene with its words. The running graph is later than the generator, as commands go
through a plan, a guard and a controller, so rows are matched by what they are, not by their number (time warping), and
the generator's are interpolated to 50 Hz for it.

state, action    tool position mm, turn degrees and gripper (0..1) apart, over matched rows
label            the step from the measured position to the commanded one, mm apart: what a policy is taught
label_slope      how long the recorded steps are for those of the generator, by least squares; 1: as long
rows             how many rows the recorded episode has for one of the generator's
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

from vla_policy.data.lerobot import layout as names
from vla_policy.data.lerobot.reader import open_set
from vla_policy.sim.demonstrations.expert import expert_action
from vla_policy.sim.demonstrations.record import TERMINATE_FRAMES
from vla_policy.sim.demonstrations.row_player import Driver
from vla_policy.sim.scenes.scene import sample_scene
from vla_policy.sim.tasks.judge import Judge
from vla_policy.sim.tasks.typed import parse_task
from vla_policy.sim.world.world import World

GRIPPER_M = 0.05  # what a whole way of the gripper counts when rows are matched
LONGEST = 300  # rows
# Of p95 over all matched rows of a set.
# One row of the expert is up to 35 mm long, and the guard lets a motion begin and end with its acceleration.
ALLOWED = {"state_mm": 15.0, "action_mm": 25.0, "turn_deg": 1.0, "gripper": 0.25, "label_mm": 25.0}
SLOPE = 0.1  # how far the recorded steps may be shorter or longer than the generator's, as a share


def generated(world: World, seed: int, split: str, words: str) -> tuple[np.ndarray, np.ndarray]:
    """(states, actions) float64[n, 8] at 10 Hz of the expert alone."""
    scene = sample_scene(seed, split=split, robot=world.twin.name)
    world.reset(scene)
    task = parse_task(words, scene)
    driver = Driver(world, Judge(task, world.truth()))
    states, actions, ended = [], [], 0
    while ended < TERMINATE_FRAMES and len(states) < LONGEST:
        state = world.robot_state()
        action = expert_action(task, world.truth())
        states.append([*next(iter(state.poses.values())), *state.grippers.values()])
        actions.append([*action.arms[0].pose, action.arms[0].gripper])
        driver.pursue(action)
        ended += action.terminate
    return np.array(states), np.array(actions)


def between(rows: np.ndarray) -> np.ndarray:
    """The rows and four between each two: a recording begins at any time between two rows of the generator."""
    at = np.arange(0, len(rows) - 1 + 1e-9, 0.2)
    return np.column_stack([np.interp(at, np.arange(len(rows)), column) for column in rows.T])


def matched(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """int[n, 2]: for each row of a one of b; both go on in order from first to last, with the least distance in all.

    a, b: float64[n, 16], state and action.
    """
    place = [np.column_stack([r[:, :3], GRIPPER_M * r[:, 7], r[:, 8:11]]) for r in (a, b)]
    cost = np.linalg.norm(place[0][:, None] - place[1][None], axis=2)
    total = np.full((len(a) + 1, len(b) + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(len(a)):
        for j in range(len(b)):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    i, j, pairs = len(a), len(b), []
    while i and j:
        pairs.append((i - 1, j - 1))
        steps = (total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
        way = int(np.argmin(steps))
        i, j = i - (way != 2), j - (way != 1)
    best: dict[int, int] = {}
    for i, j in pairs:
        if i not in best or cost[i, j] < cost[i, best[i]]:
            best[i] = j
    return np.array(sorted(best.items()))


def apart(recorded, made) -> dict[str, np.ndarray]:
    """How far matched rows of two (states, actions) are apart, by what."""
    pairs = matched(np.hstack(recorded), np.hstack(made))
    (rs, ra), (gs, ga) = (
        [x[pairs[:, k]] for x in rows] for k, rows in enumerate((recorded, made))
    )
    dots = np.abs((rs[:, 3:7] * gs[:, 3:7]).sum(1)).clip(0.0, 1.0)
    theirs, ours = (ra - rs)[:, :3], (ga - gs)[:, :3]
    return {
        "state_mm": 1e3 * np.linalg.norm(rs[:, :3] - gs[:, :3], axis=1),
        "action_mm": 1e3 * np.linalg.norm(ra[:, :3] - ga[:, :3], axis=1),
        "turn_deg": np.degrees(2.0 * np.arccos(dots)),
        "gripper": np.abs(rs[:, 7] - gs[:, 7]),
        "label_mm": 1e3 * np.linalg.norm(theirs - ours, axis=1),
        "along": (theirs * ours).sum(1),
        "square": (ours * ours).sum(1),
    }


def compare(root: Path, most: int | None = None) -> dict:
    """The figures of a set. Raises ValueError for an episode whose scene is not known."""
    found, world = open_set(root), World(renderer="raycast")
    parts, lengths = [], []
    for episode in range(len(found.entries))[:most]:
        scene, rows = found.scene(episode), found.rows(episode)
        if scene is None:
            raise ValueError(f"{root}: the scene of episode {episode} is not known")
        moved = rows["frame_valid"].reshape(-1).astype(bool)
        recorded = tuple(
            rows[name][moved].astype(np.float64) for name in (names.STATE, names.ACTION)
        )
        alone = generated(world, scene.seed, scene.split, found.task(episode))
        made = (between(alone[0]), between(alone[1]))
        parts.append(apart(recorded, made))
        lengths.append(len(recorded[0]) / len(alone[0]))
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    slope = float(joined.pop("along").sum() / joined.pop("square").sum())
    figures = {
        key: {f"p{q}": round(float(np.percentile(values, q)), 3) for q in (50, 95, 100)}
        for key, values in joined.items()
    }
    return {
        "episodes": len(parts),
        "pairs": len(joined["state_mm"]),
        "apart": figures,
        "allowed_p95": ALLOWED,
        "label_slope": round(slope, 3),
        "within": abs(slope - 1.0) <= SLOPE
        and all(figures[key]["p95"] <= most_of for key, most_of in ALLOWED.items()),
        "rows": {f"p{q}": round(float(np.percentile(lengths, q)), 3) for q in (0, 50, 100)},
    }


def main() -> int:
    import played_graph as played

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    report = {**played.heading(os.getloadavg()[0]), **compare(args.set)}
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report["within"] else 1


if __name__ == "__main__":
    sys.exit(main())
