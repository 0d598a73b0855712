"""`vla up`: run the node graph of a robot, real or simulated, until Ctrl-C."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time

from vla_policy.check.doctor.domains import discovery_range, domain_in_use
from vla_policy.commands.page_arguments import add_page_arguments, page_settings
from vla_policy.embodiment import load_embodiment
from vla_policy.execution.schemes import SCHEMES
from vla_policy.paths import find_policy, split_adapter
from vla_policy.planners.planner_name import require_planner
from vla_policy.remote.address import is_remote
from vla_policy.ros.bringup.graph import node_specs, sim_mode
from vla_policy.ros.bringup.processes import Processes, stop_all, stop_on_sigterm
from vla_policy.ros.process import notes
from vla_policy.ros.process.notes import namespace_of
from vla_policy.runtime.planning import NONE, PLANNERS
from vla_policy.sim.twin import EXPERT

POLL_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla up`."""
    parser.add_argument(
        "embodiment", nargs="?", default="vx300s", help="robot, by name or YAML file"
    )
    parser.add_argument("--sim", action="store_true", help="simulate the robot, or mock it")
    parser.add_argument(
        "--mock", action="store_true", help="a mock instead of the robot, no physics"
    )
    parser.add_argument("--shadow", action="store_true", help="commands below shadow/ only")
    parser.add_argument("--scheme", default="receding", choices=tuple(SCHEMES), help="of chunks")
    add_policy_arguments(parser)
    parser.add_argument(
        "--record", default="", metavar="FOLDER", help="record takes there; see `vla record`"
    )
    parser.add_argument(
        "--markers", action="store_true", help="draw chunks and commands for RViz and Foxglove"
    )
    parser.add_argument(
        "--teleop",
        default="",
        metavar="DEVICE",
        help="a person may take over with it; keyboard: from the operator's page",
    )
    parser.add_argument(
        "--black-box",
        default="",
        metavar="FOLDER",
        help="the last hours of commands, states and refusals",
    )
    parser.add_argument(
        "--planner",
        default=NONE,
        metavar="PLANNER",
        help=f"who splits long instructions into sub-tasks: {PLANNERS}",
    )
    parser.add_argument(
        "--planner-model", default="", metavar="NAME", help="the model on the planner's server"
    )
    parser.add_argument(
        "--head",
        default="auto",
        choices=("auto", "flow", "token"),
        help="action head; auto: the first that there is",
    )


def add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that `vla up` and `vla demo` share."""
    parser.add_argument("--policy", default="tiny", help="checkpoint, by shipped name or folder")
    parser.add_argument("--device", default="cpu", help="torch device of the policy")
    parser.add_argument("--seed", type=int, default=0, help="of scenes and of the policy's noise")
    parser.add_argument("--renderer", default="auto", choices=("auto", "egl", "osmesa", "raycast"))
    add_page_arguments(parser)
    parser.add_argument("--namespace", default="", help="of all nodes, for several robots")


def run(args: argparse.Namespace) -> int:
    """0 after Ctrl-C, 1 if a node ended by itself."""
    require_ros()
    robot = load_embodiment(args.embodiment)
    page = page_settings(args)
    require_planner(args.planner, args.planner_model)
    _require_policy(args.policy)
    stands_in = sim_mode(args.embodiment, "mock" if args.mock else str(args.sim).lower())
    specs = node_specs(
        args.embodiment,
        policy=args.policy,
        head=args.head,
        device=args.device,
        scheme=args.scheme,
        shadow=args.shadow,
        sim=stands_in["sim"],
        mock=stands_in["mock"],
        seed=args.seed,
        renderer=args.renderer,
        web_port=page.port or None,
        web=page.parameters(),
        record=args.record,
        markers=args.markers,
        black_box=args.black_box,
        teleop=args.teleop,
        planner=args.planner,
        planner_model=args.planner_model,
        namespace=args.namespace,
    )
    width = max(len(spec.name) for spec in specs)
    processes = Processes(lambda name, line: print(f"{name:>{width}} | {line}", flush=True))
    announce(robot.name, page.port, namespace_of(args.namespace))
    stop_on_sigterm()
    try:
        processes.start(specs)
        return _watch(processes)
    except KeyboardInterrupt:
        return 0
    finally:
        stop_all(processes)
        notes.withdraw()


def _require_policy(name: str) -> None:
    """Raises FileNotFoundError for what is no policy at all; whether it fits the robot is the node's to say."""
    if name != EXPERT and not is_remote(name):
        find_policy(split_adapter(name)[0])


def announce(robot: str, web_port: int, space: str) -> None:
    """Write a note about the graph for `vla say` and `vla stop`; print if that fails."""
    try:
        graph = notes.Session(
            os.getpid(),
            domain_in_use(),
            web_port or None,
            robot,
            space,
            discovery=discovery_range(),
        )
        notes.announce(graph)
    except (OSError, ValueError) as error:
        print(f"no note for `vla say` and `vla stop`, which will look longer: {error}",
              file=sys.stderr)  # fmt: skip


def _watch(processes: Processes) -> int:
    while True:
        ended = processes.ended()
        if ended:
            names = ", ".join(f"{name} (exit code {code})" for name, code in ended.items())
            print(f"vla up: {names} ended; stopping the others", file=sys.stderr)
            return 1
        time.sleep(POLL_S)


def end_as_ctrl_c() -> None:
    """Treat SIGTERM and a closed terminal like Ctrl-C."""
    stop_on_sigterm()
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))


def require_ros() -> None:
    """Raises ModuleNotFoundError here instead of in each of the nodes."""
    for name in ("rclpy", "vla_policy.msg"):
        importlib.import_module(name)
