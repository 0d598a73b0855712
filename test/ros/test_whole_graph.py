"""Words in, physics out: the nodes as processes around the simulated robot.

VLA_TEST_RATE slows the simulation down, for a machine that is busy with other things. VLA_PICTURES=FOLDER keeps pictures of the
page, as docs/images has them.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import chromium
import lanes
import numpy as np
import open_page
import pytest

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseStamped  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from vla_policy.embodiment import load_embodiment  # noqa: E402
from vla_policy.ros.bringup.graph import NodeSpec, node_specs  # noqa: E402
from vla_policy.ros.bringup.processes import Processes  # noqa: E402
from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.operator.client import Client  # noqa: E402
from vla_policy.ros.operator.watch import Lifecycles  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402

HERE = Path(__file__).parent
RATE = float(os.environ.get("VLA_TEST_RATE", "0.5" if lanes.count() > 1 else "1.0"))
POLICY = os.environ.get("VLA_TEST_POLICY", "tiny")
READY_S = 90.0
TASK_S = 30.0  # of the simulation's clock
SEED = 900_001  # of the scene and its task, far from the seeds that the policy was trained on
HOLD_MARGIN_S = 0.3  # for the last command and the arm's own settling
CYCLONE = (
    "<CycloneDDS><Domain Id='any'><General><Interfaces>"
    "<NetworkInterface name='lo' multicast='true'/></Interfaces></General>"
    "<Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>80"
    "</MaxAutoParticipantIndex><Peers><Peer address='127.0.0.1'/></Peers>"
    "<Tag></Tag></Discovery></Domain></CycloneDDS>"
)


class Graph:
    """Simulation, control and task node as processes, an operator, and one policy at a time."""

    def __init__(self):
        self.lines = []
        self.processes = Processes(lambda name, line: self.lines.append(f"{name}: {line}"))
        self.robot = load_embodiment("vx300s")
        specs = {s.name: s for s in node_specs("vx300s", sim=True, policy=POLICY, web_port=None)}
        self.policy_spec = specs.pop("policy")
        specs["sim"] = NodeSpec("sim", {**specs["sim"].parameters, "rate": RATE})
        self.processes.start(specs.values())
        self.client = Client("test")
        self.poses, self.heard = [], threading.Condition()
        node = self.client.node
        node.create_subscription(PoseStamped, "ee_pose", self._on_pose, qos.SENSOR)
        self.active = ""
        node.create_subscription(String, "active_instruction", self._on_active, qos.ACTIVE)
        self.instruction = node.create_publisher(String, "instruction", qos.COMMAND)
        self.lifecycles = Lifecycles(node, ("policy", "control", "task"))

    def wait_ready(self):
        self.wait_active("control", "task")
        assert self.client.wait_for_simulation(READY_S)

    def close(self):
        self.client.close()
        assert self.processes.stop() == ()

    def wait_active(self, *names):
        end = time.monotonic() + READY_S
        waiting = list(names)
        while waiting:
            assert not self.processes.ended() and time.monotonic() < end, self.lines[-20:]
            waiting = [name for name in waiting if not self.lifecycles.active(name)]
            time.sleep(0.1)

    def use_policy(self, head):
        """Start the shipped policy with this head."""
        parameters = {**self.policy_spec.parameters, "head": head}
        self.processes.start([NodeSpec("policy", parameters)])
        self.wait_active("policy")

    @contextlib.contextmanager
    def open_page(self, folder):
        """The operator's page in a browser, showing all cameras."""
        port = open_page.free_port()
        specs = node_specs("vx300s", sim=True, web_port=port)
        self.processes.start(spec for spec in specs if spec.name == "web")
        page = open_page.OpenPage(folder, port)
        try:
            page.open(cameras=3)
            yield page
        finally:
            page.close()
            self.processes.stop(["web"])

    def set_scene(self, seed, instruction=""):
        """A scene at rest, and an engaged control node."""
        self.client.engage(False)
        # A task node that hears of it late ends what was said before, and refuses it said again, unnoticed by `say`.
        self.wait(lambda: not self.active, "what was done is over")
        scene = self.client.set_scene(seed, instruction)
        self.wait(lambda: self.event_of(scene.instruction), "the event of the new scene")
        end = time.monotonic() + 10.0
        while True:
            try:
                self.client.engage()
                self.wait(lambda: self.client.status.engaged, "the status says so")
                return scene
            except ValueError:
                assert time.monotonic() < end, "control does not engage"
                time.sleep(0.1)

    def event_of(self, instruction):
        event = self.client.event
        return event is not None and event.instruction == instruction and not event.ever_success

    def say(self, words):
        """On the plain topic, as a person with `ros2 topic pub`: again if nothing happens.

        The task node refuses, without an answer, while it has not heard that the robot is engaged.
        """
        self.wait(self.instruction.get_subscription_count, "the task node")
        for _ in range(5):
            self.instruction.publish(String(data=words))
            end = time.monotonic() + 2.0
            while self.active != words and time.monotonic() < end:
                time.sleep(0.02)
            if self.active == words:
                return
        raise AssertionError(f"nobody takes up {words!r}: {self.lines[-8:]}")

    def wait(self, condition, what, sim_s=TASK_S):
        """Until condition() holds, for at most sim_s seconds of the simulation's clock."""
        with self.heard:
            start_ns = self.poses[-1][0] if self.poses else 0
            end = time.monotonic() + 60.0 + 3 * sim_s / RATE
            while not condition():
                self.heard.wait(0.1)
                now_ns = self.poses[-1][0] if self.poses else 0
                start_ns = start_ns or now_ns
                late = now_ns - start_ns > sim_s * 1e9 or time.monotonic() > end
                assert not late, (
                    f"not in {sim_s} s: {what}; {self.client.status}; {self.lines[-8:]}"
                )

    def moved_m(self, since_ns, until_ns=None):
        """How far the tool got from where it was at since_ns, at most, until until_ns."""
        with self.heard:
            poses = [
                p for t, p in self.poses if t >= since_ns and (until_ns is None or t <= until_ns)
            ]
        return max((float(np.linalg.norm(p[:3] - poses[0][:3])) for p in poses), default=0.0)

    def now_ns(self):
        with self.heard:
            return self.poses[-1][0]

    def _on_active(self, msg):
        self.active = msg.data

    def _on_pose(self, msg):
        with self.heard:
            stamp_ns = convert.ns_from_stamp(msg.header.stamp)
            self.poses.append((stamp_ns, convert.pose_from_msg(msg, "base_link", "ee_pose")))
            self.heard.notify_all()


