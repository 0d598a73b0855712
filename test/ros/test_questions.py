"""A question through the real task and policy nodes: it is answered in words, and nothing is sent that could move the arm."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.duration import Duration  # noqa: E402
from ros_process import ActionClient, waited  # noqa: E402
from vla_policy.action import ExecuteInstruction  # noqa: E402
from vla_policy.msg import ActionChunk, ControlStatus  # noqa: E402
from vla_policy.srv import GetActionChunk  # noqa: E402

from vla_policy.ros.process import qos  # noqa: E402

Result = ExecuteInstruction.Result
STUB = Path(__file__).with_name("stub_policy.py")
TIMEOUT_S = 60.0
QUESTION, COMMAND = "is there a banana?", "take the banana"


@pytest.fixture
def client(mock_robot, shared_nodes, tmp_path):
    mode = tmp_path / "mode"
    mode.write_text("done")
    environment = {**os.environ, "STUB_MODE": str(mode)}
    process = subprocess.Popen([sys.executable, STUB, "--ros-args"], env=environment, cwd="/")
    try:
        shared_nodes("task_node", first_chunk_s=30.0, chunk_gap_s=20.0, status_s=20.0)
        status = ControlStatus(engaged=True, level=ControlStatus.LEVEL_PASS)
        statuses = mock_robot.create_publisher(ControlStatus, "control_status", qos.LATCHED)
        mock_robot.create_timer(0.1, lambda: statuses.publish(status))
        made = ActionClient(mock_robot, ExecuteInstruction, "execute_instruction")
        assert made.wait_for_server(TIMEOUT_S)
        assert mock_robot.client(GetActionChunk, "/policy/get_action_chunk")
        yield made
    finally:
        process.terminate()
        process.wait(15)


def result_of(client, robot, text):
    goal = ExecuteInstruction.Goal(instruction=text, timeout=Duration(seconds=50).to_msg())
    for _ in range(100):
        handle = waited(client.send_goal_async(goal))
        if handle.accepted:
            return waited(handle.get_result_async()).result
        with robot.heard:
            robot.heard.wait(0.1)
    raise AssertionError("never accepted")


def test_a_question_is_answered_and_moves_nothing(mock_robot, client):
    chunks = []
    mock_robot.create_subscription(ActionChunk, "action_chunk", chunks.append, 100)
    answered = result_of(client, mock_robot, QUESTION)
    assert answered.outcome == Result.REFUSED and "yes, of 2 images" in answered.message
    assert answered.chunks == 0
    request = GetActionChunk.Request(instruction=QUESTION)
    refused = mock_robot.call(GetActionChunk, "/policy/get_action_chunk", request)
    assert refused.status == GetActionChunk.Response.REFUSED
    obeyed = result_of(client, mock_robot, COMMAND)
    assert obeyed.outcome == Result.DONE and obeyed.chunks > 0
    mock_robot.wait(lambda: chunks, "the chunks of the command")
    assert {chunk.instruction for chunk in chunks} == {COMMAND}
