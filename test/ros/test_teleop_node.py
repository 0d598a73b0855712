"""The teleop node beside the control node, with a gamepad and a robot that the test plays."""

import subprocess
import threading

import pytest

rclpy = pytest.importorskip("rclpy")

from sensor_msgs.msg import Joy  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from vla_policy.embodiment import load_embodiment  # noqa: E402
from vla_policy.ros.bringup.endpoints import endpoints  # noqa: E402
from vla_policy.ros.bringup.graph import teleop_spec  # noqa: E402
from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402

DEAD_MAN, TAKE_OVER, HAND_BACK = 5, 1, 6


class Gamepad:
    """Publishes Joy at 50 Hz, with whatever axes and buttons are set."""

    def __init__(self, robot):
        self.robot, self.axes, self.down, self.silent = robot, {}, set(), False
        self.publisher = robot.create_publisher(Joy, "joy", qos.SENSOR)
        self.timer = robot.create_timer(0.02, self._tell)
        self.told = threading.Event()

    def _tell(self):
        if self.silent:
            return
        axes = [{2: 1.0, 5: 1.0}.get(i, 0.0) for i in range(8)]
        for index, value in self.axes.items():
            axes[index] = value
        msg = Joy(axes=axes, buttons=[int(i in self.down) for i in range(11)])
        msg.header.stamp = convert.stamp_from_ns(self.robot.now_ns())
        self.publisher.publish(msg)

    def press(self, button):
        """Down until a status came after it, then up."""
        self.down.add(button)
        self.robot.wait_ticks(1)
        self.down.discard(button)


@pytest.fixture
def gamepad(mock_robot, shared_nodes):
    """A gamepad, with the control node engaged and autonomous, and the teleop node."""
    shared_nodes("control_node")
    shared_nodes("teleop_node", device="gamepad")
    pad = Gamepad(mock_robot)
    mock_robot.wait(lambda: mock_robot.statuses, "the first status")
    mock_robot.call(SetBool, "/control/engage", SetBool.Request(data=False))
    mock_robot.wait_ticks(1)
    mock_robot.begin_anew()
    assert mock_robot.call(Trigger, "/control/hand_back").success
    mock_robot.wait(lambda: mock_robot.count_subscribers("joy") > 0, "the teleop node")
    mock_robot.wait_ticks(2)
    for _ in range(20):
        response = mock_robot.call(SetBool, "/control/engage", SetBool.Request(data=True))
        if response.success:
            break
        mock_robot.wait_ticks(1)
    assert response.success, response.message
    yield pad
    mock_robot.destroy_timer(pad.timer)
    mock_robot.destroy_publisher(pad.publisher)


def test_a_button_takes_over_a_stick_moves_the_dead_man_holds_and_a_button_hands_back(
    mock_robot, gamepad
):
    gamepad.axes, gamepad.down = {1: 1.0}, {DEAD_MAN}
    mock_robot.wait_ticks(3)
    assert mock_robot.targets == [], "must not move"
    gamepad.press(TAKE_OVER)
    mock_robot.wait_status(lambda s: s.mode == "teleoperated", "taken over")
    mock_robot.wait(lambda: mock_robot.pose[0] > 0.33, "the stick moves the arm")
    gamepad.down.discard(DEAD_MAN)
    mock_robot.wait_status(lambda s: s.reason == "no_teleop", "it holds")
    mock_robot.wait_ticks(1)
    stood = mock_robot.pose[0]
    mock_robot.wait_ticks(3)
    assert mock_robot.pose[0] == stood, "must not move"
    gamepad.down.add(DEAD_MAN)
    gamepad.axes = {1: -1.0}
    mock_robot.wait(lambda: mock_robot.pose[0] < stood - 0.01, "it goes on")
    gamepad.silent = True
    silent_ns = mock_robot.now_ns()
    mock_robot.wait_status(lambda s: s.reason == "no_teleop", "a silent device holds")
    mock_robot.wait_ticks(3)
    moved = [
        stamp for (stamp, pose, _), (_, before, _) in
        zip(mock_robot.targets[1:], mock_robot.targets, strict=False) if (pose != before).any()
    ]  # fmt: skip
    assert moved[-1] < silent_ns + 1.2e9
    assert mock_robot.statuses[-1].mode == "teleoperated"
    gamepad.silent, gamepad.down = False, set()
    mock_robot.wait_ticks(1)
    gamepad.press(HAND_BACK)
    mock_robot.wait_status(lambda s: s.mode == "autonomous", "handed back")


def test_the_running_node_is_what_the_data_says(mock_robot, gamepad, running_ends):
    robot = load_embodiment("vx300s")
    told = {
        (end.does, f"/{end.name.lstrip('/')}", end.type)
        for end in endpoints((teleop_spec("vx300s", "gamepad"),), robot)
    }
    assert ("hears", "/joy", "sensor_msgs/msg/Joy") in told
    assert running_ends(mock_robot, "teleop") == told


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("joystick", "device: got 'joystick', expected one of gamepad"),
        ("so101_leader", "cannot drive vx300s: got a leader arm"),
    ],
)
def test_a_wrong_device_is_refused_in_a_sentence(ros, device, said):
    line = ["teleop_node", "--ros-args", "-p", f"device:={device}"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert ended.returncode == 2
    assert said in ended.stderr and "Traceback" not in ended.stderr
