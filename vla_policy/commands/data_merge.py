"""Write several data sets, of any version that is read, as one of version 3.0. Videos are copied, not encoded again."""

from __future__ import annotations

import argparse
from pathlib import Path

from vla_policy.commands.data_progress import progress
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.verbs import merge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla data merge`."""
    parser.add_argument("sets", type=Path, nargs="+", help="folders of data sets, in order")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new set")


def run(args: argparse.Namespace) -> int:
    """Merge; 0 on success."""
    with progress("copying episodes", sum(len(open_set(s).entries) for s in args.sets)) as tell:
        data = merge(args.sets, args.out, tell)
    print(f"{args.out}: {len(data.entries)} episodes, {len(data)} frames of {len(args.sets)} sets")
    return 0
