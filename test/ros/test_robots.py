"""Each embodiment runs one instruction to a finished goal on its mock, and nothing is refused there."""

import sys

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from ros_process import participant  # noqa: E402
from ros_witness import (  # noqa: E402
    READY_S,
    SCRIPTED_POLICY,
    Witness,
    patient,
    processes,
    spinning,
    wait,
    waited,
)
from vla_policy.action import ExecuteInstruction  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402

from vla_policy.embodiment import embodiment_names, load_embodiment  # noqa: E402
from vla_policy.ros.bringup.endpoints import endpoints  # noqa: E402
from vla_policy.ros.bringup.graph import command_line, node_specs  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402


@pytest.fixture
def ros():
    """Each robot's nodes have the same names."""
    with participant():
        yield


class MockWitness(Witness):
    """Hears what the mock refused, too."""

    def __init__(self, robot):
        super().__init__(robot)
        self.mock = None
        self.create_subscription(DiagnosticArray, "/diagnostics", self.on_report, qos.DIAGNOSTICS)

    def on_report(self, msg):
        for status in msg.status:
            if status.name == "mock: controllers":
                self.mock = {pair.key: int(pair.value) for pair in status.values}, status.message


@pytest.fixture(params=embodiment_names())
def running(request, ros, tmp_path, interfaces):
    """(robot, witness) of the mock, control and task nodes and a scripted policy, all in processes."""
    file = patient(request.param, tmp_path)
    robot = load_embodiment(file)
    specs = [s for s in node_specs(str(file), mock=True, web_port=None) if s.name != "policy"]
    lines = [command_line(spec) for spec in specs]
    lines.append([sys.executable, str(SCRIPTED_POLICY), str(file)])
    with (
        processes(lines, tmp_path / "nodes.log", interfaces),
        spinning(MockWitness(robot)) as witness,
    ):
        yield robot, witness


def test_one_instruction_to_a_finished_goal(running, running_ends):
    robot, witness = running
    wait(lambda: witness.status is not None and witness.status.engaged, "engaged")
    specs = node_specs(robot.name, mock=True, web_port=None)
    for node in ("mock", "control", "task"):
        told = {
            (end.does, f"/{end.name.lstrip('/')}", end.type)
            for end in endpoints(specs, robot)
            if end.node == node
        }
        wait(
            lambda node=node, told=told: running_ends(witness, node) == told,
            f"what {node} does as the data says, {sorted(told)}",
        )
    wait(lambda: set(robot.state_names) <= set(witness.state), "the whole state")
    assert witness.goals.wait_for_server(READY_S)
    before = dict(witness.state)
    result = witness.goal_result()
    assert result.outcome == ExecuteInstruction.Result.DONE, result.message
    after = dict(witness.state)
    reports = witness.mock  # one from before the motion may still be on its way
    wait(
        lambda: witness.mock is not reports and witness.mock[0]["accepted"] > 20,
        "a later report of the mock, of more than 20 commands",
    )
    counts, message = witness.mock
    # A machine that stalls delivers late; how often is for benchmarks, not for this test.
    assert counts["refused"] == counts["late"] < 0.2 * counts["accepted"], message
    assert ControlStatus.LEVEL_STOP not in witness.levels
    moved = {n: after[n] - before[n] for n in before}
    joints = [n for g in robot.actions if g.space.startswith("joint_") for n in g.names]
    assert all(moved[n] > 0.1 for n in joints), moved  # 3 s at 0.12 rad/s, eased in and out
    tools = {g.names[0].rpartition(".")[0] for g in robot.actions if g.space.startswith("ee_")}
    for tool in tools:
        assert moved[f"{tool}.y"] > 0.03, moved
    if any(g.space == "gripper" for g in robot.actions):
        assert min(witness.openings) < 0.3 and max(witness.openings) > 0.7
    assert np.isfinite(list(after.values())).all()
    servos = {output.servo for output in robot.outputs.values()} - {None}
    assert counts["servos running"] == len(servos)
    if servos:
        deactivate(witness)
        wait(lambda: witness.mock[0]["servos running"] == 0, "servo halted at the end", 20.0)


def deactivate(witness):
    """Deactivate the control node."""
    client = witness.create_client(ChangeState, "control/change_state")
    assert client.wait_for_service(READY_S)
    transition = Transition(id=Transition.TRANSITION_DEACTIVATE)
    assert waited(client.call_async(ChangeState.Request(transition=transition)), READY_S).success
