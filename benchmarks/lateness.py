"""How late commands at 100 Hz are while the policy process keeps a core busy.

The real nodes in their own processes: a mock robot (joint states at 100 Hz, two cameras), the policy node
with a thread that multiplies matrices all the time and a model that answers at once, control at 100 Hz, task.
The control node's timer has a fixed grid; its phase is taken from the earliest of all commands. For each
command, in ms after its tick was due:

sent     its stamp, taken when the tick begins
arrived  when this program, which subscribes to the command, hears it

A tick that never came counts as late by the whole periods that are missing.

. tools/env.sh && python benchmarks/lateness.py --out benchmarks/lateness.json
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import played_graph as played
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from vla_policy.ros import convert, session
from vla_policy.ros.graph import NodeSpec, node_specs

LIMIT_MS = 2.0
EARLY = 0.15
TOPIC = "target_pose"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--hz", type=float, default=100.0)
    parser.add_argument("--work", default="busy", choices=("busy", "tiny", "none"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    session.join_or_isolate()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "nodes.log").open("w") as log:
        hz = {"command_hz: 50": f"command_hz: {args.hz:g}"}
        specs = node_specs(
            played.described(Path(folder), "vx300s_fast", hz), mock=True, web_port=None
        )
        processes = played.start([_fast(spec, args.hz) for spec in specs], args.work, log)
        try:
            stamps_ns, arrivals_ns, used = listen(processes, args.seconds)
        finally:
            processes.stop()
        log.flush()
        lines = Path(log.name).read_text().splitlines()
    lateness = late(stamps_ns, arrivals_ns, 1e9 / args.hz)
    report = {
        **played.heading(load),
        "hz": args.hz,
        "policy": args.work,
        "commands": len(stamps_ns),
        "lateness_ms": lateness,
        "limit_ms": LIMIT_MS,
        "within_limit": lateness["sent"]["p99"] <= LIMIT_MS
        and lateness["arrived"]["p99"] <= LIMIT_MS,
        "processor_share": used,
        "complaints": played.complaints(lines),
    }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report["within_limit"] else 1


def listen(processes, seconds: float) -> tuple[list[int], list[int], dict[str, float]]:
    """Stamps and arrivals of the commands, ns of the system's clock, and how busy each node was."""
    from vla_policy.ros.client import Client

    stamps, arrivals, place = [], [], [0.0]

    def on_target(msg: PoseStamped) -> None:
        arrivals.append(time.time_ns())
        stamps.append(convert.ns_from_stamp(msg.header.stamp))
        place[0] = msg.pose.position.y

    rclpy.init()
    node = rclpy.create_node("listener")
    node.create_subscription(PoseStamped, TOPIC, on_target, 100)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    threading.Thread(target=spin, daemon=True).start()
    with Client("operator") as client:
        played.wait_until_ready(client)
        if not played.go_on(client, lambda: place[0], seconds, played.READY_S):
            raise TimeoutError("the robot does not move")
    gc.collect()
    gc.freeze()
    time.sleep(2.0)
    first, before = len(stamps), _cpu_s(processes)
    time.sleep(seconds)
    last = len(stamps)
    used = {n: round((s - before[n]) / seconds, 3) for n, s in _cpu_s(processes).items()}
    executor.shutdown(timeout_sec=1.0)
    rclpy.try_shutdown()
    return stamps[first:last], arrivals[first:last], used


def late(stamps_ns: list[int], arrivals_ns: list[int], period_ns: float) -> dict:
    """Lateness in ms of stamps and arrivals on the grid of the period, and how even it is."""
    stamps, arrivals = np.array(stamps_ns), np.array(arrivals_ns)
    since = (stamps - stamps[0]) / period_ns
    # Where in the period most ticks come; none comes earlier than this by more than EARLY of it.
    usual = float(np.angle(np.mean(np.exp(2j * np.pi * since)))) / (2 * np.pi)
    tick = np.floor(since - usual + EARLY)
    phase = float((since - tick).min())
    own = (since - tick - phase) * period_ns
    missing = np.maximum(np.diff(tick, prepend=tick[0] - 1) - 1, 0)
    sent = own / 1e6
    arrived = sent + (arrivals - stamps) / 1e6
    intervals = np.diff(stamps) / 1e6
    return {
        "sent": played.summary(sent + missing * period_ns / 1e6),
        "arrived": played.summary(arrived + missing * period_ns / 1e6),
        "interval": {**played.summary(intervals), "std": round(float(intervals.std()), 3)},
        "ticks_missed": int(missing.sum()),
    }


def _fast(spec: NodeSpec, hz: float) -> NodeSpec:
    if spec.name != "mock":
        return spec
    return NodeSpec(spec.name, {**spec.parameters, "state_hz": hz})


def _cpu_s(processes) -> dict[str, float]:
    """Processor time of each node so far."""
    tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
    found = {}
    for name, pid in processes.pids().items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(fields[11]) + int(fields[12])) * tick_s
    return found


if __name__ == "__main__":
    sys.exit(main())
