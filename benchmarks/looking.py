"""What a policy says that it sees of things that are there and of things that are not, on held-out pictures.

    python benchmarks/looking.py --out benchmarks/looking.json

asks `Policy.sees` of `tiny` and of `tiny_cross` for each of its robots, in scenes that no training drew: with the arm at its
start, and with it at work, where it hides things and may hold one. The scenes are kept by the sha256 of their numbers and
sentences; it does not measure with others.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from looking_cases import ABSENT, FIRST, KINDS, THERE, Case, cases_of, fingerprint

from vla_policy.evaluate.metrics import wilson
from vla_policy.policy import Policy, load_policy
from vla_policy.sim.demonstrations.start_poses import place_like_demonstration
from vla_policy.sim.scenes.scene import sample_scene
from vla_policy.sim.world.world import World
from vla_policy.types import Observation

SCENES = 500
HASHES = {  # of the cases of SCENES scenes of each robot
    "vx300s": "48f00b4376f624310343bd3c18c74b4d4805e9c536d7971719ab879a39edde7a",
    "vx300s_pair": "43898c7017902423d1e5692296467bee269365071ab5f24caf4d8ddfdfb04678",
    "vx300s_mobile": "1ea316fc539f8a4d72aeff5dc0e9f3257675b560bc382506dc1c8faa49dce2b7",
}
POLICIES = {"tiny": ("vx300s",), "tiny_cross": ("vx300s", "vx300s_pair", "vx300s_mobile")}
POSES = ("start", "work")


def refused(policy: Policy, cases: list[Case], pose: str, world: World) -> list[dict[str, Any]]:
    """Each case with the policy's answer; those about a thing that is out of the picture are left out."""
    rows, at, image, uv = [], None, np.empty(0), np.empty(0)
    for case in cases:
        if case.seed != at:
            at = case.seed
            _place(world, case, pose)
            image = world.render("front")
            uv = world.project("front", world.truth().object_xyz)
        if case.target is not None and not ((uv[case.target] > 0) & (uv[case.target] < 1)).all():
            continue
        rows.append(
            {
                "kind": case.kind,
                "split": case.split,
                "refused": policy.sees(observation_of(policy, image, case.sentence)) is not None,
            }
        )
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """For each kind how many were refused or accepted wrongly, with 95 % Wilson intervals; of all splits and of each."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        own = [r for r in rows if r["kind"] == kind]
        wrong = [r["refused"] == (kind in THERE) for r in own]
        by_split = defaultdict(list)
        for row, bad in zip(own, wrong, strict=True):
            by_split[row["split"]].append(bad)
        low, high = wilson(sum(wrong), len(wrong))
        found[kind] = {
            "wrong": "refused" if kind in THERE else "accepted",
            "count": sum(wrong),
            "of": len(wrong),
            "rate": round(sum(wrong) / max(1, len(wrong)), 4),
            "interval": [round(low, 4), round(high, 4)],
            "splits": {k: round(float(np.mean(v)), 4) for k, v in sorted(by_split.items())},
        }
    return found


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--policy", help="name or folder; default: both that are shipped")
    parser.add_argument("--robots", nargs="+", help="default: all of the policy")
    parser.add_argument("--scenes", type=int, default=SCENES, help="the first of the kept ones")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {args.policy: args.robots or POLICIES.get(Path(args.policy).name, ("vx300s",))} if args.policy else POLICIES  # fmt: skip
    report: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "kinds": dict.fromkeys(THERE, "is there") | ABSENT,
        "scenes": args.scenes,
        "first_seed": FIRST,
        "sha256": {},
        "policies": {},
    }
    for name, robots in chosen.items():
        for robot in robots:
            cases = cases_of(robot, SCENES)
            report["sha256"][robot] = found = fingerprint(cases)
            if found != HASHES[robot]:
                raise ValueError(f"{robot}: got scenes of {found}, expected {HASHES[robot]}")
            cases = [case for case in cases if case.seed < FIRST + args.scenes]
            policy = load_policy(name, embodiment=robot)
            world = World(robot=robot)
            of_robot = report["policies"].setdefault(name, {}).setdefault(robot, {})
            of_robot["understanding"], of_robot["renderer"] = policy.understanding, world.renderer_name  # fmt: skip
            for pose in POSES:
                of_robot[pose] = summary(refused(policy, cases, pose, world))
                for kind, row in of_robot[pose].items():
                    print(f"{name:<11}{robot:<14}{pose:<6}{kind:<18}{row['wrong']:<9}{row['count']:4} of {row['of']:4} {row['rate']:7.1%}  {row['splits']}", flush=True)  # fmt: skip
            world.close()
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _place(world: World, case: Case, pose: str) -> None:
    scene = sample_scene(case.seed, split=case.split, robot=case.robot)
    if pose == "work":
        place_like_demonstration(world, scene, np.random.default_rng([case.seed, 12]))
    else:
        world.reset(scene)


def observation_of(policy: Policy, image: np.ndarray, sentence: str) -> Observation:
    """The front picture and a sentence; the state does not matter to what it sees."""
    names = policy.contract.state_names
    return Observation(
        images={policy.contract.camera_names[0]: image},
        state=np.zeros(len(names)),
        state_names=names,
        instruction=sentence,
        obs_ns=0,
    )


if __name__ == "__main__":
    raise SystemExit(main())
