"""Bags to a LeRobot data set, sets of older versions to v3.0, shards of `vla generate` to a set and back."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_policy.commands.ray_session import require_ray
from vla_policy.commands.ray_tasks import add_ray_argument, in_order
from vla_policy.data.conversion.bags import Options
from vla_policy.data.conversion.sources import SET, SHARDS
from vla_policy.data.convert import convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla data convert`."""
    parser.add_argument(
        "sources", type=Path, nargs="+", help="bags or folders of bags, a data set, or shards"
    )
    parser.add_argument("destination", type=Path, help="the set; one that is begun goes on")
    parser.add_argument("--to", choices=(SET, SHARDS), default=SET, help="what to make")
    parser.add_argument("--robot", help="name or file, of bags that do not say it")
    parser.add_argument(
        "--fps", type=int, help="frames per second; default: the robot's policy_hz"
    )
    parser.add_argument("--task", default="", help="what was to be done, in words")
    parser.add_argument("--namespace", default="", help="of the robot's topics; found by itself")
    parser.add_argument("--workers", type=int, default=0, help="processes; default: one a core")
    add_ray_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Convert; 0 if all conversions succeeded."""
    tasks = None
    if args.ray:
        require_ray()
        tasks = partial(in_order, workers=args.workers or os.cpu_count() or 1)
    options = Options(args.robot, args.fps, args.task, args.namespace, args.workers, tasks)
    columns = (TextColumn("converting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("converting", total=None)
        outcome = convert(
            args.sources,
            args.destination,
            options,
            to=args.to,
            tell=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    for sentence in outcome.notes:
        print(sentence)
    for sentence in outcome.problems:
        print(f"not converted: {sentence}", file=sys.stderr)
    before = f", {outcome.skipped} were there already" if outcome.skipped else ""
    print(f"{args.destination}: {outcome.episodes} episodes of {outcome.frames} frames added{before}")  # fmt: skip
    return 1 if outcome.problems else 0
