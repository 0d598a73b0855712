"""What the control node reports of each tick: proposed, sent, why; and nothing where nobody listens."""

from dataclasses import replace
from unittest.mock import create_autospec

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.node import Node  # noqa: E402
from rclpy.publisher import Publisher  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from vla_policy.msg import ControlCommand, ControlStatus  # noqa: E402

from vla_policy.embodiment import load_embodiment  # noqa: E402
from vla_policy.ros.messages.convert import ns_from_stamp  # noqa: E402
from vla_policy.ros.nodes.command_report import CommandPublisher, full_width  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.runtime.control import Control  # noqa: E402
from vla_policy.safety.robot import robot_of  # noqa: E402
from vla_policy.types import Command, Level, Verdict  # noqa: E402

ROBOT = robot_of(load_embodiment("vx300s"))
PERIOD_NS = ROBOT.embodiment.period_ns


@pytest.fixture
def engaged_robot(mock_robot, start_node):
    start_node("control_node")
    mock_robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
    for _ in range(20):
        if mock_robot.call(SetBool, "/control/engage", SetBool.Request(data=True)).success:
            return mock_robot
        mock_robot.wait_ticks(1)
    raise AssertionError("not engaged")


def test_each_tick_reports_what_was_proposed_and_what_went_out(engaged_robot):
    robot, reports = engaged_robot, []

    def on_report(msg):
        with robot.heard:
            reports.append(msg)
            robot.heard.notify_all()

    robot.create_subscription(ControlCommand, "control_command", on_report, qos.TICKS)
    robot.wait(lambda: len(reports) > 3, "reports before any chunk")
    assert not reports[0].proposed and not reports[0].sent and reports[0].control_source == ""
    assert reports[0].level == ControlStatus.LEVEL_HOLD and reports[0].reasons
    # 1 m in 0.1 s is beyond the limits: what goes out is not what was proposed.
    robot.send_chunk([0.4] * 8, sequence=7)
    robot.wait(lambda: sum(bool(r.sent) for r in reports) > 10, "reports of commands")
    moving = [r for r in reports if r.proposed and r.sent]
    assert all(list(r.names) == list(ROBOT.layout.names) for r in reports)
    assert {(r.control_source, r.chunk_sequence, r.instruction) for r in moving} == {
        ("policy", 7, "do it")
    }
    assert any(r.level == ControlStatus.LEVEL_SLOW and r.reasons for r in moving)
    assert any(abs(r.proposed[0] - r.sent[0]) > 0.01 for r in moving)
    sent = {ns_from_stamp(r.header.stamp): r.sent for r in reports if r.sent}
    robot.wait(lambda: any(s in sent for s, _, _ in robot.targets), "the same commands")
    both = [(pose, sent[stamp]) for stamp, pose, _ in robot.targets if stamp in sent]
    for pose, reported in both:
        np.testing.assert_allclose(pose, reported[:7], atol=1e-12)
    stamps = np.array([ns_from_stamp(r.header.stamp) for r in reports])
    assert (np.diff(stamps) > 0).all()  # one for each tick, in order
    assert np.median(np.diff(stamps)) == pytest.approx(PERIOD_NS, rel=0.2)


@pytest.mark.parametrize("listeners", [0, 1])
def test_nothing_is_made_or_published_where_nobody_listens(listeners):
    node, publisher = create_autospec(Node), create_autospec(Publisher)
    publisher.get_subscription_count.return_value = listeners
    node.create_publisher.return_value = publisher
    report = CommandPublisher(node, ROBOT)
    command = Command(np.arange(8.0), ROBOT.layout.names, 5)
    verdict = Verdict(Level.PASS, command)
    report.publish(replace(Control(), proposed=np.ones(8)), verdict, 1_000_000_005)
    assert publisher.publish.call_count == listeners
    if listeners:
        msg = publisher.publish.call_args.args[0]
        assert list(msg.sent) == list(range(8)) and list(msg.proposed) == [1.0] * 8
        assert (msg.header.stamp.sec, msg.header.stamp.nanosec) == (1, 5)


def test_a_group_that_was_sent_nothing_is_not_a_number():
    hand = Command(np.array([0.4]), ROBOT.layout.names[-1:], 5)
    values = full_width(hand, ROBOT.layout.names)
    assert np.isnan(values[:-1]).all() and values[-1] == 0.4
