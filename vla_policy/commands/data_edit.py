"""Write a data set without some episodes, with other texts for its tasks, or other names.

The set is unchanged and the new one is written to --out. With --in-place it is replaced, and kept
beside it as <name>.undo, which --undo restores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vla_policy.commands.data_progress import progress
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.rewrite import Changes
from vla_policy.data.lerobot.verbs import edit, undo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla data edit`."""
    parser.add_argument("set", type=Path, help="folder of a data set")
    parser.add_argument("--delete", default="", metavar="EPISODES", help="3 or 0:5 or 3,7,10:12")
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="other words for a task; may be repeated",
    )
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="another name for a camera or feature",
    )
    parser.add_argument("--robot", default="", help="another name for the robot")
    parser.add_argument("--out", type=Path, help="folder of the changed set")
    parser.add_argument(
        "--in-place", action="store_true", help="replace the set, keeping <name>.undo"
    )
    parser.add_argument("--undo", action="store_true", help="take back the last --in-place")


def run(args: argparse.Namespace) -> int:
    """Edit; 0 on success."""
    changes = Changes(_pairs("--task", args.task), _pairs("--rename", args.rename), args.robot)
    asked = bool(args.delete or args.task or args.rename or args.robot)
    if (args.out is not None) + args.in_place + args.undo != 1:
        raise ValueError("where: expected one of --out, --in-place and --undo")
    if args.undo and asked:
        raise ValueError("--undo: got changes as well, expected it alone")
    if args.undo:
        data = undo(args.set)
    elif not asked:
        raise ValueError("nothing to change: expected --delete, --task, --rename or --robot")
    else:
        with progress("copying episodes", len(open_set(args.set).entries)) as tell:
            data = edit(args.set, args.out, args.delete, changes, tell)
    print(f"{data.root}: {len(data.entries)} episodes, {len(data)} frames")
    return 0


def _pairs(option: str, words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in words:
        old, equals, new = pair.partition("=")
        if not equals or not old.strip() or not new.strip() or old in found:
            raise ValueError(f"{option}: got {pair!r}, expected different OLD=NEW")
        found[old] = new.strip()
    return found
