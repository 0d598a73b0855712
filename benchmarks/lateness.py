"""How late commands at 100 Hz are while the policy process keeps a core busy.

The real nodes in their own processes: a mock robot (joint states at 100 Hz, two cameras), the policy node
with a thread that multiplies matrices all the time and a model that answers at once, control at 100 Hz, task.
The control node's timer has a fixed grid; its phase is taken from the earliest of all commands. For each
command, in ms after its tick was due:

sent     its stamp, taken when the tick begins
arrived  when this program, which subscribes to the command, hears it: with the work of the tick, the wire and
         the subscriber's own; told, but not what decides
ticks    the control node's own count of the last 500 ticks, commands or not (control_status)

A tick without a command counts as late by the whole periods that are missing, also where the robot holds.

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
from vla_policy.msg import ControlStatus

from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import node_specs
from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos, real_time

LIMIT_MS = 2.0
EARLY = 0.05
TOPIC = "target_pose"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--hz", type=float, default=100.0)
    parser.add_argument("--work", default="busy", choices=("busy", "tiny", "none"))
    parser.add_argument(
        "--ordinary",
        action="store_true",
        help="control at ordinary priority, not the node's default",
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    session.join_or_isolate()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "nodes.log").open("w") as log:
        hz = {"command_hz: 50": f"command_hz: {args.hz:g}"}
        specs = node_specs(
            played.described(Path(folder), "vx300s_fast", hz), mock=True, web_port=None
        )
        changes = {"mock": {"state_hz": args.hz}}
        if args.ordinary:
            changes["control"] = {"real_time_priority": 0}
        specs = played.changed(specs, changes)
        processes = played.start(specs, args.work, log)
        try:
            stamps_ns, arrivals_ns, ticks, used = listen(processes, args.seconds)
        finally:
            processes.stop()
        log.flush()
        lines = Path(log.name).read_text().splitlines()
    lateness = late(stamps_ns, arrivals_ns, 1e9 / args.hz)
    report = {
        **played.heading(load),
        "hz": args.hz,
        "policy": args.work,
        "priority": played.priority(lines),
        "commands": len(stamps_ns),
        "lateness_ms": {**lateness, "ticks": ticks},
        "limit_ms": LIMIT_MS,
        "within_limit": {name: lateness[name]["p99"] <= LIMIT_MS for name in ("sent", "arrived")},
        "processor_share": used,
        "complaints": played.complaints(lines),
    }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report["within_limit"]["sent"] else 1


def listen(processes, seconds: float) -> tuple[list, list, dict, dict]:
    """Stamps and arrivals of the commands, ns of the system's clock; ticks; how busy each node was."""
    from vla_policy.ros.operator.client import Client

    stamps, arrivals, place = [], [], [0.0]

    def on_target(msg: PoseStamped) -> None:
        arrivals.append(time.time_ns())
        stamps.append(convert.ns_from_stamp(msg.header.stamp))
        place[0] = msg.pose.position.y

    status: list[ControlStatus] = []
    with Client("operator") as client:
        played.wait_until_ready(client)
        real_time.set_fifo_priority(5)  # what it measures with must not be late itself
        rclpy.init()
        node = rclpy.create_node("listener")
        node.create_subscription(PoseStamped, TOPIC, on_target, 100)
        node.create_subscription(ControlStatus, "control_status", status.append, qos.LATCHED)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        threading.Thread(target=_spin, args=(executor,), daemon=True).start()
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
    ticks = dict(zip(("p50", "p99", "max"), status[-1].command_lateness, strict=True))
    ticks = {name: round(1e3 * float(value), 3) for name, value in ticks.items()}
    return stamps[first:last], arrivals[first:last], ticks, used


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        return


def late(stamps_ns: list[int], arrivals_ns: list[int], period_ns: float) -> dict:
    """Lateness in ms of stamps and arrivals on the grid of the period, and how even it is."""
    stamps, arrivals = np.array(stamps_ns), np.array(arrivals_ns)
    since = (stamps - stamps[0]) / period_ns
    # Where in the period most ticks come; none comes earlier than this by more than EARLY of it.
    counts, edges = np.histogram(np.mod(since, 1.0), bins=200, range=(0.0, 1.0))
    tick = np.floor(since - edges[np.argmax(counts)] + EARLY)
    # Two in one period: the first is the one before, late by almost all of it.
    twice = np.append(np.diff(tick) == 0, False)
    tick = tick - twice
    own = (since - tick - (since - tick)[~twice].min()) * period_ns
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
