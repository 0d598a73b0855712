"""How long `vla stop` takes, from the start of the command until the control node says that it has stopped.

Starts a control node alone in a domain and hears its control_status; stops and resets it, plain,
with the robot named, all, and without its note, so that discovery has to find it; and looks where there is none.

. tools/env.sh && python benchmarks/stop_time.py --out benchmarks/stop_time.json
"""

import argparse
import datetime
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vla_policy.ros.bringup import session

BOUND_S = 1.0  # until a robot of this machine has stopped, and until the command has returned
NETWORK_S = 4.5  # until the command has returned where it has to look over the network

HERE, NETWORK = "vla stop", "vla stop, without the note: by discovery"
NONE = "vla stop --domain M, where there is no robot"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    domain = session.join_or_isolate()
    with tempfile.TemporaryDirectory() as notes, tempfile.TemporaryDirectory() as nothing:
        line = [shutil.which("control_node"), "--ros-args", "--log-level", "error"]
        node = subprocess.Popen(
            [*line, "-p", "embodiment:=vx300s"], env={**os.environ, "TMPDIR": notes}, cwd="/"
        )
        try:
            heard = Heard()
            choice = ["--domain", str(domain), "--namespace", "/"]
            reset = ["stop", "--reset", *choice]
            report = {
                name: measure(heard, args.times, folder, words, lambda: vla(notes, *reset))
                for name, folder, words in (
                    (HERE, notes, ["stop"]),
                    ("vla stop --domain N --namespace /", notes, ["stop", *choice]),
                    ("vla stop --all", notes, ["stop", "--all"]),
                    (NETWORK, nothing, ["stop"]),
                )
            }
            report[NONE] = {"returned_s": [look(nothing, domain) for _ in range(args.times)]}
        finally:
            node.terminate()
            node.wait()
    worst = {
        "stopped, robot of this machine": latest(report[HERE]["stopped_s"]),
        "returned, robot of this machine": latest(report[HERE]["returned_s"]),
        "returned, over the network": latest(report[NETWORK]["returned_s"]),
        "returned, no robot": latest(report[NONE]["returned_s"]),
    }
    bounds = dict(zip(worst, (BOUND_S, BOUND_S, NETWORK_S, NETWORK_S), strict=True))
    passed = all(worst[name] < bound for name, bound in bounds.items())
    text = json.dumps(
        {
            "command": " ".join(["python", *sys.argv]),
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
            "bounds_s": bounds,
            "worst_s": worst,
            "passed": passed,
            "seconds_from_the_start_of_the_command": report,
        },
        indent=1,
    )
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return 0 if passed else 1


class Heard:
    """When the control node last became stopped, and whether it is."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.node import Node
        from vla_policy.msg import ControlStatus

        from vla_policy.ros.process import qos

        self.changed, self.stopped, self.since_s = threading.Condition(), None, 0.0
        rclpy.init()
        self._node = Node("stop_time")
        self._node.create_subscription(ControlStatus, "control_status", self._on, qos.LATCHED)
        threading.Thread(target=rclpy.spin, args=(self._node,), daemon=True).start()
        self.wait(False)

    def _on(self, status) -> None:
        stopped = status.level == status.LEVEL_STOP
        with self.changed:
            if stopped != self.stopped:
                self.stopped, self.since_s = stopped, time.monotonic()
                self.changed.notify_all()

    def wait(self, stopped: bool) -> float:
        """When it became so; raises TimeoutError after 30 s."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.stopped is stopped, 30.0):
                raise TimeoutError("the control node does not say so")
            return self.since_s


def measure(
    heard: Heard, times: int, folder: str, words: list[str], reset: Callable[[], bool]
) -> dict[str, list[float | None]]:
    """Seconds until it was stopped, None where it was not; and until the command had returned."""
    stopped_s, returned_s = [], []
    for _ in range(times):
        started_s = time.monotonic()
        done = vla(folder, *words)
        returned_s.append(round(time.monotonic() - started_s, 3))
        stopped_s.append(round(heard.wait(True) - started_s, 3) if done else None)
        if done and not reset():
            raise RuntimeError("the control node was not reset")
        heard.wait(False)
    return {"stopped_s": stopped_s, "returned_s": returned_s}


def look(folder: str, domain: int) -> float:
    """Seconds of a stop in another domain, where nothing answers."""
    started_s = time.monotonic()
    if vla(folder, "stop", "--domain", str(domain % 100 + 1)):
        raise RuntimeError("a robot answered in a domain in which none was started")
    return round(time.monotonic() - started_s, 3)


def latest(seconds: list[float | None]) -> float:
    return max(math.inf if s is None else s for s in seconds)


def vla(folder: str, *words: str) -> bool:
    """Run `vla` as somebody would who has set no domain; whether it ended with 0."""
    environment = {k: v for k, v in os.environ.items() if k != "ROS_DOMAIN_ID"}
    command = [shutil.which("vla"), *words]
    ended = subprocess.run(
        command,
        env=environment | {"TMPDIR": folder},
        cwd="/",
        stdout=subprocess.DEVNULL,
        check=False,
    )
    return ended.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
