"""What a stricter or a looser least score would do: of things that are not there how many are taken for there, against how many
that are there are refused, on scenes from which neither weights nor scores were chosen.

    python benchmarks/looking_curve.py --out benchmarks/looking_curve.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from looking import POLICIES

from vla_policy.evaluate.metrics import wilson
from vla_policy.policy import load_policy
from vla_policy.train.tiny.naming import measure
from vla_policy.train.tiny.pictures import render

FIRST, SCENES = 720_000, 1000
REFUSED = (0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.1)  # of what is there


def part(wrong: np.ndarray) -> dict[str, Any]:
    """How many, of how many, the rate and its 95 % interval."""
    count, of = int(wrong.sum()), len(wrong)
    low, high = wilson(count, of)
    return {"count": count, "of": of, "rate": round(count / of, 4), "interval": [round(low, 4), round(high, 4)]}  # fmt: skip


def curve(name: str, robot: str, scenes: int) -> dict[str, Any]:
    """By kind: the shipped least score, then one for each part of REFUSED."""
    checkpoint = load_policy(name, embodiment=robot).checkpoint
    if checkpoint.naming is None or checkpoint.language is None or not checkpoint.language.least:
        raise ValueError(f"{name}: got no head that looks")
    pictures = render(robot, FIRST, scenes, works=False)
    found: dict[str, Any] = {}
    for kind, (there, absent) in measure(checkpoint.model.vision, checkpoint.naming, pictures).items():  # fmt: skip
        shipped = checkpoint.language.least[kind]
        levels = [("shipped", shipped)]
        levels += [(f"{q:.1%}", float(np.quantile(there, q))) for q in REFUSED]
        found[kind] = [
            {"at": at, "least": round(least, 4), "there_refused": part(there < least), "absent_accepted": part(absent >= least)}
            for at, least in levels
        ]  # fmt: skip
    return found


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "scenes": args.scenes,
        "first_seed": FIRST,
        "policies": {},
    }
    for name, robots in POLICIES.items():
        for robot in robots:
            found = report["policies"].setdefault(name, {})[robot] = curve(
                name, robot, args.scenes
            )
            for kind, rows in found.items():
                for row in rows:
                    print(f"{name:<11}{robot:<14}{kind:<7}{row['at']:<8}least {row['least']:.3f} refused {row['there_refused']['rate']:6.1%} accepted {row['absent_accepted']['rate']:6.1%}", flush=True)  # fmt: skip
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
