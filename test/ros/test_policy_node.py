"""The policy node as a process, between a robot that the test plays and the shipped checkpoint."""

import itertools
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from adapter_folders import sideways

rclpy = pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from vla_policy.msg import ActionChunk as ActionChunkMsg  # noqa: E402
from vla_policy.srv import GetActionChunk, SetAdapter  # noqa: E402

from vla_policy.embodiment.layout import layout_of  # noqa: E402
from vla_policy.execution.resampling import aligned  # noqa: E402
from vla_policy.paths import weights_dir  # noqa: E402
from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402

START_S = 60.0  # importing torch on a busy machine
INSTRUCTION = "pick up the red cube"
POLICY = os.environ.get(
    "VLA_TEST_POLICY", "tiny"
)  # another name or folder, to test before shipping


def checkpoint() -> Path:
    shipped = weights_dir() / POLICY
    return shipped if shipped.is_dir() else Path(POLICY)


class Listener:
    """What the policy node says, heard with the robot's node."""

    def __init__(self, robot):
        self.robot = robot
        self.chunks, self.reports = [], []
        self.instruction = robot.create_publisher(String, "active_instruction", qos.ACTIVE)
        robot.create_subscription(ActionChunkMsg, "action_chunk", self._on_chunk, 100)
        robot.create_subscription(DiagnosticArray, "/diagnostics", self._on_report, 100)

    def say(self, text):
        self.instruction.publish(String(data=text))

    def wait_message(self, words, timeout_s=START_S):
        """The first report from now on whose message has these words."""
        start = max(0, len(self.reports) - 1)
        self.robot.wait(
            lambda: any(words in r.message for r in self.reports[start:]),
            f"diagnostics {words!r}, last {self.reports[-1:]}",
            timeout_s,
        )
        return next(r for r in self.reports[start:] if words in r.message)

    def wait_reports(self, count):
        seen = len(self.reports)
        self.robot.wait(lambda: len(self.reports) >= seen + count, f"{count} reports")

    def _on_chunk(self, msg):
        with self.robot.heard:
            self.chunks.append(msg)
            self.robot.heard.notify_all()

    def _on_report(self, msg):
        with self.robot.heard:
            self.reports += [s for s in msg.status if s.name == "policy: inference"]
            self.robot.heard.notify_all()


@pytest.fixture
def listener(mock_robot):
    return Listener(mock_robot)


@pytest.fixture
def policy(listener, shared_nodes):
    """A policy node that is active and has no instruction."""
    process = shared_nodes("policy_node", policy=POLICY)
    listener.say("")
    listener.wait_message("no instruction is active")
    return process


def test_chunks_come_while_an_instruction_is_active(mock_robot, listener, policy):
    robot = mock_robot.robot
    listener.wait_reports(2)
    assert listener.chunks == []
    listener.say(INSTRUCTION)
    mock_robot.wait(lambda: len(listener.chunks) >= 3, "three chunks")
    chunks = [convert.chunk_from_msg(msg, "action_chunk") for msg in listener.chunks[:3]]
    assert [c.sequence - chunks[0].sequence for c in chunks] == [0, 1, 2]
    for chunk in chunks:
        assert chunk.instruction == INSTRUCTION
        assert chunk.names == robot.action_names and chunk.step_ns == robot.step_ns
        assert 0 < chunk.infer_ns < 5e9
        assert 0 <= mock_robot.now_ns() - chunk.obs_ns < 30e9
    gaps = [b.obs_ns - a.obs_ns for a, b in itertools.pairwise(chunks)]
    assert min(gaps) >= 4 * robot.step_ns
    assert listener.chunks[0].header.frame_id == robot.base_frame
    report = listener.wait_message("inferring")
    values = {v.key: v.value for v in report.values}
    assert float(values["inference p50 (ms)"]) > 0 and float(values["age of ee_pose (s)"]) < 1
    listener.say("")
    listener.wait_message("no instruction is active")
    count = len(listener.chunks)
    listener.wait_reports(2)
    assert len(listener.chunks) == count


