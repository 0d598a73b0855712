"""The policy's server is killed, frozen, restarted and delayed while the simulated arm moves: is it within limits, does it hold?

A real server of the shipped policy, a relay that delays every byte, the whole graph on the simulated robot. Every setpoint
is held against the robot's file: speeds of the tool, workspace, finite. Speeds are those between consecutive messages;
where messages are missing (by their stamps), the limit is that of the time between, and such gaps are counted. Every fault
comes once the arm moves, and is over after a while. Delays are of each way: with 1000 ms no answer is in time, so the arm has
to hold as without a server, and with less it may go on. The robot's clock is the simulation's. Seven minutes.

. tools/env.sh && python benchmarks/serve_faults.py --out benchmarks/serve_faults.json
"""

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from itertools import count, islice, pairwise
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseStamped
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from serve import about, finish

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
CASES = ("none", "kill", "freeze", "restart", "delay 50 ms", "delay 200 ms", "delay 1000 ms")
ANSWERED = ("none", "delay 50 ms", "delay 200 ms")  # answers come in time: the arm need not hold
AWAY_S, TASK_S, PERIOD_S = 3.0, 30.0, 0.02
MOVED = 1e-9
GAP, ANEW = 1.5, 10  # periods: messages are missing; the arm began anew from where it was measured
SLACK = 1e-6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=2)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--scheme", default="rtc")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--patience", type=float, help="s that the task waits for the server, where this machine starts one slowly"
    )  # fmt: skip
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
            if args.patience is not None:
                be_patient(client.node, args.patience)
            for case in args.cases.split(","):
                rows.append(measure(graph, client, watch, sent, server, relay, case, args))
                print(json.dumps(rows[-1]), flush=True)
        finally:
            graph.close()
            server.stop()
    met = {
        "nothing_outside_limits": not any(r["outside_limits"] for r in rows),
        "hold_s": all(r["last_move_s"] <= HOLD_S for r in rows if r["case"] not in ANSWERED),
        "went_on": all(r["went_on"] == r["faults"] for r in rows),
        "every_fault_came": all(r["faults"] == args.episodes for r in rows if r["case"] != "none"),
    }
    report = {
        **about(),
        "bounds": {"hold_s": HOLD_S},
        "scheme": args.scheme,
        "met": met,
        "passed": all(met.values()),
        "rows": rows,
    }
    return finish(report, args.out)


def be_patient(node, seconds: float) -> None:
    """The task waits for a server that is away, longer than it does by default."""
    client = node.create_client(SetParameters, "task/set_parameters")
    if not client.wait_for_service(10.0):
        raise TimeoutError("the task node takes no parameters")
    value = Parameter("chunk_gap_s", value=seconds).to_parameter_msg()
    asked = client.call_async(SetParameters.Request(parameters=[value]))
    ends_s = time.monotonic() + 10.0
    while not asked.done():  # the client's own thread spins the node
        if time.monotonic() > ends_s:
            raise TimeoutError("the task node does not answer")
        time.sleep(0.05)
    if refused := [r.reason for r in asked.result().results if not r.successful]:
        raise ValueError(f"the task node: {refused[0]}")


def measure(graph, client, watch, sent, server, relay, case: str, args) -> dict[str, object]:
    """One case: so many tasks, each with the fault in it once the arm moves."""
    successes, last_moves, went_on, setpoints, gaps = 0, [], 0, 0, 0
    outside: list[str] = []
    details: list[str] = []
    for scene, task in islice(put_tasks(args.seed), args.episodes):
        sent.clear()
        fault = Fault(case, server, relay, sent)
        fault.start()
        outcome = run_trial(client, watch, "flow", scene.seed, task.instruction, TASK_S)
        fault.join()
        details.append(outcome.detail)
        successes += outcome.success
        if fault.at_ns is not None:
            last_moves.append(sent.last_move_s(fault.at_ns, fault.over_ns))
            # Where answers come in time all along, a task may be done before the fault is over.
            done = outcome.success and case in ANSWERED
            went_on += done or sent.moved_after(fault.over_ns)
        outside += sent.outside()
        setpoints, gaps = setpoints + len(sent.targets), gaps + sent.gaps()
        graph.check()
    return {
        "case": case, "episodes": args.episodes, "successes": successes, "setpoints": setpoints,
        "outside_limits": len(outside), "examples": outside[:5], "gaps": gaps, "faults": len(last_moves), "went_on": went_on,
        "details": details, "last_move_s": round(max(last_moves, default=0.0), 3),
    }  # fmt: skip


def put_tasks(seed: int):
    """Scenes with a task that one plan cannot finish: what is picked up while the server is away has still to be put down."""
    for index in count():
        scene, task = trial(SUITES[SUITE], seed, index)
        if task.family == "put":
            yield scene, task


class Fault(threading.Thread):
    """Kills, freezes, restarts or delays the server once the arm has moved; it is back after AWAY_S, or as soon as it can be.

    Times are the robot's.
    """

    def __init__(self, case: str, server: "Server", relay: "Relay", sent: "Sent") -> None:
        super().__init__(daemon=True)
        self._kind, *self._ms = case.split()
        self._server, self._relay, self._sent = server, relay, sent
        self.at_ns: int | None = None
        self.over_ns = 0

    def run(self) -> None:
        if self._kind == "none" or not self._sent.wait_moving(60.0):
            return
        self.at_ns = self._sent.now_ns()
        if self._kind == "kill":
            self._server.kill()
            time.sleep(AWAY_S)
            self._server.start()
        elif self._kind == "restart":
            self._server.stop()
            self._server.start()
        elif self._kind == "delay":
            self._relay.delay_s = float(self._ms[0]) / 1e3
            time.sleep(AWAY_S)
            self._relay.delay_s = 0.0
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

    def gaps(self) -> int:
        """Places where messages are missing between two that came."""
        pairs = pairwise(list(self.targets))
        return sum(GAP < (b[0] - a[0]) / 1e9 / PERIOD_S <= ANEW for a, b in pairs)

    def outside(self) -> list[str]:
        """Setpoints that no limit of the robot's file allows."""
        found = []
        for before, after in pairwise(list(self.targets)):
            gap_s = (after[0] - before[0]) / 1e9
            if gap_s > ANEW * PERIOD_S:
                continue
            way_m, way_rad = way(before[1], after[1])
            for what, far, most in (
                ("m", way_m, self._limits.linear_speed_m_s),
                ("rad", way_rad, self._limits.angular_speed_rad_s),
            ):
                if far > most * max(gap_s, 0.0) + SLACK:
                    found.append(f"{far:.5f} {what} within {gap_s:.3f} s")
        box = self._limits.workspace
        for _, pose in self.targets:
            inside = (pose[:3] >= box.lower - 1e-9).all() and (pose[:3] <= box.upper + 1e-9).all()
            if not (np.isfinite(pose).all() and inside):
                found.append("workspace")
        return found


def way(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Distance in m and angle in rad between two poses, xyz and a quaternion."""
    cosine = min(1.0, abs(float(before[3:] @ after[3:])))
    return float(np.linalg.norm(after[:3] - before[:3])), 2.0 * float(np.arccos(cosine))


if __name__ == "__main__":
    sys.exit(main())
