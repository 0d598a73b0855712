"""`vla teleop DEVICE`: drive the running robot with a gamepad, SpaceMouse, keys, tracked hand or leader arm.

It starts the teleop node in the running graph, for the robot that runs there, and takes over with
--take-over or the device's button. Ctrl-C ends it: the robot holds, and stays teleoperated until
it is handed back.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from vla_policy.commands.up import end_as_ctrl_c
from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import teleop_spec
from vla_policy.ros.bringup.processes import Processes, stop_all
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.keys import KEYS, drive_with_keys
from vla_policy.ros.operator.running_robot import running_robot
from vla_policy.ros.process.notes import namespace_of
from vla_policy.teleop.device_file import device_names, load_device

POLL_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla teleop`."""
    parser.add_argument("device", help=f"{', '.join(device_names())}, or a .yaml file")
    parser.add_argument("--arm", default="", help="action group, of a robot with several arms")
    parser.add_argument("--take-over", action="store_true", help="take over at once")
    parser.add_argument("--domain", type=int, metavar="N", help="ROS domain of the robot")
    parser.add_argument("--namespace", help="of the robot's nodes")


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C; 1 if the node ends by itself."""
    device = load_device(args.device)
    space = None if args.namespace is None else namespace_of(args.namespace)
    domain, space = session.join(args.domain, space)
    end_as_ctrl_c()
    processes = Processes(lambda name, line: print(f"{name} | {line}", flush=True))
    with Client("teleop_verb", namespace=space) as client:
        robot = running_robot(client, domain)
        spec = teleop_spec(
            robot.embodiment,
            args.device,
            arm=args.arm,
            use_sim_time=robot.use_sim_time,
            namespace=space,
        )
        try:
            processes.start([spec])
            if args.take_over:
                print(client.press("take_over") or "teleoperated")
            if device.kind == "keyboard" and sys.stdin.isatty():
                print(KEYS)
                drive_with_keys(client, device, robot, lambda: not processes.ended(), print)
            return _wait(lambda: not processes.ended())
        except KeyboardInterrupt:
            return 0
        finally:
            stop_all(processes)


def _wait(goes_on: Callable[[], bool]) -> int:
    while goes_on():
        time.sleep(POLL_S)
    print("vla teleop: the node has ended", file=sys.stderr)
    return 1
