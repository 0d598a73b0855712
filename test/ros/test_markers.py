"""Chunks and commands as paths and markers: the same places as the chunk's own, and nothing of a chunk that is malformed."""

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from nav_msgs.msg import Path  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from vla_policy.ros.messages.convert import ns_from_stamp  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402


def test_a_chunk_and_what_was_sent_are_drawn(mock_robot, start_node):
    received = {}

    def keep(topic):
        def on_message(msg):
            with mock_robot.heard:
                received[topic] = msg
                mock_robot.heard.notify_all()

        return on_message

    for topic, kind in {
        "chunk_markers": MarkerArray,
        "chunk_path/ee": Path,
        "sent_path/ee": Path,
    }.items():
        mock_robot.create_subscription(kind, topic, keep(topic), qos.COMMAND)
    start_node("control_node")
    start_node("markers_node")
    mock_robot.wait(lambda: mock_robot.count_subscribers("action_chunk") >= 2, "both nodes")
    mock_robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
    for _ in range(20):
        if mock_robot.call(SetBool, "/control/engage", SetBool.Request(data=True)).success:
            break
        mock_robot.wait_ticks(1)
    xs = [0.3 + 0.002 * i for i in range(8)]
    sent_ns = []
    while len(received) < 3 and len(sent_ns) < 20:  # who is not found yet hears the next one
        sent_ns.append(mock_robot.send_chunk(xs, sequence=3 + len(sent_ns)))
        mock_robot.wait_ticks(2)
    mock_robot.wait(lambda: len(received) == 3, "a message on each topic")
    planned = received["chunk_path/ee"]
    obs_ns = ns_from_stamp(planned.poses[0].header.stamp)
    assert obs_ns in sent_ns
    assert planned.header.frame_id == "base_link"
    assert np.allclose([p.pose.position.x for p in planned.poses], xs)
    due_ns = [ns_from_stamp(p.header.stamp) for p in planned.poses]
    assert due_ns == [obs_ns + k * 100_000_000 for k in range(8)]
    line = next(m for m in received["chunk_markers"].markers if m.type == Marker.LINE_STRIP)
    assert np.allclose([p.x for p in line.points], xs) and len(line.colors) == 8
    mock_robot.wait(
        lambda: received["sent_path/ee"].poses[-1].pose.position.x > 0.302, "what was sent, followed"
    )  # fmt: skip
    # A chunk that no robot could follow is not drawn, and the node goes on.
    received.pop("chunk_path/ee")
    mock_robot.send_chunk([np.nan] * 8, sequence=40)
    mock_robot.send_chunk(xs[:2], sequence=41)
    mock_robot.wait(lambda: "chunk_path/ee" in received, "the next chunk")
    assert len(received["chunk_path/ee"].poses) == 2


def test_a_robot_without_a_path_is_refused(start_node):
    process = start_node("markers_node", embodiment="ur5e_servo")
    assert process.wait(30) == 2
