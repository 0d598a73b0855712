"""Faults planted in data sets at random places, and which of them `vla data check` finds: benchmarks/data_check.json.

    python benchmarks/data_check.py --times 20 --out benchmarks/data_check.json
    python benchmarks/data_check.py --set recorded/ --times 20 --out FILE    # in copies of a set of vx300s

Without --set one set is made for the purpose. Of each fault: planted, found with the right episode, at the right frame, and
findings that were not planted. What the set has before anything is planted is no false alarm; it is in the report too.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "helpers"))
from clean_sets import clean_set
from data_faults import FAULTS

from vla_policy.data.checks.finding import DataFinding
from vla_policy.data.checks.source import check_data
from vla_policy.data.lerobot.reader import open_set

LENGTHS = (30, 44, 36, 52, 40, 33)


def key(finding: DataFinding) -> tuple[object, ...]:
    return finding.code, finding.episode, finding.frame


def plant(
    clean: Path, fault: str, seed: int, before: set, scratch: Path
) -> tuple[bool, bool, list[str], str]:
    """(found, at the right frame, codes of what else was found, what was expected)."""
    root = scratch / "set"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(clean, root)
    code, episode, frame = FAULTS[fault](root, np.random.default_rng([seed, len(fault)]))
    found = check_data(root, workers=1)
    right = [f for f in found if (f.code, f.episode) == (code, episode)]
    exact = [f for f in right if frame is None or f.frame == frame]
    more = [f for f in found if f not in right and key(f) not in before]
    expected = (
        f"{code} in episode {episode}, frame {frame}; got {sorted(map(str, map(key, found)))}"
    )
    return bool(right), bool(exact), [f.code for f in more], expected


def measure(clean: Path, times: int, first: int) -> dict:
    before_findings = check_data(clean, workers=1)
    before = {key(f) for f in before_findings}
    report: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for fault in FAULTS:
            tally: Counter[str] = Counter()
            others: Counter[str] = Counter()
            missed = []
            for seed in range(first, first + times):
                found, exact, more, expected = plant(clean, fault, seed, before, Path(folder))
                tally["planted"] += 1
                tally["found"] += found
                tally["at_the_frame"] += exact
                others.update(more)
                if not found or not exact or more:
                    missed.append(f"seed {seed}: {expected}")
            report[fault] = {k: tally[k] for k in ("planted", "found", "at_the_frame")}
            report[fault]["false_alarms"] = dict(others)
            if missed:
                report[fault]["not_exact"] = missed[:5]
            print(fault, report[fault], flush=True)
    total = {k: sum(r[k] for r in report.values()) for k in ("planted", "found", "at_the_frame")}
    total["false_alarms"] = sum(sum(r["false_alarms"].values()) for r in report.values())
    data = open_set(clean)
    return {
        "set": f"{len(data.entries)} episodes, {len(data)} frames, cameras {', '.join(data.cameras)}",
        "before": [f"{f.code}: {f.says}" for f in before_findings],
        "total": total,
        "faults": report,
    }


def speed(clean: Path) -> dict:
    """Frames a second of one process, with and without decoding."""
    data, found = open_set(clean), {}
    for name, quick in (("decoding", False), ("quick", True)):
        begin = time.process_time()
        check_data(clean, workers=1, quick=quick)
        found[f"{name}_cpu_ms_a_frame"] = round(
            1000 * (time.process_time() - begin) / len(data), 3
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", type=Path)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clean = args.set or clean_set(Path(folder) / "clean", LENGTHS)
        report = {"command": " ".join(["python", *sys.argv])}
        report |= measure(clean, args.times, args.seed) | {"speed": speed(clean)}
    print(json.dumps(report["total"]))
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