@pytest.fixture(scope="module")
def graph():
    made = Graph()
    try:
        made.wait_ready()
        yield made
    finally:
        made.close()


@pytest.fixture
def steady_policy(graph):
    """A process that stands in for the policy node."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "steady_policy.py"), "--ros-args", "-p", "use_sim_time:=true"]
    )
    graph.wait(lambda: graph.client.node.count_publishers("action_chunk"), "it is up")
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def policy(graph, request):
    graph.use_policy(request.param)
    yield request.param
    graph.processes.stop(["policy"])


def test_a_policy_that_is_killed_leaves_the_arm_at_rest_within_the_bound(graph, steady_policy):
    graph.set_scene(5)
    graph.say("move on")
    start_ns = graph.now_ns()
    graph.wait(lambda: graph.moved_m(start_ns) > 0.015, "the arm moves")
    steady_policy.kill()
    steady_policy.wait()
    killed_ns = graph.now_ns()
    bound_ns = round((graph.robot.limits.max_chunk_age_s + HOLD_MARGIN_S) * 1e9)
    graph.wait(lambda: graph.now_ns() > killed_ns + bound_ns + 1_500_000_000, "time goes on")
    assert graph.moved_m(killed_ns, killed_ns + bound_ns) > 0.005, "it was in full motion"
    assert graph.moved_m(killed_ns + bound_ns) < 0.001
    assert graph.client.status.level >= graph.client.status.LEVEL_HOLD
    assert graph.client.status.queued_rows == 0


def test_any_dds_program_can_say_the_instruction(graph, steady_policy):
    graph.set_scene(6)
    start_ns = graph.now_ns()
    domain = os.environ["ROS_DOMAIN_ID"]
    environment = {
        "PATH": os.environ["PATH"],
        "CYCLONEDDS_URI": CYCLONE.replace("Id='any'", f"Id='{domain}'"),
        "CYCLONEDDS_DOMAIN": domain,
    }
    subprocess.run(
        [sys.executable, str(HERE / "dds_client.py"), "move on"],
        env=environment,
        check=True,
        timeout=60,
        cwd="/",
    )
    graph.wait(lambda: graph.client.status.instruction == "move on", "its chunk in execution")
    graph.wait(lambda: graph.moved_m(start_ns) > 0.015, "the arm moves")


@pytest.mark.parametrize("policy", ["flow", "token"], indirect=True)
def test_the_arm_does_what_was_said(graph, policy):
    scene = graph.set_scene(SEED)
    graph.say(scene.instruction)
    graph.wait(lambda: graph.client.status.instruction == scene.instruction, "its chunk")
    done(graph, scene)


@pytest.mark.skipif(chromium.PROGRAM is None, reason=chromium.MISSING)
@pytest.mark.parametrize("policy", ["flow"], indirect=True)
def test_the_arm_does_what_was_typed_on_the_page(graph, policy, tmp_path):
    with graph.open_page(tmp_path) as page:
        scene = graph.set_scene(SEED)
        page.watch_drawing()
        page.say(scene.instruction)
        page.wait_drawn("front")
        page.wait_drawn("overview")
        assert not page.drawn("wrist"), "where a camera is that moves is not known"
        page.picture("page.png")
        page.picture("page_phone.png", open_page.PHONE)
        done(graph, scene)
        page.says("the simulation: reached", "#said")
        assert page.tab.complaints == []


def done(graph, scene):
    graph.wait(lambda: graph.client.event.ever_success, scene.instruction)
    assert graph.client.event.instruction == scene.instruction
    assert graph.client.status.commands_sent > 50
