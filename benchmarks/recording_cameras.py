"""The robot of recording.py in two processes: a mock of its arm, and a driver of its three cameras of 640 x 480.

    recording_cameras.py            the mock, without cameras
    recording_cameras.py driver     the driver, until it is told to end

The driver serializes eight pictures of each camera once and writes only the stamp anew, as a driver in C++ does that
gets its pixels from the hardware: what is measured is the recorder, not a camera made of Python.
Environment variables of the driver: PLAYED_STAMPS, a file for the stamps of every image by topic; PLAYED_CAMERAS, the
topics; PLAYED_HZ; PLAYED_AFTER, a topic of the mock, which does not start beside cameras; PLAYED_RELIABLE, if the
images are published reliably; PLAYED_TRANSPORTS, in place of SEGMENT.
"""

import json
import os
import signal
import struct
import sys
import time
from pathlib import Path

import numpy as np

from vla_policy.check.doctor.fast_dds import TRANSPORTS
from vla_policy.ros.process import large_messages

HEIGHT, WIDTH = 480, 640
KINDS = 8  # different images, so that an encoder has something to do
SEGMENT = "DEFAULT?sockets_size=16MB"  # room for 0.4 s of images, see docs/recording.md
STAMP = struct.Struct("<iI")  # behind the head of 4 bytes: seconds, nanoseconds


def pictures() -> list[np.ndarray]:
    """uint8[h, w, 3], KINDS of them: a ramp in different tints, with noise."""
    ramp = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))[..., None] // 4
    tint = np.array([[3, 5, 7]]) * np.arange(KINDS)[:, None]
    noise = np.random.default_rng(0).integers(0, 12, (HEIGHT, WIDTH, 3))
    return [(ramp + t + noise).astype(np.uint8) for t in tint]


def drive() -> int:
    """Publish on the beat until a signal; the exit code."""
    os.environ[TRANSPORTS] = os.environ.get("PLAYED_TRANSPORTS", SEGMENT)
    large_messages.prepare()
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from rclpy.serialization import serialize_message
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import Image

    from vla_policy.ros.messages import convert

    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    signal.signal(signal.SIGINT, lambda number, frame: ended.append(number))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("cameras")
    reliable = bool(os.environ.get("PLAYED_RELIABLE"))
    kind = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    profile = QoSProfile(depth=5, reliability=kind)
    while not ended and not node.count_publishers(os.environ["PLAYED_AFTER"]):
        time.sleep(0.1)
    topics = os.environ["PLAYED_CAMERAS"].split()
    publishers = [node.create_publisher(Image, topic, profile) for topic in topics]
    ready = [
        bytearray(serialize_message(convert.image_to_msg(p, stamp_ns=0, frame_id="camera")))
        for p in pictures()
    ]
    stamps: list[int] = []
    period_s = 1.0 / float(os.environ["PLAYED_HZ"])
    due_s, missed = time.monotonic(), 0
    while not ended:
        now_ns = time.time_ns()
        for number, publisher in enumerate(publishers):
            data = ready[(len(stamps) + number) % KINDS]
            STAMP.pack_into(data, 4, *divmod(now_ns, 10**9))
            publisher.publish(bytes(data))
        stamps.append(now_ns)
        due_s += period_s
        if time.monotonic() > due_s + period_s:
            missed, due_s = missed + 1, time.monotonic()
        time.sleep(max(0.0, due_s - time.monotonic()))
    found = dict.fromkeys(topics, stamps)
    Path(os.environ["PLAYED_STAMPS"]).write_text(json.dumps({"stamps": found, "missed": missed}))
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


def mock() -> int:
    """The mock robot, without its cameras."""
    from vla_policy.ros.nodes.mock_node import MockNode
    from vla_policy.ros.process.run_node import run_node

    class Robot(MockNode):
        def _on_cameras(self) -> None:
            return

        def _on_report(self) -> None:
            return  # who publishes these cameras is no other robot

    return run_node(Robot, threads=2)


if __name__ == "__main__":
    sys.exit(drive() if sys.argv[1:2] == ["driver"] else mock())
