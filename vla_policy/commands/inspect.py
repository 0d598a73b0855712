"""Describe a checkpoint folder or policy file: sizes, cameras, state, actions, statistics.

It can also draft a policy file or a robot file from it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.rosetta_contract import draft_robot_file
from vla_policy.formats.describe import describe, skeleton
from vla_policy.formats.fit import Heads
from vla_policy.formats.kinds import OWN
from vla_policy.formats.load import kind_of
from vla_policy.formats.policy_file import read_policy_file
from vla_policy.formats.policy_file_draft import draft
from vla_policy.paths import find_policy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla inspect`."""
    parser.add_argument("path", help="shipped name, checkpoint folder or policy file (.yaml)")
    parser.add_argument(
        "--policy-file", action="store_true", help="print the start of a policy file"
    )
    parser.add_argument(
        "--robot-file",
        action="store_true",
        help="print the start of a robot's file, of a Rosetta contract",
    )
    parser.add_argument(
        "--robot", help="with --policy-file: fill in the names of this robot, by name or YAML file"
    )
    parser.add_argument(
        "--heads", type=int, nargs=3, metavar=("LANGUAGE", "KV", "VISION"),
        help="attention heads, where the sizes are not the published ones",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print; 0 if the folder could be read."""
    if args.robot_file:
        print(draft_robot_file(Path(args.path)), end="")
        return 0
    path = find_policy(args.path)
    file = read_policy_file(path) if path.suffix in (".yaml", ".yml") else None
    folder = path if file is None else file.checkpoint
    heads = None if args.heads is None else Heads(*args.heads)
    if args.policy_file:
        if args.robot is None:
            print(skeleton(folder), end="")
        elif kind_of(folder) == OWN:
            raise ValueError(f"{folder}: a folder of this project needs no policy file")
        else:
            print(draft(folder, kind_of(folder), load_embodiment(args.robot), heads), end="")
        return 0
    if args.robot is not None:
        raise ValueError(
            "--robot: goes with --policy-file; vla check checkpoint compares with a robot"
        )
    print("\n".join(describe(path, folder, file, heads)))
    return 0