@pytest.mark.parametrize(
    ("silent", "topic"), [("front", "front/image_raw"), ("ee_pose", "ee_pose")]
)
def test_a_missing_input_is_named_and_nothing_is_inferred(
    mock_robot, listener, policy, silent, topic
):
    mock_robot.silent.add(silent)
    listener.say(INSTRUCTION)
    report = listener.wait_message(topic)
    assert report.level == DiagnosticStatus.WARN
    count = len(listener.chunks)
    listener.wait_reports(3)
    assert len(listener.chunks) == count
    mock_robot.silent.clear()
    mock_robot.wait(lambda: len(listener.chunks) > count, "a chunk, as all is there again")


def test_a_chunk_on_request(mock_robot, listener, policy):
    name = "/policy/get_action_chunk"
    Response = GetActionChunk.Response
    refused = mock_robot.call(GetActionChunk, name)
    assert refused.status == Response.REFUSED and "no instruction" in refused.message
    refused = mock_robot.call(
        GetActionChunk, name, GetActionChunk.Request(instruction=INSTRUCTION, frozen_rows=2)
    )
    assert refused.status == Response.REFUSED and "frozen_rows" in refused.message
    answer = mock_robot.call(GetActionChunk, name, GetActionChunk.Request(instruction=INSTRUCTION))
    assert answer.status == Response.OK, answer.message
    assert convert.chunk_from_msg(answer.chunk, "chunk").instruction == INSTRUCTION
    assert listener.chunks == []
    continue_over_the_wire(mock_robot, name, answer.chunk)
    mock_robot.silent.add("wrist")
    listener.wait_reports(2)
    answer = mock_robot.call(GetActionChunk, name, GetActionChunk.Request(instruction=INSTRUCTION))
    assert answer.status == Response.NOT_READY and "wrist/image_raw" in answer.message


def continue_over_the_wire(mock_robot, name, running):
    """The second chunk begins with what the first one, which is executed, still holds."""
    request = GetActionChunk.Request(instruction=INSTRUCTION, frozen_rows=2, guidance_rows=4)
    request.previous = running
    # As if it were executed from now on, because the robot had rested until now.
    request.previous.header.stamp = convert.stamp_from_ns(mock_robot.now_ns() - 50_000_000)
    answer = mock_robot.call(GetActionChunk, name, request)
    assert answer.status == GetActionChunk.Response.OK, answer.message
    chunk = convert.chunk_from_msg(answer.chunk, "chunk")
    plan = convert.chunk_from_msg(request.previous, "previous")
    assert (chunk.continues, chunk.frozen_rows) == (plan.sequence, 2)
    left = aligned(plan, chunk.obs_ns, layout_of(mock_robot.robot))
    np.testing.assert_allclose(chunk.actions[:2], left.actions[:2], atol=1e-9)
    assert np.abs(chunk.actions[2:] - plan.actions[2:]).max() > 1e-6
    request.frozen_rows = 50
    refused = mock_robot.call(GetActionChunk, name, request)
    assert refused.status == GetActionChunk.Response.REFUSED and "frozen_rows" in refused.message


def test_an_instruction_that_is_too_long_is_refused_and_the_node_lives(
    mock_robot, listener, policy
):
    listener.say("pick up " + "the very " * 100 + "red cube")
    report = listener.wait_message("the policy refuses")
    assert "at most" in report.message
    listener.say(INSTRUCTION)
    mock_robot.wait(lambda: listener.chunks, "a chunk for a good instruction")
    assert listener.chunks[0].instruction == INSTRUCTION


