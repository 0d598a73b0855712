"""Write the SROS2 security policy of a robot's graph: every node may use its own topics and services, and no others."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vla_policy.embodiment import load_embodiment
from vla_policy.ros.bringup.graph import OPERATOR, enclave_of, node_specs, sim_mode
from vla_policy.ros.bringup.security_policy import security_policy
from vla_policy.ros.process.notes import namespace_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla security`."""
    parser.add_argument("embodiment", help="robot, by name or YAML file")
    parser.add_argument("--sim", action="store_true", help="with the simulated robot, or its mock")
    parser.add_argument("--mock", action="store_true", help="with the mock")
    parser.add_argument("--shadow", action="store_true", help="commands below shadow/ only")
    parser.add_argument("--record", action="store_true", help="with the recorder")
    parser.add_argument("--markers", action="store_true", help="with the markers node")
    parser.add_argument("--black-box", action="store_true", help="with the black box")
    parser.add_argument("--teleop", default="", metavar="DEVICE", help="with that teleop device")
    parser.add_argument("--no-web", action="store_true", help="without the operator's page")
    parser.add_argument("--namespace", default="", help="of all nodes")
    parser.add_argument("--out", type=Path, help="file to write; none: standard output")


def run(args: argparse.Namespace) -> int:
    """Print or write the policy, then the commands that enable it."""
    stands_in = sim_mode(args.embodiment, "mock" if args.mock else str(args.sim).lower())
    specs = node_specs(
        args.embodiment,
        sim=stands_in["sim"],
        mock=stands_in["mock"],
        shadow=args.shadow,
        record="recordings" if args.record else "",
        markers=args.markers,
        black_box="black_box" if args.black_box else "",
        teleop=args.teleop,
        web_port=None if args.no_web else 8765,
        namespace=args.namespace,
    )
    text = security_policy(specs, load_embodiment(args.embodiment))
    if args.out is None:
        print(text, end="")
        return 0
    args.out.write_text(text)
    space = namespace_of(args.namespace)
    print(f"policy: {args.out}, {len(specs) + 1} enclaves. Put it into force with")
    print("  ros2 security create_keystore keystore")
    for name in (*(spec.name for spec in specs), OPERATOR):
        print(f"  ros2 security create_enclave keystore {enclave_of(space, name)}")
        print(f"  ros2 security create_permission keystore {enclave_of(space, name)} {args.out}")
    print("then start everything with", file=sys.stdout)
    print(
        "  export ROS_SECURITY_KEYSTORE=$PWD/keystore ROS_SECURITY_ENABLE=true ROS_SECURITY_STRATEGY=Enforce"
    )
    return 0
