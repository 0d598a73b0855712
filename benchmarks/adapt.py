"""A policy learns something new from a few demonstrations, and what that costs: adapt.json and fine_tune.json.

    . tools/env.sh && python benchmarks/adapt.py thing --work out/adapt --out benchmarks/adapt.json
    . tools/env.sh && python benchmarks/adapt.py task --work out/touch --out benchmarks/fine_tune.json

thing: `tiny` learns "white" from five generated demonstrations (it was trained on no white thing and does not know the word).
task: `tiny` learns to touch things from above from 50 generated demonstrations, beside 60 of what it could before.
Both by `vla adapt`, tried in closed loop in scenes that no training drew, before and after, with and without preservation.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import played_graph as played

NEW_SEED, OLD_SEED = (
    9,
    8,
)  # of demonstrations; scenes of trials have other seeds (evaluate/suites.py)
SUITES = {"thing": "new_object", "task": "touch"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=sorted(SUITES))
    parser.add_argument("--work", type=Path, required=True, help="folder of data and policies")
    parser.add_argument("--demonstrations", type=int, help="5 of a thing, 50 of a task")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    count = args.demonstrations or {"thing": 5, "task": 50}[args.case]
    shown = {"thing": ["--split", "new_object"], "task": ["--family", "touch"]}[args.case]
    new = generated(args, "new", count, NEW_SEED, shown)
    line = [
        "vla",
        "adapt",
        "--policy",
        "tiny",
        "--data",
        str(new),
        "--out",
        str(args.work / "run"),
    ]
    line += ["--without", "--trials", str(args.trials), "--new-suite", SUITES[args.case]]
    line += ["--workers", str(args.workers)]
    if args.case == "task":
        line += ["--replay", str(generated(args, "old", 60, OLD_SEED, []))]
    for name in ("steps", "rate"):
        if getattr(args, name) is not None:
            line += [f"--{name}", str(getattr(args, name))]
    subprocess.run(line, check=True)
    found = json.loads((args.work / "run" / "report.json").read_text())
    report = {
        **played.heading(load),
        "demonstrations": f"{count}, generated (`vla generate episodes`)",
        **found,
    }
    print(json.dumps(report["learned"], indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
        args.out.with_suffix(".md").write_text((args.work / "run" / "report.md").read_text())
    return 0


def generated(args: argparse.Namespace, name: str, count: int, seed: int, more: list[str]) -> Path:
    """A set of demonstrations of the scripted expert, made once."""
    folder = args.work / name
    line = [
        "vla",
        "generate",
        "episodes",
        "--count",
        str(count),
        "--seed",
        str(seed),
        "--out",
        str(folder),
    ]
    subprocess.run(
        [*line, "--raycast-share", "0", "--workers", str(args.workers), *more], check=True
    )
    return folder


if __name__ == "__main__":
    sys.exit(main())
