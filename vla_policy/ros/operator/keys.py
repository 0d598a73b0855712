"""Keys of a terminal as the device `keyboard`: a twist while a key repeats, and an opening."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable

from geometry_msgs.msg import TwistStamped
from rclpy.parameter import Parameter
from std_msgs.msg import Float64

from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.running_robot import RunningRobot
from vla_policy.ros.process import qos
from vla_policy.teleop.device import Device

# key -> (number of the twist's axis, direction)
MOVES = {
    "w": (0, 1.0), "s": (0, -1.0), "a": (1, 1.0), "d": (1, -1.0), "r": (2, 1.0), "f": (2, -1.0),
    "u": (3, 1.0), "o": (3, -1.0), "i": (4, 1.0), "k": (4, -1.0), "j": (5, 1.0), "l": (5, -1.0),
}  # fmt: skip
OPENINGS = {"[": 1.0, "]": 0.0}
EVENTS = {"t": "take_over", "h": "hand_back", " ": "pause"}
KEYS = (
    "w/s a/d r/f move, u/o i/k j/l turn, [ opens and ] closes the gripper; "
    "t takes over, h hands back, space pauses; q ends"
)
REPEAT_S = 0.05
HELD_S = 0.15  # a key counts as held this long after it came; a terminal repeats it some 30 times a second


def drive_with_keys(
    client: Client,
    device: Device,
    robot: RunningRobot,
    goes_on: Callable[[], bool],
    show: Callable[[str], None],
) -> None:
    """Publish the pressed keys until q, or until goes_on is false. Raises KeyboardInterrupt at q."""
    node = client.node
    node.set_parameters([Parameter("use_sim_time", value=robot.use_sim_time)])
    twists = node.create_publisher(TwistStamped, device.topic, qos.SENSOR)
    openings = node.create_publisher(Float64, device.gripper_topic, qos.SENSOR)
    before = termios.tcgetattr(sys.stdin)
    held, until_s = "", 0.0
    try:
        tty.setcbreak(sys.stdin)
        while goes_on():
            for key in _keys(REPEAT_S):
                if key == "q":
                    raise KeyboardInterrupt
                if key in EVENTS:
                    show(client.press(EVENTS[key]) or EVENTS[key])
                if key in OPENINGS:
                    openings.publish(Float64(data=OPENINGS[key]))
                held, until_s = key, time.monotonic() + HELD_S
            msg = TwistStamped()
            msg.header.stamp = node.get_clock().now().to_msg()
            if time.monotonic() < until_s and held in MOVES:
                axis, direction = MOVES[held]
                vector = msg.twist.linear if axis < 3 else msg.twist.angular
                setattr(vector, "xyz"[axis % 3], direction)
            twists.publish(msg)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _keys(patience_s: float) -> str:
    """The characters typed, after at most patience_s; '' for none. Not through sys.stdin, which reads ahead unseen."""
    ready, _, _ = select.select([sys.stdin], [], [], patience_s)
    return os.read(sys.stdin.fileno(), 64).decode(errors="ignore") if ready else ""
