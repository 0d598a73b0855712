"""How many sentences of the evaluation suites are refused: by their words, or by what `tiny` sees with the arm at its start.

    python benchmarks/looking_suites.py --out benchmarks/looking_suites.json

The scenes are those of a run with SEED, drawn by no training and by no other benchmark.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from looking import observation_of

from vla_policy.evaluate.metrics import wilson
from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.policy import load_policy
from vla_policy.sim.world.world import World

SEED, TRIALS = 51, 200
SAID = ("pick_put", "comparative", "push", "swap", "paraphrase")


def main() -> int:
    """Measure, print, write; 1 if more than 3 in 100 are refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each suite")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    policy, world = load_policy("tiny"), World(robot="vx300s")
    report: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "seed": SEED, "suites": {}}  # fmt: skip
    for name in SAID:
        refused = []
        for index in range(args.trials):
            scene, task = trial(SUITES[name], SEED, index)
            world.reset(scene)
            why = policy.sees(observation_of(policy, world.render("front"), task.instruction))
            if why is not None:
                refused.append({"sentence": task.instruction, "why": why.detail})
        report["suites"][name] = {"refused": len(refused), "of": args.trials, "which": refused}
        print(f"{name:<12}{len(refused):4} of {args.trials}", flush=True)
    count, of = (sum(row[key] for row in report["suites"].values()) for key in ("refused", "of"))
    low, high = wilson(count, of)
    report |= {"refused": count, "of": of, "interval": [round(low, 4), round(high, 4)]}
    print(f"all {count} of {of}, {low:.1%} to {high:.1%}")
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return int(count > 0.03 * of)


if __name__ == "__main__":
    raise SystemExit(main())
