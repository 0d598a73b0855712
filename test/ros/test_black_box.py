"""What an operator did stands in the black box although it was killed in the same second."""

import signal
import time

import pytest

rclpy = pytest.importorskip("rclpy")

from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402

from vla_policy.data.bag.reader import open_bag  # noqa: E402
from vla_policy.data.black_box import segments  # noqa: E402
from vla_policy.data.events import events  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402

FLUSHED_S = 1.2  # two turns of its timer


def told(folder):
    return [(e.kind, e.text) for e in events([open_bag(bag) for bag in segments(folder)])]


def test_engage_words_and_stop_survive_a_kill(mock_robot, start_node, tmp_path):
    start_node("control_node")
    node = start_node("black_box_node", folder=str(tmp_path / "box"))
    words = mock_robot.create_publisher(String, "instruction", qos.WORDS)
    mock_robot.wait(lambda: mock_robot.count_subscribers("instruction") >= 2, "both nodes")
    for topic, readers in (("control_command", 1), ("control_status", 2)):
        mock_robot.wait(
            lambda t=topic, n=readers: mock_robot.count_subscribers(t) >= n, "the black box"
        )
    mock_robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
    for _ in range(20):
        if mock_robot.call(SetBool, "/control/engage", SetBool.Request(data=True)).success:
            break
        mock_robot.wait_ticks(1)
    words.publish(String(data="lift the cube"))
    mock_robot.send_chunk([0.3 + 0.002 * i for i in range(8)])
    mock_robot.wait_status(lambda s: s.commands_sent > 5, "commands")
    assert mock_robot.call(Trigger, "/control/stop", Trigger.Request()).success
    mock_robot.wait_status(lambda s: s.level == ControlStatus.LEVEL_STOP, "the stop")
    mock_robot.wait_ticks(2)
    time.sleep(FLUSHED_S)
    node.send_signal(signal.SIGKILL)
    node.wait()
    found = told(tmp_path / "box")
    assert {("engaged", "yes"), ("said", "'lift the cube'")} <= set(found)
    assert any(kind == "level" and text.startswith("stop ") for kind, text in found)
    assert any(kind == "guard" for kind, _ in found)
    # The next one closes what was left, and another folder of its own is refused to a second.
    again = start_node("black_box_node", folder=str(tmp_path / "box"))
    end_s = time.monotonic() + 30.0
    while time.monotonic() < end_s and len(segments(tmp_path / "box")) < 2:
        mock_robot.wait_ticks(1)
    assert (segments(tmp_path / "box")[0] / "metadata.yaml").is_file()
    assert again.poll() is None
    third = start_node("black_box_node", folder=str(tmp_path / "box"))
    assert third.wait(timeout=60) == 2
