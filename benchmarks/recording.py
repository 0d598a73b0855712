"""What recording costs, and whether it loses anything: three cameras of 640 x 480 at 30 Hz, states at 100 Hz.

The real nodes in their own processes: a mock robot and a driver of three cameras (recording_cameras.py), the policy node
with a model that answers at once, control at 50 Hz, task; and, in every other part of one run, the recorder with a take.

lost            images that the driver published in a take and that are not in its bag, what the recorder says it lost,
                and beats that the driver itself missed
commands        lateness in ms of the stamps of commands, with and without a recorder, in the same run, and its ratio
save_ms         from the request to keep a take until the answer is here, all that waited being encoded
saving          by the recorder's own clock: what making the episode part of the set and closing its bag takes beyond its
                videos, and how long it waited for those; beyond_ms: the sum of the former, of each take
verdict         the targets, each with what was measured: lost images 0; commands as punctual, by the ratio of p99, or
                later by less than a twentieth of their period; saving under 100 ms beyond its videos
processor_share of one core, of each process

. tools/env.sh && python benchmarks/recording.py --out benchmarks/recording.json
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

import played_graph as played
import rclpy
from geometry_msgs.msg import PoseStamped
from lateness import TOPIC, _cpu_s, _spin, late
from rclpy.executors import SingleThreadedExecutor

from vla_policy.data.bag.reader import open_bag
from vla_policy.embodiment import load_embodiment
from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import NodeSpec, command_line, node_specs
from vla_policy.ros.bringup.processes import Processes
from vla_policy.ros.messages import convert
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.recorder_client import RecorderClient
from vla_policy.ros.process import real_time

HERE = Path(__file__).parent.resolve()
OWN = {"policy": "played_policy.py", "mock": "recording_cameras.py"}
CAMERA_HZ, STATE_HZ, HZ = 30.0, 100.0, 50.0
THIRD = "  side: {topic: side/image_raw, type: image, max_age_s: 0.35, max_still_s: 1.0}\n"
SETTLE_S = 3.0
MOST_RATIO, MOST_LATER_MS, MOST_SAVING_MS = 1.25, 1.0, 100.0
BEYOND = re.compile(r"took (\d+) ms beyond")
EDGE_NS = 500_000_000  # at both ends of a take, where what was on its way is not counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part")
    parser.add_argument("--rounds", type=int, default=2, help="parts without and with a recorder")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--reliable", action="store_true", help="a driver that publishes so")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    # As on a robot: kept to one machine, rmw_fastrtps takes transports of its own, too small for images.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    session.join_or_isolate()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name, (Path(name) / "nodes.log").open("w") as log:
        folder = Path(name)
        changes = {"camera_max_skew_s": f"{THIRD}camera_max_skew_s"}
        robot = played.described(folder, "vx300s_three", changes)
        report = measure(args, folder, robot, log)
        log.flush()
        lines = (folder / "nodes.log").read_text().splitlines()
    report = {
        **played.heading(load),
        "priority": played.priority(lines),
        **report,
        "saving": [
            line[line.index("saving it took") :] for line in lines if "saving it took" in line
        ],
        "complaints": played.complaints(lines),
    }
    report["beyond_ms"] = [
        int(found[1]) for found in map(BEYOND.search, report["saving"]) if found
    ]
    report["verdict"] = verdict(report)
    print(json.dumps(report, indent=1))
    for target, found in report["verdict"].items():
        print(f"{'met' if found['met'] else 'NOT met':8} {target}: {found['measured']}")
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if all(found["met"] for found in report["verdict"].values()) else 1


def verdict(report: dict) -> dict[str, dict]:
    """Target -> whether it is met, and what was measured."""
    lost, late, beyond = report["lost"], report["commands"], report["beyond_ms"]
    without, beside = (late[name]["lateness_ms"]["p99"] for name in ("without", "with"))
    ratio = report["ratio"]["p99"]
    missed = late["with"]["ticks_missed"]
    return {
        "no frame lost": {
            "met": lost["images"] == 0 and lost["said"] == 0 and lost["of"] > 0,
            "measured": f"{lost['images']} of {lost['of']} images, {lost['said']} messages that the recorder could not keep",
        },
        "commands as punctual as without recording": {
            "met": missed == 0 and (ratio <= MOST_RATIO or beside - without < MOST_LATER_MS),
            "measured": f"p99 {beside} ms beside {without} ms, ratio {ratio}, {missed} ticks missed",
        },
        "saving under 100 ms beyond the encoding": {
            "met": len(beyond) == len(report["takes"]) and max(beyond, default=0) < MOST_SAVING_MS,
            "measured": f"{beyond} ms",
        },
    }


def measure(args, folder: Path, robot: str, log) -> dict:
    specs = node_specs(robot, mock=True, web_port=None, record=str(folder / "takes"))
    changes = {
        "mock": {"state_hz": STATE_HZ},
        "recorder": {"fps": args.fps, "task": played.INSTRUCTION, "least_free_gb": 0.0},
    }
    specs = [*played.changed(specs, changes), NodeSpec("cameras")]
    streams = load_embodiment(robot)
    topics = [f"/{camera.topic}" for camera in streams.cameras.values()]
    environment = {
        "PLAYED_WORK": "none", "OPENBLAS_NUM_THREADS": "1", "PLAYED_HZ": f"{CAMERA_HZ:g}",
        "PLAYED_STAMPS": str(folder / "stamps.json"), "PLAYED_CAMERAS": " ".join(topics),
        "PLAYED_AFTER": f"/{next(iter(streams.joints.topics))}",
    }  # fmt: skip
    if args.reliable:
        environment["PLAYED_RELIABLE"] = "yes"
    processes = Processes(
        lambda node, line: log.write(f"{node}: {line}\n"), environment=environment, command=command
    )
    processes.start(spec for spec in specs if spec.name != "recorder")
    parts: dict[str, list] = {"without": [], "with": []}
    takes: list[dict] = []
    try:
        # The mock does not start where its commands are heard already.
        with Client("operator") as client, Heard(played.wait_until_ready, client) as heard:
            real_time.set_fifo_priority(5)  # what it measures with must not be late itself
            recorder = RecorderClient(client)
            seconds = 2.0 * args.rounds * (args.seconds + 30.0)
            if not played.go_on(client, lambda: heard.place, seconds, played.READY_S):
                raise TimeoutError("the robot does not move")
            for _ in range(args.rounds):
                time.sleep(SETTLE_S)
                parts["without"].append(part(heard, processes, args.seconds))
                processes.start(spec for spec in specs if spec.name == "recorder")
                take(recorder, "start")
                parts["with"].append(part(heard, processes, args.seconds))
                takes.append(kept(recorder))
                processes.stop(["recorder"])
                recorder.status = None
    finally:
        processes.stop()
    published = json.loads((folder / "stamps.json").read_text())
    lost, images, messages, size = losses(folder / "takes" / "bags", published["stamps"])
    summed = {name: summed_up(found) for name, found in parts.items()}
    return {
        "cameras": f"3 of 640 x 480 at {CAMERA_HZ:g} Hz",
        "states_hz": STATE_HZ,
        "commands_hz": HZ,
        "fps": args.fps,
        "seconds": args.seconds,
        "rounds": args.rounds,
        "driver": "reliable" if args.reliable else "best effort",
        "lost": {
            "images": lost,
            "of": images,
            "said": sum(t["lost"] for t in takes),
            "beats_missed": published["missed"],
        },
        "bag": {"messages": messages, "mb": round(size / 1e6)},
        "takes": takes,
        "commands": summed,
        "ratio": {
            key: round(
                summed["with"]["lateness_ms"][key]
                / max(summed["without"]["lateness_ms"][key], 1e-3),
                2,
            )
            for key in ("p50", "p99", "max")
        },
        "interval_std_ratio": round(
            summed["with"]["interval_std_ms"] / summed["without"]["interval_std_ms"], 2
        ),
    }


def command(spec: NodeSpec) -> list[str]:
    if spec.name == "cameras":
        return [sys.executable, str(HERE / "recording_cameras.py"), "driver"]
    line = command_line(spec)
    if spec.name in OWN:
        line[1] = str(HERE / OWN[spec.name])
    return line


class Heard:
    """The commands that this program hears, with their stamps; from when ready(client) returns on."""

    def __init__(self, ready, client) -> None:
        self._ready = ready, client

    def __enter__(self):
        ready, client = self._ready
        ready(client)
        self.stamps, self.arrivals, self.place = [], [], 0.0
        rclpy.init()
        node = rclpy.create_node("listener")
        node.create_subscription(PoseStamped, TOPIC, self._on_target, 100)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        threading.Thread(target=_spin, args=(self._executor,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._executor.shutdown(timeout_sec=1.0)
        rclpy.try_shutdown()

    def _on_target(self, msg) -> None:
        self.arrivals.append(time.time_ns())
        self.stamps.append(convert.ns_from_stamp(msg.header.stamp))
        self.place = msg.pose.position.y


def part(heard: Heard, processes: Processes, seconds: float) -> dict:
    """Punctuality and processor time over the coming seconds."""
    first, before = len(heard.stamps), _cpu_s(processes)
    time.sleep(seconds)
    last, after = len(heard.stamps), _cpu_s(processes)
    found = late(heard.stamps[first:last], heard.arrivals[first:last], 1e9 / HZ)
    return {
        "commands": last - first,
        **found,
        "used": {n: round((s - before.get(n, 0.0)) / seconds, 3) for n, s in after.items()},
    }


def summed_up(parts: list[dict]) -> dict:
    """The worst of each figure over the parts, and the mean of the processor's."""
    nodes = parts[0]["used"]
    return {
        "commands": sum(p["commands"] for p in parts),
        "lateness_ms": {k: max(p["sent"][k] for p in parts) for k in ("p50", "p99", "max")},
        "interval_std_ms": max(p["interval"]["std"] for p in parts),
        "ticks_missed": sum(p["ticks_missed"] for p in parts),
        "processor_share": {
            n: round(sum(p["used"][n] for p in parts) / len(parts), 3) for n in nodes
        },
    }