def test_deactivated_it_is_silent_and_ctrl_c_ends_it(mock_robot, listener, policy):
    listener.say(INSTRUCTION)
    mock_robot.wait(lambda: listener.chunks, "a chunk")
    change = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert mock_robot.call(ChangeState, "/policy/change_state", change).success
    listener.wait_message("not active")
    count = len(listener.chunks)
    listener.wait_reports(2)
    assert len(listener.chunks) == count
    policy.send_signal(signal.SIGINT)
    assert policy.wait(20.0) == 0


def unconfigured(robot, listener, words):
    """Wait for the sentence; the node must then be unconfigured and without a chunk."""
    report = listener.wait_message(words)
    assert report.level == DiagnosticStatus.ERROR
    state = robot.call(GetState, "/policy/get_state").current_state
    assert state.id == State.PRIMARY_STATE_UNCONFIGURED
    listener.say(INSTRUCTION)
    listener.wait_reports(2)
    assert listener.chunks == []
    return report.message


def test_a_checkpoint_for_another_robot_names_every_difference(
    mock_robot, listener, start_node, tmp_path
):
    folder = tmp_path / "foreign"
    shutil.copytree(checkpoint(), folder, symlinks=False)
    config = json.loads((folder / "config.json").read_text())
    contract = config["contract"] if "contract" in config else config
    contract["policy_hz"] = 30.0
    contract["embodiments"] = ["another_arm"]
    (folder / "config.json").write_text(json.dumps(config))
    start_node("policy_node", policy=str(folder))
    message = unconfigured(mock_robot, listener, "does not fit robot 'vx300s'")
    assert "contract.policy_hz" in message and "another_arm" in message


def test_adapters_are_exchanged_while_it_infers_and_no_chunk_is_of_two(
    mock_robot, listener, start_node, tmp_path
):
    folders = {
        name: sideways(tmp_path / name, POLICY, towards)
        for name, towards in (("left", 1.0), ("right", -1.0))
    }
    named = ",".join(f"{name}={folder}" for name, folder in folders.items())
    start_node("policy_node", policy=POLICY, adapters=named, execute_rows=1)
    listener.say(INSTRUCTION)
    mock_robot.wait(lambda: listener.chunks, "a chunk of the base", START_S)
    assert listener.chunks[0].adapter == ""
    names = ("left", "right") * 5
    for name in names:
        answer = mock_robot.call(
            SetAdapter, "/policy/set_adapter", SetAdapter.Request(adapter=name)
        )
        assert (answer.success, answer.message, answer.in_place) == (True, "", name)
        assert convert.ns_from_stamp(answer.exchange_time) > 0
        count = len(listener.chunks)
        mock_robot.wait(
            lambda count=count: len(listener.chunks) > count + 1, "chunks of the new one"
        )
        assert listener.chunks[-1].adapter == name
    other = tmp_path / "other"
    shutil.copytree(folders["left"], other)
    base = json.loads((other / "base.json").read_text()) | {"fingerprint": "0" * 64}
    (other / "base.json").write_text(json.dumps(base))
    refused = mock_robot.call(
        SetAdapter, "/policy/set_adapter", SetAdapter.Request(adapter=str(other))
    )
    assert not refused.success and refused.in_place == "right"
    assert convert.ns_from_stamp(refused.exchange_time) == 0
    assert "got another base" in refused.message
    count = len(listener.chunks)
    mock_robot.wait(lambda: len(listener.chunks) > count + 1, "chunks of the old one")
    made = [convert.chunk_from_msg(msg, "action_chunk") for msg in listener.chunks]
    steps = [(chunk.adapter, np.diff(chunk.actions[:, :3], axis=0)) for chunk in made]
    left = next(step.mean(0) for adapter, step in steps if adapter == "left")
    for adapter, step in steps:
        if adapter:  # every row goes the way of the adapter that the chunk names
            assert (step @ left * (1 if adapter == "left" else -1) > 0).all(), (adapter, step)
    assert {c.adapter for c in listener.chunks} == {"", "left", "right"}
    sequences = [c.sequence for c in listener.chunks]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
