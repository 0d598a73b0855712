"""The policy's server is killed, frozen and delayed while the simulated arm moves: is it within limits, does it hold?

A real server of the shipped policy, a relay that delays every byte, the whole graph on the simulated robot. Every setpoint
is held against the robot's file: speed of the tool, workspace, finite. Delays are of each way; the robot's clock is the
simulation's.

. tools/env.sh && python benchmarks/serve_faults.py --episodes 3 --out benchmarks/serve_faults.json
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSProfile, ReliabilityPolicy

from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import node_specs
from vla_policy.ros.messages import convert
from vla_policy.ros.operator.running_graph import NodeLog, RunningGraph
from vla_policy.ros.operator.trial import run_trial
from vla_policy.ros.operator.watch import Watch

ROBOT, SUITE = "vx300s", "pick_put"
HOLD_S = 1.22  # the plan's greatest age and a tick
CASES = ("none", "kill", "freeze", "delay 50 ms", "delay 200 ms", "delay 1000 ms")
AWAY_S, TASK_S, PERIOD_S = 3.0, 30.0, 0.02
MOVED = 1e-9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--scheme", default="rtc")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    session.join_or_isolate()
    server, relay = Server(), Relay()
    server.start()
    relay.start(server.port)
    path = Path(tempfile.mkdtemp()) / "nodes.log"
    rows = []
    with path.open("w") as file:
        graph = RunningGraph(
            lambda head: node_specs(
                ROBOT,
                policy=f"ws://127.0.0.1:{relay.port}",
                head=head,
                sim=True,
                web_port=None,
                scheme=args.scheme,
            ),
            NodeLog(file, print),
        )
        try:
            client = graph.start("auto")
            sent, watch = Sent(client.node), Watch(client.node, load_embodiment(ROBOT))
            graph.wait_until_ready()
            for case in args.cases.split(","):
                rows.append(measure(graph, client, watch, sent, server, relay, case, args))
                print(json.dumps(rows[-1]), flush=True)
        finally:
            graph.close()
            server.stop()
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "bounds": {"hold_s": HOLD_S}, "scheme": args.scheme,
        "passed": all(not r["outside_limits"] and r["last_move_s"] <= HOLD_S for r in rows),
        "rows": rows,
    }  # fmt: skip
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return 0 if report["passed"] else 1


def measure(graph, client, watch, sent, server, relay, case: str, args) -> dict[str, object]:
    """One case: so many tasks, each with the fault in it once the arm moves."""
    successes, last_moves, went_on, outside, setpoints = 0, [], 0, 0, 0
    examples: list[str] = []
    words = case.split()
    for index in range(args.episodes):
        scene, task = trial(SUITES[SUITE], args.seed, index)
        relay.delay_s = float(words[1]) / 1e3 if words[0] == "delay" else 0.0
        sent.clear()
        fault = Fault(words[0], server, sent)
        fault.start()
        outcome = run_trial(client, watch, "flow", scene.seed, task.instruction, TASK_S)
        fault.join()
        successes += outcome.success
        if fault.at_ns is not None:
            last_moves.append(sent.last_move_s(fault.at_ns, fault.over_ns))
            went_on += sent.moved_after(fault.over_ns)
        found = sent.outside()
        outside += len(found)
        examples += found[:3]
        setpoints += len(sent.targets)
        graph.check()
    relay.delay_s = 0.0
    return {
        "case": case, "episodes": args.episodes, "successes": successes, "setpoints": setpoints,
        "outside_limits": outside, "examples": examples, "faults": len(last_moves), "went_on": went_on,
        "last_move_s": round(max(last_moves, default=0.0), 3),
    }  # fmt: skip


class Fault(threading.Thread):
    """Kills or freezes the server once the arm has moved, and brings it back after AWAY_S. Times are the robot's."""

    def __init__(self, kind: str, server: "Server", sent: "Sent") -> None:
        super().__init__(daemon=True)
        self._kind, self._server, self._sent = kind, server, sent
        self.at_ns: int | None = None
        self.over_ns = 0

    def run(self) -> None:
        if self._kind not in ("kill", "freeze") or not self._sent.wait_moving(60.0):
            return
        self.at_ns = self._sent.now_ns()
        if self._kind == "kill":
            self._server.kill()
            time.sleep(AWAY_S)
            self._server.start()
        else:
            self._server.signal(signal.SIGSTOP)
            time.sleep(AWAY_S)
            self._server.signal(signal.SIGCONT)
        self.over_ns = self._sent.now_ns()