def take(recorder: RecorderClient, what: str) -> None:
    """Begin one. Raises TimeoutError with what is missing."""
    if not recorder.there(60.0) or not recorder.wait(lambda s: not s.missing, 30.0):
        missing = [] if recorder.status is None else list(recorder.status.missing)
        raise TimeoutError(f"no take can begin: {missing}")
    time.sleep(SETTLE_S)
    done, sentence = recorder.ask(what)
    if not done:
        raise ValueError(sentence)


def kept(recorder: RecorderClient) -> dict:
    """End the take and keep it: frames, verdict, and how long saving took once all was encoded."""
    began_s = time.perf_counter()
    recorder.ask("end", 60.0)
    recorder.wait(lambda s: s.phase == s.DECIDING and s.waiting == 0, 60.0)
    encoded_s = time.perf_counter()
    status = recorder.status
    done, sentence = recorder.save()
    return {
        "saved": done,
        "sentence": sentence,
        "frames": status.frames,
        "lost": status.lost,
        "verdict": list(status.verdict),
        "end_ms": round(1e3 * (encoded_s - began_s), 1),
        "save_ms": round(1e3 * (time.perf_counter() - encoded_s), 1),
    }


def losses(bags: Path, published: dict[str, list[int]]) -> tuple[int, int, int, int]:
    """(images lost, images published within takes, messages, bytes of the bags)."""
    lost = images = messages = size = 0
    for bag in sorted(bags.iterdir()):
        size += sum(path.stat().st_size for path in bag.iterdir())
        kept_of: dict[str, set[int]] = {topic: set() for topic in published}
        for message in open_bag(bag).messages():
            messages += 1
            if message.topic in kept_of:
                kept_of[message.topic].add(message.stamp_ns)
        begin = max(min(stamps) for stamps in kept_of.values()) + EDGE_NS
        end = min(max(stamps) for stamps in kept_of.values()) - EDGE_NS
        for topic, stamps in published.items():
            within = [stamp for stamp in stamps if begin <= stamp <= end]
            images += len(within)
            lost += sum(stamp not in kept_of[topic] for stamp in within)
    return lost, images, messages, size


if __name__ == "__main__":
    sys.exit(main())
