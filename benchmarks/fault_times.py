"""Reaction times to every fault of test/ros/faults: from the fault to the last command that moved the robot.

Runs those tests, which play a robot and start the real nodes, and collects what they measured. A
bound that is missed fails its test, and this program. With --out of a whole run that passed, the column
"measured" of docs/safety.md is written as well.

. tools/env.sh && python benchmarks/fault_times.py --out benchmarks/fault_times.json
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fault_table import with_measured

ROOT = Path(__file__).parents[1]
TESTS, PAGE = ROOT / "test" / "ros" / "faults", ROOT / "docs" / "safety.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--select", default="", help="as pytest's -k")
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times.json"
        command = ["pytest", "-q", str(TESTS), "-k", args.select]  # not -m: it imports the sources
        failed = subprocess.run(
            command, env={**os.environ, "FAULT_TIMES": str(times)}, check=False
        ).returncode
        faults = json.loads(times.read_text()) if times.is_file() else {}
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version()},
        "seconds": round(time.monotonic() - started, 1),
        "all_survived": failed == 0,
        "faults": faults,
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
        if not failed and not args.select:
            PAGE.write_text(with_measured(PAGE.read_text(), faults))
    return failed


if __name__ == "__main__":
    sys.exit(main())
