"""Write episodes of a data set as sets of their own: `vla data split SET train=90% test=10% --out FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

from vla_policy.commands.data_progress import progress
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.verbs import split


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla data split`."""
    parser.add_argument("set", type=Path, help="folder of a data set; it stays as it is")
    parser.add_argument(
        "parts",
        nargs="+",
        metavar="NAME=EPISODES",
        help="train=0:80 or train=0,2,5:9, or shares: train=90%%",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the new sets")
    parser.add_argument("--seed", type=int, default=0, help="which episodes a share gets")


def run(args: argparse.Namespace) -> int:
    """Split; 0 on success."""
    parts = {}
    for words in args.parts:
        name, equals, episodes = words.partition("=")
        if not equals or name in parts:
            raise ValueError(f"parts: got {words!r}, expected different NAME=EPISODES")
        parts[name] = episodes
    with progress("copying episodes", len(open_set(args.set).entries)) as tell:
        made = split(args.set, parts, args.out, seed=args.seed, tell=tell)
    for data in made:
        print(f"{data.root}: {len(data.entries)} episodes, {len(data)} frames")
    return 0
