"""An observer of what the robot's controllers play while all goes wrong: is it always within limits?

Random stalls, jumps of the clock, restarts, mode changes, hands and hostile policies drive the control
node's own code in virtual time; every message is played as its real controller would, and the motion is
judged by rules that are read from the robot file alone. A million ticks take about a quarter of an hour on two
cores.

. tools/env.sh && python benchmarks/observe_motion.py --ticks 1000000 --out benchmarks/observe_motion.json
. tools/env.sh && python benchmarks/observe_motion.py --scenario 17 --verbose
. tools/env.sh && python benchmarks/observe_motion.py --seeded-faults --out benchmarks/observe_motion_faults.json
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from observer import faults
from observer.report import about, account_of, picture, report
from observer.run import everything


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--scenario", type=int, help="one scenario alone, by its number")
    parser.add_argument("--seeded-faults", action="store_true", help="plant faults: is each seen?")
    parser.add_argument("--verbose", action="store_true", help="with --scenario: every message")
    parser.add_argument("--picture", type=Path, help="with --scenario: a PNG; needs matplotlib")
    args = parser.parse_args()
    if args.scenario is not None:
        return _one(args)
    started = time.monotonic()
    if args.seeded_faults:
        return _faults(args, started)
    totals = everything(args.ticks, args.seed, args.processes)
    found = report(totals, args.seed, time.monotonic() - started)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{found['ticks']} ticks, {found['violations']} violations in {found['seconds']} s")
    for rule, count in found["per_rule"].items():
        if count:
            first = found["examples"][rule][0]
            print(f"  {rule}: {count}, first in scenario {first['scenario']} ({first['robot']}): {first['words']}")  # fmt: skip
    return 1 if found["violations"] else 0


def _faults(args, started) -> int:
    found = faults.every(args.seed)
    missed = [name for name, r in found.items() if not r["seen"] and "blind" not in r]
    summary = {
        **about(args.seed, time.monotonic() - started),
        "faults": len(found),
        "seen": sum(r["seen"] for r in found.values()),
        "blind": sum("blind" in r for r in found.values()),
        "missed": missed,
        "results": found,
    }
    if args.out:
        args.out.write_text(json.dumps(summary, indent=1) + "\n")
    print(
        f"{summary['seen']} of {summary['faults']} seen, {summary['blind']} cannot be, missed: {missed}"
    )
    return 1 if missed else 0


def _one(args) -> int:
    lines = account_of(args.scenario, args.seed)
    shown = (
        lines if args.verbose else [lines[0], *(line for line in lines[1:] if " <- " not in line)]
    )
    print("\n".join(shown))
    if args.picture:
        picture(args.scenario, args.seed, args.picture)
    return 1 if any("!!" in line for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
