"""Adapters exchanged while the control node executes what the policy node sends: benchmarks/adapter_swap.py in small."""

import numpy as np
import pytest
from adapter_folders import turned, turning

rclpy = pytest.importorskip("rclpy")

from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from vla_policy.msg import ActionChunk, ControlCommand, ControlStatus  # noqa: E402
from vla_policy.srv import SetAdapter  # noqa: E402

from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402

WAYS = {"left": 0.25, "right": -0.25}
START_S = 60.0  # importing torch on a busy machine


def heard(robot, kind, topic, quality):
    """A list that grows with every message of a topic."""
    messages = []

    def on_message(message):
        with robot.heard:
            messages.append(message)
            robot.heard.notify_all()

    robot.create_subscription(kind, topic, on_message, quality)
    return messages


def test_the_arm_goes_on_while_adapters_are_exchanged(mock_robot, start_node, tmp_path):
    robot = mock_robot
    folders = {name: turning(tmp_path / name, "tiny", by) for name, by in WAYS.items()}
    named = ",".join(f"{name}={folder}" for name, folder in folders.items())
    instruction = robot.create_publisher(String, "active_instruction", qos.ACTIVE)
    chunks = heard(robot, ActionChunk, "action_chunk", 100)
    ticks = heard(robot, ControlCommand, "control_command", qos.TICKS)
    start_node("policy_node", policy="tiny", head="flow", adapters=named)
    start_node("control_node")
    instruction.publish(String(data="pick up the red cube"))
    robot.wait(lambda: chunks, "a chunk of the base", START_S)
    for _ in range(20):
        if robot.call(SetBool, "/control/engage", SetBool.Request(data=True)).success:
            break
        robot.wait_ticks(1)
    robot.wait(lambda: any(len(t.sent) for t in ticks), "a command")
    begin = next(i for i, t in enumerate(ticks) if len(t.sent))
    for name in ("left", "right", "left"):
        answer = robot.call(SetAdapter, "/policy/set_adapter", SetAdapter.Request(adapter=name))
        assert (answer.success, answer.message, answer.in_place) == (True, "", name)
        assert 0 < convert.ns_from_stamp(answer.exchange_time) < 100e6

        def follows(name=name):
            whose = {c.sequence: c.adapter for c in chunks}
            return len(ticks[-1].sent) and whose.get(ticks[-1].chunk_sequence) == name

        robot.wait(follows, f"a command from a chunk of {name}")
    after = ticks[begin:]
    stood = [t for t in after if t.level == ControlStatus.LEVEL_STOP or not len(t.sent)]
    assert len(stood) < 0.2 * len(after), {r for t in stood for r in t.reasons}
    for message in chunks:
        chunk = convert.chunk_from_msg(message, "action_chunk")
        at = chunk.names.index("ee.qx")
        if message.adapter:  # every row turns the way of the adapter that the chunk names
            # A row of the other adapter would turn back as far; what the base adds of its own is little.
            turns = turned(chunk.actions[:, at : at + 4]) * np.sign(WAYS[message.adapter])
            assert (turns > -0.5 * np.median(turns)).all(), (message.adapter, turns)
    assert {c.adapter for c in chunks} == {"", *WAYS}
