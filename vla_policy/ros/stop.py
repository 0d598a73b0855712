"""`vla stop`: stop the running robot; it stays stopped until `vla stop --reset`."""

from __future__ import annotations

import argparse

from vla_policy.ros import session
from vla_policy.ros.client import Client


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla stop`."""
    parser.add_argument("--reset", action="store_true", help="lift an earlier stop instead")
    parser.add_argument("--namespace", default="", help="of the robot's nodes")


def run(args: argparse.Namespace) -> int:
    """Call control/stop or control/reset; 0 if it was accepted."""
    session.join()
    with Client("stop", namespace=args.namespace) as client:
        message = client.reset() if args.reset else client.stop()
    print(message or ("reset" if args.reset else "stopped"))
    return 0
