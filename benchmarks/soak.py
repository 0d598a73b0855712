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
import datetime
import json
import os
import platform
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from rich.progress import Progress

from vla_policy.ros import session
from vla_policy.ros.graph import NodeSpec, command_line, node_specs
from vla_policy.ros.processes import Processes

ROBOT = "vx300s"
PERIOD_S = 0.02
SAMPLE_S = 5.0
STILL_S = 2.0  # how long a stopped robot is watched
SETTLE_S = 0.2
READY_S = 120.0
GROWTH = 0.01
WARM_UP = 1 / 6  # of the run
PAGE = 8799


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--cycle", type=float, default=60.0, help="seconds from stop to stop")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path, help="needs matplotlib")
    args = parser.parse_args()
    session.join_or_isolate()
    os.environ["PLAYED_WORK"] = "tiny"
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        log = (Path(folder) / "nodes.log").open("w")
        processes = Processes(lambda name, line: log.write(f"{name}: {line}\n"), command=_command)
        processes.start(node_specs(ROBOT, mock=True, web_port=PAGE))
        try:
            samples, cycles, heard = soak(processes, args.minutes * 60.0, args.cycle)
        finally:
            processes.stop()
            log.close()
        lines = Path(log.name).read_text().splitlines()
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, load {load:.1f} at the start, "
        f"{os.getloadavg()[1]:.1f} at the end",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "minutes": args.minutes,
        **judged(samples, cycles, heard),
        "log_lines": len(lines),
        "warnings": _counted(line for line in lines if "[WARN]" in line or "[ERROR]" in line),
    }
    print(json.dumps({**report, "samples": "..."}, indent=1))
    if args.out:
        args.out.write_text(json.dumps({**report, "samples": _thinned(samples)}, indent=1) + "\n")
    if args.plot:
        plot(samples, args.plot)
    return 0 if report["passed"] else 1


def soak(processes: Processes, seconds: float, cycle_s: float) -> tuple[list, list, "Heard"]:
    """Samples, cycles and what was heard. samples: dicts of one time; cycles: one for each stop."""
    from vla_policy.ros.client import Client

    samples, done = [], threading.Event()
    with Client("soak") as client, Progress() as progress:
        heard = Heard(client.node)
        if not (client.wait_for_control(READY_S) and client.wait_for_task(READY_S)):
            raise TimeoutError("the graph does not get ready")
        go_on(client, heard, seconds, READY_S)
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
        from vla_policy.ros import convert, qos

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


def go_on(client, heard: Heard, seconds: float, patience_s: float = 20.0) -> bool:
    """Engage, say an instruction, and wait for motion; whether there was some."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            client.engage()
            time.sleep(0.5)  # the task node must have read it too
            result = client.start("pick up the red cube", seconds + 60.0)
        except (ValueError, TimeoutError):
            time.sleep(0.5)
            continue
        if result is None:
            continue
        y, limit = heard.y, min(end, time.monotonic() + 5.0)
        while time.monotonic() < limit:
            if abs(heard.y - y) > 0.003:
                return True
            time.sleep(0.05)
    return False


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
    resumed = go_on(client, heard, seconds)
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
            **dict(
                zip(
                    ("p50", "p99", "max"),
                    np.percentile(intervals, (50, 99, 100)).round(3).tolist(),
                    strict=True,
                )
            ),
            "above_1.5_periods": int(np.sum(intervals > 1.5e3 * PERIOD_S)),
        },
        "kb_first_last_max_after_warm_up": nodes,
    }


def plot(samples: list, path: Path) -> None:
    """Memory and descriptors of each node over time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    minutes = np.array([s["s"] for s in samples]) / 60.0
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    for name in samples[0]["nodes"]:
        memory = np.array([s["nodes"][name]["rss_kb"] for s in samples]) / 1024.0
        axes[0].plot(minutes, memory, label=name)
        axes[1].plot(minutes, [s["nodes"][name]["files"] for s in samples], label=name)
    axes[0].set(xlabel="minutes", ylabel="resident memory, MiB", yscale="log")
    axes[1].set(xlabel="minutes", ylabel="open file descriptors", ylim=(0, None))
    axes[0].legend(ncol=2, fontsize=8)
    for axis in axes:
        axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _command(spec: NodeSpec) -> list[str]:
    line = command_line(spec)
    if spec.name == "policy":
        line[1] = str(Path(__file__).with_name("played_policy.py").resolve())
    return line


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


def _counted(lines) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in lines:
        words = re.sub(r"-?\d+(\.\d+)?", "#", line)[:110]
        found[words] = found.get(words, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1])[:12])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
