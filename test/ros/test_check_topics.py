"""Seeded mistakes of configuration against real nodes: each is found with its line, none moves the robot.

Chunks that would move it are sent in each case. A mistake in the file is refused when the control node is
configured, one for the checkpoint when the policy node is; one of the running graph is found by listening
to it, and the robot does not engage.
"""

import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2: `make setup`, then `. tools/env.sh`")

from geometry_msgs.msg import PoseStamped  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from ros_process import waited  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray, String  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from vla_policy.msg import ActionChunk as ActionChunkMsg  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402

from vla_policy.check.checkpoint import check_checkpoint  # noqa: E402
from vla_policy.check.embodiment import check_embodiment  # noqa: E402
from vla_policy.check.topics import check_topics  # noqa: E402
from vla_policy.embodiment import load_embodiment  # noqa: E402
from vla_policy.embodiment.embodiment_file import read_embodiment_file  # noqa: E402
from vla_policy.embodiment.findings import ERROR  # noqa: E402
from vla_policy.paths import config_dir  # noqa: E402
from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.operator.topic_probe import probe  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.ros.process.spinning import spin  # noqa: E402
from vla_policy.types import ActionChunk  # noqa: E402

TIMEOUT_S = 60.0
SECONDS = 1.0
SLOWLY_S = 2.5  # for a camera that sends one image each second
TELEOP = "teleop"
HOME = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0])
POSITIONS = [0.0, -0.5, 0.5, 0.0, 0.5, 0.0, 0.04]

# What is changed in the file, words of the finding, what its line has. Refused when configured.
IN_THE_FILE = {
    "degrees for radians": (("upper: [3.14158,", "upper: [180.0,"), "degrees", "upper:"),
    "inverted limits": (("1.25664", "-1.9"), "more than lower", "upper:"),
    "missing limit": (("    angular_speed_rad_s: 1.5\n", ""), "no default", "arm:"),
    "unit mismatch": (("unit: fraction", "unit: percent"), "expected one of fraction", "unit: percent"),
    "inverted gripper": (("closed: 0.021, open: 0.057", "closed: 0.057, open: 0.021"), "would close to open", "open: 0.021"),
    "wrong frame": (("    frame: base_link", "    frame: world"), "base_link", "frame: world"),
    "quaternion order": (("ee.qx, ee.qy, ee.qz, ee.qw, gripper]", "ee.qw, ee.qx, ee.qy, ee.qz, gripper]"), "qw qx qy qz", "state:"),
    "command rate": (("command_hz: 50", "command_hz: 5"), "at least policy_hz", "command_hz"),
    "two outputs on one topic": (("gripper_controller/commands", "target_pose"), "twice", "target_pose"),
}  # fmt: skip

# What is changed in the file, words of the finding, what its line has. The policy node refuses to activate.
FOR_THE_CHECKPOINT = {
    "rate mismatch": (("policy_hz: 10", "policy_hz: 20"), "at 20 Hz", "policy_hz"),
    "unknown camera": (("  wrist: {topic", "  hand: {topic"), "camera 'wrist'", "robot.yaml:12"),
}

# Fault of the running robot, words of the finding, what its line has, words of the refusal to engage.
WHEN_RUNNING = {
    "none": ("", "", ""),
    "wrong joint name": ("Did you mean 'elbow_joint'", "names:", "elbow_joint"),
    "joints in degrees": ("degrees?", "names:", "degrees?"),
    "stale stamps": ("old on arrival", "topic: joint_states", "joint_states is"),
    "stamps of zero": ("stamp zero", "topic: joint_states", "stamp 0 ns"),
    "stamps of the future": ("in the future", "topic: joint_states", "ahead of the clock"),
    "pose in another frame": ("frame 'world', base_frame is 'base_link'", "ee_pose:", "'world'"),
    "quaternion not of length one": ("quaternion of norm 0.5", "ee_pose:", "norm 0.5"),
    "wrong topic type": ("as sensor_msgs/msg/CompressedImage, expected sensor_msgs/msg/Image", "front:", "nothing has come on front/image_raw"),
    "missing camera": ("no publisher on /wrist/image_raw", "wrist:", "nothing has come on wrist/image_raw"),
    "swapped cameras": ("matches 'wrist'", "front:", "are their topics swapped?"),
    "slow camera": ("count for 0.35 s only", "wrist:", "wrist/image_raw"),
    "unknown encoding": ("'bayer_rggb8' is refused", "front:", "front/image_raw"),
    "quality of service": ("quality of service", "arm:", "its quality of service does not match"),
    "no controller": ("no controller listens", "hand:", "none is there"),
    "two publishers": ("/teleop publishes commands", "arm:", "somebody else commands the robot on /target_pose"),
    "two policies": ("2 policies", "", "2 policies send chunks at once"),
}  # fmt: skip


