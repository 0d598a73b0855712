"""List a robot's instructions, control modes, refusals and holds from a bag or a black box."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from vla_policy.data.bag.reader import Bag, is_bag, open_bag
from vla_policy.data.black_box import segments
from vla_policy.data.events import Event, events
from vla_policy.timing import s_from_ns

YEAR_S = 365 * 24 * 3600.0  # a smaller clock value is a simulation's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla data events`."""
    parser.add_argument("bag", type=Path, help="bag, or folder of a black box")
    parser.add_argument("--last", type=float, metavar="S", help="of the last S seconds alone")
    parser.add_argument(
        "--guard", action="store_true", help="with every change of a tick's reasons"
    )


def run(args: argparse.Namespace) -> int:
    """Print; 0 if everything could be read."""
    bags = _bags(args.bag)
    found = [event for event in events(bags) if args.guard or event.kind != "guard"]
    since_ns = found[-1].received_ns - round(args.last * 1e9) if args.last and found else 0
    for event in found:
        if event.received_ns >= since_ns:
            print(_line(event))
    if not found:
        print(f"{args.bag}: no instruction, status or outcome in {len(bags)} bags")
    for bag in bags:
        if bag.unfinished:
            print(f"{bag.path}: {bag.unfinished}")
    return 0


def _bags(path: Path) -> list[Bag]:
    if path.is_dir() and not is_bag(path):
        found = segments(path)
        if not found:
            raise FileNotFoundError(
                f"{path}: got no bag in it, expected a bag or a black box's folder"
            )
        return [open_bag(segment) for segment in found]
    return [open_bag(path)]


def _line(event: Event) -> str:
    seconds = s_from_ns(event.received_ns)
    when = f"{seconds:12.3f}"
    if seconds > YEAR_S:
        when = datetime.fromtimestamp(seconds).isoformat(" ", "milliseconds")
    return f"{when}  {event.robot + ' ' if event.robot else ''}{event.kind:<8} {event.text}"
