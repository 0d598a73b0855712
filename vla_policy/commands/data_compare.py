"""Run a policy over a set's recorded observations: its error by column and time, before it moves anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from vla_policy.data.lerobot.reader import open_set
from vla_policy.embodiment import load_embodiment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla data compare`."""
    parser.add_argument("policy", help="name of a shipped policy, or a checkpoint folder")
    parser.add_argument("set", help="folder of the data set")
    parser.add_argument("--embodiment", default="vx300s", help="the robot, by name or file")
    parser.add_argument("--head", help="flow or token")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--episodes", type=int, metavar="N", help="the first N alone")
    parser.add_argument("--every", type=int, default=5, metavar="N", help="frames between two")
    parser.add_argument("--out", type=Path, default=Path("compare.png"), help="the picture")


def run(args: argparse.Namespace) -> int:
    """Print the table and write the image."""
    if args.every < 1 or (args.episodes is not None and args.episodes < 1):
        raise ValueError(
            f"got --every {args.every}, --episodes {args.episodes}, expected 1 or more"
        )
    found = open_set(args.set)
    robot = load_embodiment(args.embodiment)
    from vla_policy.evaluate.error_picture import write_picture
    from vla_policy.evaluate.recorded import compare, table
    from vla_policy.policy import load_policy

    policy = load_policy(args.policy, embodiment=robot.name, head=args.head, device=args.device)
    count = len(found.entries) if args.episodes is None else args.episodes
    episodes = range(min(count, len(found.entries)))
    errors = compare(policy, found, robot, episodes=episodes, every=args.every)
    print(f"{len(errors.at_s)} observations of {len(episodes)} episodes; m, rad, share of opening")
    print("\n".join(table(errors)))
    write_picture(args.out, errors)
    print(f"wrote {args.out}")
    return 0
