"""Real nodes in their own processes, and a robot that the tests play themselves."""

import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import defaultdict
from pathlib import Path

import lanes
import numpy as np
import pytest

# Before rclpy is imported: tests must not hear each other, nor a robot in the same network.
os.environ["ROS_DOMAIN_ID"] = str(lanes.free_domain())
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseStamped  # noqa: E402
from rclpy.action import graph as actions  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node, NodeNameNonExistentError  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from ros_process import participant  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray, Header  # noqa: E402

from vla_policy import msg as vla_msg  # noqa: E402
from vla_policy.embodiment import load_embodiment  # noqa: E402
from vla_policy.ros.bringup.endpoints import CALLS, HEARS, PUBLISHES, SERVES  # noqa: E402
from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.ros.process.spinning import spin  # noqa: E402
from vla_policy.types import ActionChunk  # noqa: E402

TIMEOUT_S = 60.0  # for a machine that does other things as well
ATTEMPTS = 3  # to call a service that does not respond
HOME = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0])
STEP_NS = 100_000_000
RETRY_S, TRIES = 3.0, 8
CAMERA_EVERY = 2  # periods of the robot state
FAILED = pytest.StashKey[bool]()


class MockRobot(Node):
    """Publishes what a vx300s publishes, follows its commands at once, and keeps what it hears.

    silent: inputs that are not published. lag_ns: input -> how much older its stamps are.
    frozen: cameras that repeat their last message. still: cameras whose pixels do not change.
    changed_ns: camera -> stamp of its last image that was not as the one before.
    shown_ns: camera -> stamps of all its images.
    offset_ns: of its clock; with publish_clock() it is the clock of all.
    """

    def __init__(self):
        super().__init__("mock_robot")
        self.robot = load_embodiment("vx300s")
        self.heard = threading.Condition()
        self.silent, self.frozen, self.still = set(), set(), set()
        self.lag_ns, self.last_ns, self.offset_ns = {}, {}, 0
        self.changed_ns, self._shown = {}, {}
        self.shown_ns = defaultdict(list)
        self._images, self._count, self._found = {}, 0, {}
        self.clear()
        self.pose, self.opening = HOME, 0.5
        self.statuses = []
        robot = self.robot
        publish = self.create_publisher
        self.joints = publish(JointState, robot.joints.topic, qos.SENSOR)
        self.ee_pose = publish(PoseStamped, robot.ee_pose.topic, qos.SENSOR)
        self.cameras = {n: publish(Image, c.topic, qos.SENSOR) for n, c in robot.cameras.items()}
        self.chunks = publish(vla_msg.ActionChunk, "action_chunk", qos.COMMAND)
        self.create_subscription(PoseStamped, "target_pose", self._on_target, 100)
        self.create_subscription(
            Float64MultiArray, "gripper_controller/commands", self._on_gripper, 100
        )
        # What is told for one tick only must not give way to the next before it was heard.
        every_status = QoSProfile(
            depth=100,
            reliability=qos.LATCHED.reliability,
            durability=qos.LATCHED.durability,
        )
        self.create_subscription(
            vla_msg.ControlStatus, "control_status", self._on_status, every_status
        )
        self.create_timer(0.02, self._publish)

    def clear(self):
        """Forget the commands heard so far."""
        self.targets, self.grippers = [], []

    def begin_anew(self):
        """Stand at HOME, and forget the commands heard so far."""
        self.pose = HOME
        self.clear()

    def now_ns(self):
        return self.get_clock().now().nanoseconds + self.offset_ns

    def publish_clock(self):
        """Be the clock of nodes that use_sim_time, as a simulation is."""
        clock = self.create_publisher(Clock, "/clock", qos.SENSOR)

        def tick():
            clock.publish(Clock(clock=convert.stamp_from_ns(self.now_ns())))

        return self.create_timer(0.005, tick)

    def stamp(self, name):
        """The stamp of an input that is published now; remembered in last_ns."""
        self.last_ns[name] = self.now_ns() - self.lag_ns.get(name, 0)
        return self.last_ns[name]

    def send_chunk(self, rows, *, sequence=0, obs_ns=None, names=None, **fields):
        """rows: float[t, 8] or a list of x positions, the rest as at HOME; sent as they are."""
        rows = np.asarray(rows, dtype=np.float64)
        if rows.ndim == 1:
            rows = np.array([[x, *HOME[1:], 0.5] for x in rows])
        obs_ns = self.now_ns() if obs_ns is None else obs_ns
        fields = {"instruction": "do it", **fields}
        names = self.robot.action_names if names is None else names
        empty = np.zeros((len(rows), len(names)))
        chunk = ActionChunk(empty, names, obs_ns, STEP_NS, sequence, **fields)
        msg = convert.chunk_to_msg(chunk, frame_id="base_link")
        msg.values = rows.ravel().tolist()
        self.chunks.publish(msg)
        return obs_ns

    def set_in_motion(self, xs, commands):
        """Send a way as in send_chunk, and wait until the robot has had more than so many commands.

        Sent again after RETRY_S: where the machine stalls, it was too old when it came.
        """
        for sequence in range(TRIES):
            self.send_chunk(xs, sequence=sequence)
            with self.heard:
                if self.heard.wait_for(lambda: len(self.targets) > commands, RETRY_S):
                    return
        raise AssertionError(f"no motion; last status: {self.statuses[-1]}")

    def wait(self, condition, what, timeout_s=TIMEOUT_S):
        """Wait until condition() holds; it is looked at whenever something was heard."""
        with self.heard:
            if not self.heard.wait_for(condition, timeout_s):
                status = self.statuses[-1] if self.statuses else None
                raise AssertionError(f"not within {timeout_s} s: {what}; last status: {status}")

    def wait_status(self, condition, what, timeout_s=TIMEOUT_S):
        """Wait for a status for which condition(status) holds, from the newest one on."""
        start = max(0, len(self.statuses) - 1)
        self.wait(lambda: any(condition(s) for s in self.statuses[start:]), what, timeout_s)
        return next(s for s in self.statuses[start:] if condition(s))

    def wait_ticks(self, count=3):
        """Wait for a status stamped count status periods from now: what went before is heard."""
        self.wait_stamp(self.now_ns() + count * 200_000_000)

    def wait_stamp(self, time_ns):
        """Wait for a status stamped at time_ns or later."""
        self.wait(
            lambda: (
                self.statuses and convert.ns_from_stamp(self.statuses[-1].header.stamp) >= time_ns
            ),
            "a later status",
        )

    def client(self, kind, service):
        """The client of a service, which is there; made once, so that a later call loses no time by finding it."""
        if service not in self._found:
            self._found[service] = self.create_client(kind, service)
        client = self._found[service]
        assert client.wait_for_service(TIMEOUT_S), f"no service {service}"
        return client

    def call(self, kind, service, request=None):
        """The response of a service; called from the test's thread.

        Called again where none comes: a server that has not discovered the client in 0.1 s drops its response.
        """
        done = threading.Event()
        for _ in range(ATTEMPTS):
            future = self.client(kind, service).call_async(request or kind.Request())
            future.add_done_callback(lambda _: done.set())
            if done.wait(TIMEOUT_S / ATTEMPTS):
                return future.result()
        raise AssertionError(f"no response of {service}")

    def commanded_since(self, time_ns):
        """Poses of the commands made after time_ns, by their stamps: what was on its way by then is not among them."""
        return [pose for stamp_ns, pose, _ in self.targets if stamp_ns > time_ns]

    def _publish(self):
        self._count += 1
        hand = self.robot.outputs["hand"]
        finger = hand.closed + self.opening * (hand.open - hand.closed)
        names = (hand.joint, *self.robot.joint_names)  # not in the order of the description
        if "joints" not in self.silent:
            positions = [finger, self.pose[0] - HOME[0], -0.5, 0.5, 0.0, 0.5, 0.0]
            stamp_ns = self.stamp("joints")
            self.joints.publish(convert.joints_to_msg(names, positions, stamp_ns=stamp_ns))
        if "ee_pose" not in self.silent:
            stamp_ns = self.stamp("ee_pose")
            pose = convert.pose_to_msg(self.pose, stamp_ns=stamp_ns, frame_id="base_link")
            self.ee_pose.publish(pose)
        for name, publisher in self.cameras.items():
            if name in self.silent or self._count % CAMERA_EVERY:
                continue
            if name not in self.frozen:
                count = 0 if name in self.still else self._count % 256
                image = np.full((8, 8, 3), count, dtype=np.uint8)
                stamp_ns = self.stamp(name)
                self.shown_ns[name].append(stamp_ns)
                if self._shown.get(name) != count:
                    self.changed_ns[name], self._shown[name] = stamp_ns, count
                self._images[name] = convert.image_to_msg(image, stamp_ns=stamp_ns, frame_id=name)
            publisher.publish(self._images[name])

    def _on_target(self, msg):
        p, q = msg.pose.position, msg.pose.orientation
        pose = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
        with self.heard:
            self.targets.append((convert.ns_from_stamp(msg.header.stamp), pose, msg.header))
            if msg.header.frame_id == "base_link":
                self.pose = pose
            self.heard.notify_all()

    def _on_gripper(self, msg):
        hand = self.robot.outputs["hand"]
        with self.heard:
            self.grippers.append(list(msg.data))
            self.opening = (msg.data[0] - hand.closed) / (hand.open - hand.closed)
            self.heard.notify_all()

    def _on_status(self, msg):
        with self.heard:
            self.statuses.append(msg)
            self.heard.notify_all()


