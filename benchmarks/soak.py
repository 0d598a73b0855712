"""A long run of the whole graph: memory, threads and descriptors of every node, gaps between commands, stops.

The real nodes in their own processes around a mock robot of a vx300s at 50 Hz. The policy node's model is
the shipped flow head, whose rows are replaced by a slow swing (benchmarks/played_policy.py), so that there is
always motion to stop. Once per cycle the robot is stopped, watched, reset, engaged and told to go on.

A stop is missed if a command is stamped after the stop was answered, or the robot still moves 0.2 s later.
The verdict, and the exit code: no process grows by more than 1 % after the warm-up, descriptors and threads
stay, no stop is missed, and the motion goes on after each.

. tools/env.sh && python benchmarks/soak.py --minutes 30 --out benchmarks/soak.json --plot docs/images/soak.png
"""

import argparse
import json
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import played_graph as played
from rich.progress import Progress
from soak_plot import draw_soak

from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import node_specs
from vla_policy.ros.bringup.processes import Processes

ROBOT = "vx300s"
PERIOD_S = 0.02
SAMPLE_S = 5.0
STILL_S = 2.0  # how long a stopped robot is watched
SETTLE_S = 0.2
PATIENCE_S = 60.0  # for motion after a stop
GROWTH = 0.01
WARM_UP = 1 / 6  # of the run
PAGE = 8799


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--cycle", type=float, default=60.0, help="seconds from stop to stop")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path, help="picture to write")
    args = parser.parse_args()
    session.join_or_isolate()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        log = (Path(folder) / "nodes.log").open("w")
        processes = played.start(node_specs(ROBOT, mock=True, web_port=PAGE), "tiny", log)
        try:
            samples, cycles, heard = soak(processes, args.minutes * 60.0, args.cycle)
        finally:
            processes.stop()
            log.close()
        lines = Path(log.name).read_text().splitlines()
    report = {
        **played.heading(load),
        "minutes": args.minutes,
        **judged(samples, cycles, heard),
        "log_lines": len(lines),
        "complaints": played.complaints(lines),
    }
    print(json.dumps({**report, "samples": "..."}, indent=1))
    if args.out:
        args.out.write_text(json.dumps({**report, "samples": _thinned(samples)}, indent=1) + "\n")
    if args.plot:
        draw_soak(samples, args.plot)
    return 0 if report["passed"] else 1


def soak(processes: Processes, seconds: float, cycle_s: float) -> tuple[list, list, "Heard"]:
    """Samples, cycles and what was heard. samples: dicts of one time; cycles: one for each stop."""
    from vla_policy.ros.operator.client import Client

    samples, done = [], threading.Event()
    with Client("soak") as client, Progress() as progress:
        played.wait_until_ready(client)
        heard = Heard(client.node)
        if not played.go_on(client, heard.place, seconds, played.READY_S):
            raise TimeoutError("the robot does not move")
        start = time.monotonic()
        sampler = threading.Thread(target=_sample, args=(processes, samples, start, done))
        sampler.start()
        bar = progress.add_task("soak", total=seconds)
        cycles = []
        try:
            while (now := time.monotonic() - start) < seconds:
                ended = processes.ended()
                if ended:
                    raise RuntimeError(f"nodes ended by themselves: {ended}")
                progress.update(bar, completed=now, description=f"{len(heard.stamps_ns)} commands")
                if now >= (len(cycles) + 1) * cycle_s:
                    cycles.append(stop_and_go(client, heard, seconds))
                time.sleep(0.2)
        finally:
            done.set()
            sampler.join()
    return samples, cycles, heard


class Heard:
    """Commands (stamps and arrivals), chunks and where the robot is; written by the client's thread."""

    def __init__(self, node) -> None:
        from geometry_msgs.msg import PoseStamped
        from vla_policy.msg import ActionChunk

        from vla_policy.embodiment import load_embodiment
        from vla_policy.ros.messages import convert
        from vla_policy.ros.process import qos

        robot = load_embodiment(ROBOT)
        self.stamps_ns, self.arrivals_s, self.chunks, self.y = [], [], 0, 0.0

        def on_target(msg: PoseStamped) -> None:
            self.stamps_ns.append(convert.ns_from_stamp(msg.header.stamp))
            self.arrivals_s.append(time.monotonic())

        def on_pose(msg: PoseStamped) -> None:
            self.y = msg.pose.position.y

        def on_chunk(_: ActionChunk) -> None:
            self.chunks += 1

        node.create_subscription(PoseStamped, robot.outputs["arm"].topic, on_target, 100)
        node.create_subscription(PoseStamped, robot.ee_pose.topic, on_pose, qos.SENSOR)
        node.create_subscription(ActionChunk, "action_chunk", on_chunk, qos.COMMAND)

    def place(self) -> float:
        """Where the tool is along its swing, m."""
        return self.y