class Robot(Node):
    """A vx300s with a fault; keeps the commands that it hears."""

    def __init__(self, fault: str) -> None:
        super().__init__("arm_driver")
        self._fault, self.commands = fault, []
        publish, latched = self.create_publisher, qos.LATCHED
        self._joints = publish(JointState, "joint_states", qos.SENSOR)
        self._pose = publish(PoseStamped, "ee_pose", qos.SENSOR)
        wrong_type = fault == "wrong topic type"
        self._cameras = {
            "front": publish(
                CompressedImage if wrong_type else Image, "front/image_raw", qos.SENSOR
            )
        }
        if fault != "missing camera":
            self._cameras["wrist"] = publish(Image, "wrist/image_raw", qos.SENSOR)
        profile = latched if fault == "quality of service" else qos.COMMAND
        self.create_subscription(PoseStamped, "target_pose", self.commands.append, profile)
        if fault != "no controller":
            topic = "gripper_controller/commands"
            self.create_subscription(Float64MultiArray, topic, self.commands.append, qos.COMMAND)
        self._random = np.random.default_rng(0)
        self._tick = 0
        self.create_timer(0.05, self._publish)

    def _publish(self) -> None:
        fault, self._tick = self._fault, self._tick + 1
        now_ns = self.get_clock().now().nanoseconds
        late_ns = {"stale stamps": 2_000_000_000, "stamps of the future": -2_000_000_000}
        stamp_ns = now_ns - late_ns.get(fault, 0)
        names = ["waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "left_finger"]  # fmt: skip
        if fault == "wrong joint name":
            names[2] = "elbow_joint"
        positions = np.array(POSITIONS)
        if fault == "joints in degrees":
            positions[:6] *= 180 / np.pi
        joints = convert.joints_to_msg(names, positions, stamp_ns=stamp_ns)
        if fault == "stamps of zero":
            joints.header.stamp.sec = joints.header.stamp.nanosec = 0
        self._joints.publish(joints)
        frame = "world" if fault == "pose in another frame" else "base_link"
        pose = convert.pose_to_msg(HOME, stamp_ns=now_ns, frame_id=frame)
        if fault == "quaternion not of length one":
            pose.pose.orientation.w = 0.5
        self._pose.publish(pose)
        for name, publisher in self._cameras.items():
            if not (fault == "slow camera" and name == "wrist" and self._tick % 20):
                publisher.publish(self._picture(name, now_ns))

    def _picture(self, name: str, now_ns: int) -> Image | CompressedImage:
        if self._fault == "wrong topic type" and name == "front":
            return CompressedImage()
        frame = name
        if self._fault == "swapped cameras":
            frame = {"front": "wrist", "wrist": "front"}[name]
        pixels = self._random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        frame_id = f"{frame}_optical_frame"
        image = convert.image_to_msg(pixels, stamp_ns=now_ns, frame_id=frame_id)
        if self._fault == "unknown encoding" and name == "front":
            image.encoding = "bayer_rggb8"
        return image


@pytest.fixture
def running(ros):
    """running(node, ...): turns nodes in a thread until the end of the test."""
    executor, nodes = SingleThreadedExecutor(), []

    thread = threading.Thread(target=spin, args=(executor,))

    def add(*new: Node) -> None:
        for node in new:
            nodes.append(node)
            executor.add_node(node)
        if not thread.is_alive():
            thread.start()

    yield add
    executor.shutdown(timeout_sec=2.0)
    thread.join(timeout=5.0)
    for node in nodes:
        node.destroy_node()


class Policy(Node):
    """Sends chunks that move the arm to its left and open the hand, whatever is wrong."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._names = load_embodiment("vx300s").action_names
        self._chunks = self.create_publisher(ActionChunkMsg, "action_chunk", qos.COMMAND)
        self._sequence = 0
        self.create_timer(0.1, self._send)

    def _send(self) -> None:
        rows = np.tile([*HOME, 1.0], (10, 1))
        rows[:, 1] += 0.004 * (np.arange(10) + 1)
        now_ns = self.get_clock().now().nanoseconds
        chunk = ActionChunk(rows, self._names, now_ns, 100_000_000, self._sequence, "move")
        self._sequence += 1
        self._chunks.publish(convert.chunk_to_msg(chunk, frame_id="base_link"))


class Teleop(Node):
    """Commands the arm too, in a frame that tells its commands from ours."""

    def __init__(self) -> None:
        super().__init__("teleop")
        self._targets = self.create_publisher(PoseStamped, "target_pose", qos.COMMAND)
        self.create_timer(0.05, self._send)

    def _send(self) -> None:
        self._targets.publish(convert.pose_to_msg(HOME, stamp_ns=1, frame_id=TELEOP))


class Operator:
    """Configures, activates and engages the control node; hears what it tells."""

    def __init__(self, node: Node) -> None:
        self._node, self._told_ns, self.chunks = node, 0, 0
        node.create_subscription(ControlStatus, "control_status", self._on_status, qos.LATCHED)
        node.create_subscription(ActionChunkMsg, "action_chunk", self._on_chunk, qos.COMMAND)
        self._words = node.create_publisher(String, "active_instruction", qos.ACTIVE)

    def _on_status(self, msg: ControlStatus) -> None:
        self._told_ns = convert.ns_from_stamp(msg.header.stamp)

    def _on_chunk(self, msg: ActionChunkMsg) -> None:
        self.chunks += 1

    def say(self, words: str) -> None:
        self._words.publish(String(data=words))

    def wait_ticks(self) -> None:
        """Until the control node tells of a time by which the chunks sent before now are due."""
        then_ns = self._node.get_clock().now().nanoseconds + 600_000_000
        end_s = time.monotonic() + TIMEOUT_S
        while self._told_ns < then_ns:
            assert time.monotonic() < end_s, "the control node tells nothing"
            time.sleep(0.02)

    def call(self, kind: type, service: str, request: object) -> object:
        client = self._node.create_client(kind, service)
        assert client.wait_for_service(TIMEOUT_S), f"no service {service}"
        response = waited(client.call_async(request), TIMEOUT_S)
        self._node.destroy_client(client)
        return response

    def configure(self, file: Path, node: str = "control") -> bool:
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=str(file))
        parameters = [Parameter(name="embodiment", value=value)]
        self.call(
            SetParameters, f"/{node}/set_parameters", SetParameters.Request(parameters=parameters)
        )
        return self.change(Transition.TRANSITION_CONFIGURE, node)

    def change(self, transition: int, node: str = "control") -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(ChangeState, f"/{node}/change_state", request).success

    def engage(self) -> str:
        """Empty, or why not."""
        response = self.call(SetBool, "/control/engage", SetBool.Request(data=True))
        assert response.success == (not response.message)
        return response.message

    def engage_soon(self) -> None:
        """The robot's first messages may still be on their way."""
        end_s = time.monotonic() + TIMEOUT_S
        while why := self.engage():
            assert time.monotonic() < end_s, why
            time.sleep(0.1)


@pytest.fixture
def operator(running, shared_nodes):
    """The control node, not configured yet and left so."""
    shared_nodes("control_node", autostart=False)
    node = Node(f"operator_{random.randrange(10**6)}")
    running(node)
    operator = Operator(node)
    yield operator
    operator.change(Transition.TRANSITION_DEACTIVATE)
    operator.change(Transition.TRANSITION_CLEANUP)


def edited(folder: Path, old: str = "", new: str = "") -> Path:
    text = (config_dir() / "embodiments" / "vx300s.yaml").read_text()
    assert old in text
    file = folder / "robot.yaml"
    file.write_text(text.replace(old, new, 1))
    return file


def line_of(where: str) -> str:
    file, _, number = where.rpartition(":")
    return Path(file).read_text().splitlines()[int(number) - 1]


def ours(robot: Robot) -> list[object]:
    """The commands that the robot heard, without those of somebody else."""
    return [
        c
        for c in robot.commands
        if not (isinstance(c, PoseStamped) and c.header.frame_id == TELEOP)
    ]


@pytest.mark.parametrize("mistake", IN_THE_FILE)
def test_a_mistake_in_the_file(mistake, tmp_path, running, operator):
    edit, words, line = IN_THE_FILE[mistake]
    file = edited(tmp_path, *edit)
    found = [f for f in check_embodiment(file) if f.level == ERROR and words in str(f)]
    assert found and line in line_of(found[0].where)
    robot = Robot("none")
    running(robot, Policy("policy"))
    assert not operator.configure(file)
    assert not operator.change(Transition.TRANSITION_ACTIVATE)
    operator.wait_ticks()
    assert robot.commands == [], "must not move"


@pytest.mark.parametrize("mistake", FOR_THE_CHECKPOINT)
def test_a_mistake_for_the_checkpoint(mistake, tmp_path, running, operator, shared_nodes):
    edit, words, line = FOR_THE_CHECKPOINT[mistake]
    file = edited(tmp_path, *edit)
    found = check_checkpoint("tiny", str(file))
    (finding,) = [f for f in found if f.level == ERROR and words in str(f)]
    assert line in line_of(finding.where) or line in finding.change
    shared_nodes("policy_node", autostart=False)
    robot = Robot("none")
    running(robot)
    assert operator.configure(file) and operator.change(Transition.TRANSITION_ACTIVATE)
    operator.engage_soon()
    operator.say("pick up the red cube")
    assert not operator.configure(file, "policy")
    assert not operator.change(Transition.TRANSITION_ACTIVATE, "policy")
    operator.wait_ticks()
    assert operator.chunks == 0 and robot.commands == [], "must not move"


@pytest.mark.parametrize("mistake", WHEN_RUNNING)
def test_a_mistake_of_the_running_robot(mistake, tmp_path, running, operator):
    words, line, refusal = WHEN_RUNNING[mistake]
    file = edited(tmp_path)
    robot = Robot(mistake)
    running(robot, Policy("policy"))
    if mistake == "two publishers":
        running(Teleop())
    if mistake == "two policies":
        running(Policy("old_policy"))
    assert operator.configure(file) and operator.change(Transition.TRANSITION_ACTIVATE)
    sheet = read_embodiment_file(file)
    seconds = SLOWLY_S if mistake == "slow camera" else SECONDS
    found = check_topics(probe(sheet.robot, seconds=seconds), sheet)
    wrong = [f for f in found if f.level == ERROR]
    if mistake == "none":
        assert wrong == []
        operator.engage_soon()
        operator.wait_ticks()
        assert {type(c) for c in robot.commands} == {PoseStamped, Float64MultiArray}
        return
    of_it = [f for f in wrong if words in str(f)]
    assert of_it, [str(f) for f in found]
    assert not line or line in line_of(of_it[0].where)
    for _ in range(5):
        assert refusal in operator.engage()
        time.sleep(0.1)
    operator.wait_ticks()
    assert ours(robot) == [], "must not move"


def test_the_verb_prints_a_table_and_its_exit_code_tells(running):
    vla = shutil.which("vla")
    assert vla, "vla is not on the PATH: source tools/env.sh"
    running(Robot("no controller"))
    command = [vla, "check", "topics", "vx300s", "--seconds", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")
    assert ended.returncode == 1 and ended.stderr == ""
    assert "/joint_states" in ended.stdout and "/arm_driver" in ended.stdout
    assert "no controller listens to /gripper_controller/commands" in ended.stdout