def pytest_collection_modifyitems(items):
    """Here processes and their clocks are real: a busy machine may starve one, so a failure is tried twice more.

    Never one with "must not move" in its message, and none with RERUNS=0.
    """
    again, here = int(os.environ.get("RERUNS", "2")), Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(
                pytest.mark.flaky(reruns=again, reruns_delay=2, rerun_except="must not move")
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where a test fails in the middle, nobody knows what it left: the next, or its own retry, gets nodes of its own."""
    report = yield
    if report.when == "call" and report.failed:
        item.stash[FAILED] = True
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    try:
        return (yield)
    finally:
        if item.stash.get(FAILED, False):
            item.stash[FAILED] = False
            for definitions in item._fixtureinfo.name2fixturedefs.values():
                if definitions[-1].scope == "module":
                    definitions[-1].finish(item._request)


@pytest.fixture(scope="module", autouse=True)
def domain():
    """Another ROS domain for each file: a participant that died unheard is taken for alive for 20 s."""
    os.environ["ROS_DOMAIN_ID"] = str(lanes.free_domain(int(os.environ["ROS_DOMAIN_ID"])))


@pytest.fixture(scope="module")
def ros(domain):
    """rclpy of the test process, anew for each file; files whose nodes come and go have one for each test."""
    with participant():
        yield


@pytest.fixture
def mock_robot(ros):
    node = MockRobot()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=spin, args=(executor,))
    thread.start()
    yield node
    executor.shutdown(timeout_sec=2.0)
    thread.join(timeout=5.0)
    node.destroy_node()


def run_node(executable, **parameters):
    """The Popen of an installed node."""
    program = shutil.which(executable)
    assert program, f"{executable} is not on the PATH: source tools/env.sh"
    arguments = []
    for name, value in parameters.items():
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        arguments += ["-p", f"{name}:={shown}"]
    return subprocess.Popen([program, *(["--ros-args", *arguments] if arguments else [])], cwd="/")


def end_nodes(processes, timeout_s=8.0):
    """End what was started, by its id; a node that does not end on SIGTERM fails the test."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline_s = time.monotonic() + timeout_s
    late = []
    for process in processes:
        try:
            process.wait(max(0.1, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            late.append(process.args[0])
            process.kill()
            process.wait()
    assert not late, f"did not end on SIGTERM: {late}"


@pytest.fixture
def start_node():
    """start_node(executable, name=value, ...) -> Popen; ended after the test."""
    processes = []

    def start(executable, **parameters):
        processes.append(run_node(executable, **parameters))
        return processes[-1]

    yield start
    end_nodes(processes)


@pytest.fixture(scope="module")
def shared_nodes():
    """shared_nodes(executable, name=value, ...) -> Popen that lasts for the tests of one file; see .end()."""
    running = {}

    def shared(executable, **parameters):
        if executable not in running or running[executable].poll() is not None:
            running[executable] = run_node(executable, **parameters)
        return running[executable]

    def end():
        end_nodes(running.values())
        running.clear()

    shared.end = end
    yield shared
    end()


@pytest.fixture
def stamped():
    """stamped(pose, frame) -> PoseStamped with that frame, as a mark among commands."""

    def make(pose, frame):
        msg = convert.pose_to_msg(pose, stamp_ns=1, frame_id="base_link")
        msg.header = Header(frame_id=frame)
        return msg

    return make


STANDINS = Path(__file__).resolve().parent.parent.parent / "interfaces"


@pytest.fixture(scope="module")
def interfaces(domain):
    """Environment of processes that need control_msgs and moveit_msgs.

    The installed ones where there are any, which `make setup` sees to; else those of interfaces/, built once.
    """
    lacking = [n for n in ("control_msgs", "moveit_msgs") if importlib.util.find_spec(n) is None]
    if not lacking:
        return dict(os.environ)
    built = STANDINS.parent / "build" / "standins" / "-".join(lacking)
    line = ["colcon", "--log-base", str(built / "log"), "build", "--base-paths", str(STANDINS)]
    line += ["--build-base", str(built / "build"), "--install-base", str(built / "install")]
    built.mkdir(parents=True, exist_ok=True)
    with (built / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers need them too
        if not (built / "install" / "setup.sh").is_file():
            if shutil.which("colcon") is None:
                pytest.skip(
                    f"no {', '.join(lacking)} and no colcon to build stand-ins; see make setup"
                )
            subprocess.run([*line, "--merge-install", "--packages-select", *lacking], check=True)
    install = built / "install"
    python = next(install.glob("lib/python3*/site-packages"))
    environment = dict(os.environ)
    for name, path in (
        ("PYTHONPATH", python),
        ("LD_LIBRARY_PATH", install / "lib"),
        ("AMENT_PREFIX_PATH", install),
    ):
        known = environment.get(name)
        environment[name] = f"{path}{os.pathsep}{known}" if known else str(path)
    return environment


# What every node has besides its work.
EVERY_NODE = ("/parameter_events", "/rosout", "/diagnostics", "/transition_event", "parameters", "parameter_types", "parameters_atomically",
              "/get_type_description", "/change_state", "/get_state", "/get_available_states",
              "/get_available_transitions", "/get_transition_graph")  # fmt: skip


@pytest.fixture(scope="session")
def running_ends():
    """running_ends(asker, node name, namespace): what that node does in the running graph, as endpoints tell it.

    A set of (does, full name, type), without what every node has.
    """

    def asked_of(asker, name, namespace):
        return (
            (PUBLISHES, asker.get_publisher_names_and_types_by_node(name, namespace)),
            (HEARS, asker.get_subscriber_names_and_types_by_node(name, namespace)),
            (SERVES, asker.get_service_names_and_types_by_node(name, namespace)),
            (CALLS, asker.get_client_names_and_types_by_node(name, namespace)),
            (SERVES, actions.get_action_server_names_and_types_by_node(asker, name, namespace)),
            (CALLS, actions.get_action_client_names_and_types_by_node(asker, name, namespace)),
        )

    def ends(asker, name, namespace="/"):
        try:
            asked = asked_of(asker, name, namespace)
        except NodeNameNonExistentError:
            return set()  # not heard of yet
        return {
            (does, topic, kind)
            for does, found in asked
            for topic, kinds in found
            for kind in kinds
            if not topic.endswith(EVERY_NODE)
            and "/_action/" not in topic
            and (does, topic) != (HEARS, "/clock")
        }

    return ends
