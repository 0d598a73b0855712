"""Find what is wrong with recorded data: a LeRobot set (v2.0 to v3.1), shards, bags, or a recording.

Each finding has its episode and frame and what to do about it. Exit code 1 if there is an error.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vla_policy.check.guide import read_on
from vla_policy.check.report import format_findings
from vla_policy.commands.data_progress import counted
from vla_policy.data.checks.source import check_data
from vla_policy.embodiment.findings import errors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla data check`."""
    parser.add_argument("set", type=Path, help="data set, shards, bag, folder of bags, recording")
    parser.add_argument("--robot", help="name or file; default: the one that the data name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there too")
    parser.add_argument("--quick", action="store_true", help="do not decode images")
    parser.add_argument("--workers", type=int, default=0, help="processes; default: one a core")
    parser.add_argument("--strict", action="store_true", help="exit code 1 for warnings too")


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 if there is an error."""
    with counted("checking") as tell:
        found = check_data(args.set, args.robot, quick=args.quick, workers=args.workers, tell=tell)
    print(format_findings((f.finding(str(args.set)) for f in found), str(args.set)))
    if found:
        print(read_on("data"))
    if args.json is not None:
        wrong = errors(f.finding("") for f in found)
        document = {
            "path": str(args.set),
            "errors": len(wrong),
            "warnings": len(found) - len(wrong),
            "findings": [f.document() for f in found],
        }
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if (found if args.strict else errors(f.finding("") for f in found)) else 0
