"""Say what a data set holds: version, robot, cameras, columns, episodes with their tasks and outcomes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.summary import document, summarise

MOST = 20  # episodes listed without --all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla data info`."""
    parser.add_argument("set", type=Path, help="folder of a data set")
    parser.add_argument("--all", action="store_true", help=f"every episode, not the first {MOST}")
    parser.add_argument("--json", action="store_true", help="every episode, as JSON")


def run(args: argparse.Namespace) -> int:
    """Print; 0 if the set could be read."""
    if args.json:
        print(json.dumps(document(open_set(args.set))))
        return 0
    print("\n".join(summarise(open_set(args.set), most=None if args.all else MOST)))
    return 0