class Server:
    """`vla serve tiny` on a port that stays the same."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self) -> None:
        line = [shutil.which("vla"), "serve", "tiny", "--port", str(self.port)]
        self._process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._process.stdout.readline()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


class Relay:
    """Between robot and server; what it carries comes delay_s later."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]

    def start(self, port: int) -> None:
        threading.Thread(target=self._accept, args=(port,), daemon=True).start()

    def _accept(self, port: int) -> None:
        while True:
            near, _ = self._listening.accept()
            try:
                far = socket.create_connection(("127.0.0.1", port), timeout=2)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        """A thread reads and stamps, another sends what is due, so that a delay is none of the rate."""
        import queue

        due: queue.Queue = queue.Queue()

        def send() -> None:
            while True:
                at_s, data = due.get()
                time.sleep(max(0.0, at_s - time.monotonic()))
                try:
                    if not data:
                        other.shutdown(socket.SHUT_WR)
                        return
                    other.sendall(data)
                except OSError:
                    one.close()
                    return

        threading.Thread(target=send, daemon=True).start()
        while True:
            try:
                data = one.recv(65536)
            except OSError:
                data = b""
            due.put((time.monotonic() + self.delay_s, data))
            if not data:
                return


class Sent:
    """Setpoints of the tool as they go to the controller, with the stamps of the control node."""

    def __init__(self, node) -> None:
        self._robot = load_embodiment(ROBOT)
        self._limits = self._robot.limits.groups["arm"]
        self.targets: list[tuple[int, np.ndarray]] = []
        output = self._robot.outputs["arm"]
        # Deep: a setpoint that is missed here would make the next look like a jump.
        deep = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
        node.create_subscription(PoseStamped, output.topic, self._on_target, deep)

    def _on_target(self, msg: PoseStamped) -> None:
        p, q = msg.pose.position, msg.pose.orientation
        pose = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
        self.targets.append((convert.ns_from_stamp(msg.header.stamp), pose))

    def clear(self) -> None:
        self.targets = []

    def now_ns(self) -> int:
        """Of the simulation, as the newest setpoint has it."""
        return self.targets[-1][0]

    def moves(self) -> list[int]:
        """Stamps of the setpoints that differ from the one before."""
        return [b[0] for a, b in pairwise(list(self.targets)) if np.abs(a[1] - b[1]).max() > MOVED]

    def wait_moving(self, seconds: float) -> bool:
        """Until the arm has been moving for a third of a second."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if len(self.moves()) > 15:
                return True
            time.sleep(0.05)
        return False

    def last_move_s(self, fault_ns: int, over_ns: int) -> float:
        """From the fault to the last setpoint that moved before the server was back."""
        found = [at for at in self.moves() if fault_ns <= at <= over_ns]
        return 0.0 if not found else (found[-1] - fault_ns) / 1e9

    def moved_after(self, over_ns: int) -> bool:
        return any(at > over_ns for at in self.moves())

    def outside(self) -> list[str]:
        """Setpoints that no limit of the robot's file allows."""
        found = []
        for before, after in pairwise(list(self.targets)):
            gap_s = (after[0] - before[0]) / 1e9
            if gap_s > 10 * PERIOD_S:
                continue  # begun anew from the measured position
            way_m = np.linalg.norm(after[1][:3] - before[1][:3])
            if way_m > self._limits.linear_speed_m_s * min(max(gap_s, 0.0), 2 * PERIOD_S) + 1e-6:
                found.append(f"speed {way_m / max(gap_s, 1e-9):.3f} m/s over {gap_s:.3f} s")
        box = self._limits.workspace
        for _, pose in self.targets:
            inside = (pose[:3] >= box.lower - 1e-9).all() and (pose[:3] <= box.upper + 1e-9).all()
            if not (np.isfinite(pose).all() and inside):
                found.append("workspace")
        return found


if __name__ == "__main__":
    sys.exit(main())