def stop_and_go(client, heard: Heard, seconds: float) -> dict:
    """One stop, what came after it, and the way back to motion."""
    moving = len(heard.stamps_ns)
    asked_ns = time.time_ns()
    client.stop()
    answered_ns = time.time_ns()
    time.sleep(SETTLE_S)
    y = heard.y
    time.sleep(STILL_S)
    stamps = heard.stamps_ns[max(0, moving - 3) :]
    after = [ns for ns in stamps if ns > answered_ns]
    last_s = max((ns - asked_ns) / 1e9 for ns in stamps) if stamps else 0.0
    still = abs(heard.y - y) < 1e-6
    client.reset()
    resumed = played.go_on(client, heard.place, seconds, PATIENCE_S)
    return {
        "answer_ms": round((answered_ns - asked_ns) / 1e6, 2),
        "last_command_ms": round(1e3 * max(0.0, last_s), 2),
        "commands_after": len(after),
        "still": still,
        "missed": bool(after) or not still,
        "resumed": resumed,
    }


def judged(samples: list, cycles: list, heard: Heard) -> dict:
    """The figures of a run and whether it passes."""
    warm = samples[int(WARM_UP * len(samples)) :]
    window = max(1, len(warm) // 6)
    nodes, passed = {}, bool(warm)
    for name in warm[0]["nodes"]:
        node = {"growth_percent": {}}
        for what in ("rss_kb", "anonymous_kb", "pss_kb"):
            values = np.array([s["nodes"][name][what] for s in warm], dtype=float)
            first, last = np.median(values[:window]), np.median(values[-window:])
            node["growth_percent"][what] = round(100.0 * (last / first - 1.0), 3)
            node[what] = [int(first), int(last), int(values.max())]
            # A share of what others map too (PSS) also grows when those others end.
            passed &= what == "pss_kb" or bool(last / first - 1.0 <= GROWTH)
        for what in ("files", "threads"):
            values = np.array([s["nodes"][name][what] for s in warm])
            first, last = np.median(values[:window]), np.median(values[-window:])
            node[what] = [int(values[0]), int(values[-1]), int(values.max())]
            passed &= bool(last <= first)
        nodes[name] = node
    missed = sum(c["missed"] for c in cycles)
    resumed = sum(c["resumed"] for c in cycles)
    passed &= missed == 0 and resumed == len(cycles) and bool(cycles)
    intervals = np.diff(np.array(heard.stamps_ns, dtype=np.int64)) / 1e6
    intervals = intervals[intervals < 1e3 * STILL_S]  # the stops
    return {
        "passed": bool(passed),
        "stops": len(cycles),
        "missed_stops": missed,
        "went_on_after": resumed,
        "stop_answer_ms_max": max((c["answer_ms"] for c in cycles), default=None),
        "last_command_after_stop_ms_max": max(
            (c["last_command_ms"] for c in cycles), default=None
        ),
        "commands": len(heard.stamps_ns),
        "chunks": heard.chunks,
        "command_interval_ms": {
            **played.summary(intervals),
            "above_1.5_periods": int(np.sum(intervals > 1.5e3 * PERIOD_S)),
        },
        "kb_first_last_max_after_warm_up": nodes,
    }


def _sample(processes: Processes, samples: list, start: float, done: threading.Event) -> None:
    while not done.wait(SAMPLE_S):
        nodes = {name: _process(pid) for name, pid in processes.pids().items()}
        samples.append({"s": round(time.monotonic() - start, 1), "nodes": nodes})


def _process(pid: int) -> dict[str, int]:
    memory = Path(f"/proc/{pid}/smaps_rollup").read_text()
    status = Path(f"/proc/{pid}/status").read_text()
    return {
        "rss_kb": int(re.search(r"^Rss:\s+(\d+)", memory, re.M).group(1)),
        "pss_kb": int(re.search(r"^Pss:\s+(\d+)", memory, re.M).group(1)),
        "anonymous_kb": int(re.search(r"^Anonymous:\s+(\d+)", memory, re.M).group(1)),
        "threads": int(re.search(r"^Threads:\s+(\d+)", status, re.M).group(1)),
        "files": len(os.listdir(f"/proc/{pid}/fd")),
    }


def _thinned(samples: list, count: int = 60) -> list:
    return samples[:: max(1, len(samples) // count)]


if __name__ == "__main__":
    sys.exit(main())
