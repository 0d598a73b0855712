"""Compute the statistics of a data set from all its data, with true quantiles, and put them into meta/stats.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from vla_policy.commands.data_progress import progress
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.durable import lock_folder, replace_json
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.set_statistics import true_statistics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla data stats`."""
    parser.add_argument("set", type=Path, help="folder of a data set")
    parser.add_argument("--dry-run", action="store_true", help="print them, change nothing")


def run(args: argparse.Namespace) -> int:
    """Compute, write or print; 0 if everything could be read."""
    data = open_set(args.set)
    if data.version.startswith("v2.1") and not args.dry_run:
        raise ValueError(
            f"{args.set}: a set of version v2.1 keeps statistics by episode; `vla data convert` makes it v3.0"
        )
    with progress("reading episodes", len(data.entries)) as tell:
        stats = true_statistics(data, tell)
    if not args.dry_run:
        with lock_folder(args.set / layout.STAGING):
            replace_json(args.set / layout.STATS, stats)
    for name, found in stats.items():
        print(f"{name}: count {found['count'][0]}")
        print(
            *(
                f"  {key:<5}{_short(found[key])}"
                for key in ("min", "q01", "q50", "q99", "max", "mean", "std")
            ),
            sep="\n",
        )
    return 0


def _short(values: object) -> str:
    flat, level = [], [values]
    while level:
        item = level.pop(0)
        if isinstance(item, list):
            level = [*item, *level]
        else:
            flat.append(f"{item:.4g}")
    return " ".join(flat)
