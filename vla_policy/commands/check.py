"""Report faults of a robot file, of a checkpoint for a robot, or of the topics of a running robot.

Each finding has its file and line and what to change. Exit code 1 if there is an error.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from vla_policy.check.checkpoint import check_checkpoint
from vla_policy.check.embodiment import check_embodiment
from vla_policy.check.guide import read_on
from vla_policy.check.report import format_findings, print_topics
from vla_policy.embodiment.embodiment_file import read_embodiment_file
from vla_policy.embodiment.findings import Finding, errors

WIDTH = 120  # of the table in a file or pipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla check`."""
    kinds = parser.add_subparsers(dest="kind", required=True)
    robot = "robot, by name in config/embodiments or path of its YAML file"
    embodiment = kinds.add_parser("embodiment", help="a robot file; needs no ROS and no robot")
    embodiment.add_argument("robot", help=robot)
    embodiment.add_argument("--model", type=Path, help="URDF or MJCF to compare it with")
    checkpoint = kinds.add_parser("checkpoint", help="whether a checkpoint fits a robot")
    checkpoint.add_argument("policy", help="shipped name, folder, or policy file")
    checkpoint.add_argument("--robot", help=f"{robot}; without it the one it was trained for")
    topics = kinds.add_parser("topics", help="a running robot: listens, sends nothing")
    topics.add_argument("robot", help=robot)
    topics.add_argument("--seconds", type=float, default=3.0, metavar="S", help="how long (3)")
    topics.add_argument("--namespace", default="", help="of the robot's nodes")
    for kind in (embodiment, checkpoint, topics):
        kind.add_argument("--strict", action="store_true", help="exit code 1 for warnings too")


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 if there is an error."""
    found: Sequence[Finding]
    if args.kind == "embodiment":
        found = check_embodiment(args.robot, model=args.model)
        print(format_findings(found, str(args.robot)))
    elif args.kind == "checkpoint":
        found = check_checkpoint(args.policy, args.robot)
        print(format_findings(found, f"{args.policy} on {args.robot or 'its robot'}"))
    else:
        found = _topics(args)
    if found:
        print(read_on(args.kind))
    return 1 if (found if args.strict else errors(found)) else 0


def _topics(args: argparse.Namespace) -> Sequence[Finding]:
    from rich.console import Console

    from vla_policy.check.topics import check_topics
    from vla_policy.ros.bringup import session
    from vla_policy.ros.operator.topic_probe import probe  # needs ROS; the other checks do not

    if not 0.5 <= args.seconds <= 600:
        raise ValueError(f"--seconds: got {args.seconds:g}, expected 0.5 to 600")
    sheet = read_embodiment_file(args.robot)
    domain = session.join()
    heard = probe(sheet.robot, seconds=args.seconds, namespace=args.namespace)
    found = check_topics(heard, sheet)
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=WIDTH)
    print_topics(heard, found, console)
    print(format_findings(found, f"{args.robot} in ROS domain {domain}"))
    return found
