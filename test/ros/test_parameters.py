"""`ros2 param set` on running nodes: it acts, or it is refused with what to do instead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rcl_interfaces.srv import (  # noqa: E402
    DescribeParameters,
    GetParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.parameter import Parameter, parameter_value_to_python  # noqa: E402
from ros_process import ActionClient, waited  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from vla_policy.action import ExecuteInstruction  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402
from vla_policy.srv import GetActionChunk  # noqa: E402

from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.nodes.black_box_node import BlackBoxParams  # noqa: E402
from vla_policy.ros.nodes.control_params import ControlParams  # noqa: E402
from vla_policy.ros.nodes.expert_node import ExpertParams  # noqa: E402
from vla_policy.ros.nodes.markers_node import MarkersParams  # noqa: E402
from vla_policy.ros.nodes.mock_node import MockParams  # noqa: E402
from vla_policy.ros.nodes.policy_params import PolicyParams  # noqa: E402
from vla_policy.ros.nodes.recorder_params import RecorderParams  # noqa: E402
from vla_policy.ros.nodes.sim_node import SimParams  # noqa: E402
from vla_policy.ros.nodes.task_params import TaskParams  # noqa: E402
from vla_policy.ros.nodes.teleop_params import TeleopParams  # noqa: E402
from vla_policy.ros.nodes.web_node import WebParams  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.ros.process.params import CONFIGURE, LIVE, START, specs_of  # noqa: E402

Result = ExecuteInstruction.Result
STUB = Path(__file__).with_name("options_policy.py")
GRAPH_PAGE = Path(__file__).resolve().parents[2] / "docs" / "graph.md"
KINDS = {
    "policy": PolicyParams,
    "control": ControlParams,
    "task": TaskParams,
    "sim": SimParams,
    "mock": MockParams,
    "web": WebParams,
    "expert": ExpertParams,
    "teleop": TeleopParams,
    "markers": MarkersParams,
    "black_box": BlackBoxParams,
    "recorder": RecorderParams,
}


class Setter:
    """`ros2 param set`, `get` and `describe`, through the services that these use."""

    def __init__(self, robot):
        self.robot = robot

    def set(self, node, **values):
        """The reason of each refusal; '' where it was accepted."""
        request = SetParameters.Request(parameters=messages(values))
        results = self.robot.call(SetParameters, f"/{node}/set_parameters", request).results
        return [self.said(result) for result in results]

    def set_together(self, node, **values):
        request = SetParametersAtomically.Request(parameters=messages(values))
        service = f"/{node}/set_parameters_atomically"
        return self.said(self.robot.call(SetParametersAtomically, service, request).result)

    def get(self, node, *names):
        request = GetParameters.Request(names=list(names))
        values = self.robot.call(GetParameters, f"/{node}/get_parameters", request).values
        return [parameter_value_to_python(value) for value in values]

    def describe(self, node, name):
        request = DescribeParameters.Request(names=[name])
        service = f"/{node}/describe_parameters"
        return self.robot.call(DescribeParameters, service, request).descriptors[0]

    def change(self, node, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.robot.call(ChangeState, f"/{node}/change_state", request).success

    @staticmethod
    def said(result):
        assert result.successful == (not result.reason)
        return result.reason


def messages(values):
    return [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]


def table_row(node):
    specs = specs_of(KINDS[node])
    columns = (
        ", ".join(f"`{name}`" for name, spec in specs.items() if spec.changes == changes)
        for changes in (LIVE, CONFIGURE, START)
    )
    return f"| `{node}` | {' | '.join(columns)} |"


@pytest.mark.parametrize("node", KINDS)
def test_the_page_states_when_each_parameter_changes(node):
    assert table_row(node) in GRAPH_PAGE.read_text().splitlines()


@pytest.fixture
def setter(mock_robot):
    return Setter(mock_robot)


@pytest.mark.parametrize(
    ("name", "value"),
    [("shadow", True), ("scheme", "rtc"), ("instruction_change", "blend"), ("embodiment", "fr3")],
)
def test_what_an_active_node_cannot_change_is_refused_with_the_way(
    setter, shared_nodes, name, value
):
    shared_nodes("control_node")
    before = setter.get("control", name)
    [reason] = setter.set("control", **{name: value})
    assert name in reason and "ros2 lifecycle set /control deactivate" in reason
    assert setter.get("control", name) == before


def test_a_parameter_of_a_configuration_acts_once_configured_again(setter, shared_nodes):
    shared_nodes("control_node")
    robot = setter.robot
    assert setter.change("control", Transition.TRANSITION_DEACTIVATE)
    [reason] = setter.set("control", shadow=True)
    assert "cleanup" in reason
    assert setter.change("control", Transition.TRANSITION_CLEANUP)
    assert setter.set("control", shadow=True) == [""]
    assert setter.change("control", Transition.TRANSITION_CONFIGURE)
    assert setter.change("control", Transition.TRANSITION_ACTIVATE)
    robot.wait_status(lambda s: s.shadow, "the shadow")
    topics = {name for name, _ in robot.get_publisher_names_and_types_by_node("control", "/")}
    assert "/shadow/target_pose" in topics and "/target_pose" not in topics
    assert setter.change("control", Transition.TRANSITION_DEACTIVATE)
    assert setter.change("control", Transition.TRANSITION_CLEANUP)
    assert setter.set("control", shadow=False) == [""]
    assert setter.change("control", Transition.TRANSITION_CONFIGURE)
    assert setter.change("control", Transition.TRANSITION_ACTIVATE)


def test_a_parameter_of_the_start_is_read_only_and_says_so(setter, shared_nodes):
    shared_nodes("control_node")
    assert setter.describe("control", "real_time_priority").read_only
    assert not setter.describe("control", "shadow").read_only
    [reason] = setter.set("control", real_time_priority=5)
    assert "-p real_time_priority:=" in reason
    assert setter.get("control", "real_time_priority") == [10]


def test_an_unknown_name_is_refused_with_its_neighbour(setter, shared_nodes):
    shared_nodes("control_node")
    [reason] = setter.set("control", shadw=True)
    assert "no parameter 'shadw'" in reason and "'shadow'" in reason


def test_a_wrong_value_is_refused_and_several_change_together_or_not(setter, shared_nodes):
    shared_nodes("task_node")
    [reason] = setter.set("task", timeout_s=0.0)
    assert "timeout_s" in reason and "0.1" in reason and "3600" in reason.replace("3,600", "3600")
    [reason] = setter.set("task", hold_s="long")
    assert "'long'" in reason and "float" in reason
    before = setter.get("task", "timeout_s", "hold_s")
    assert "hold_s" in setter.set_together("task", timeout_s=7.0, hold_s=1000)
    assert setter.get("task", "timeout_s", "hold_s") == before


@pytest.fixture
def follower(setter, shared_nodes):
    """The task node, told that the robot is engaged; the policy stays silent."""
    shared_nodes.end()  # the control node, which would speak as well
    process = shared_nodes("task_node")
    robot = setter.robot
    active = []
    robot.create_subscription(
        String, "active_instruction", lambda m: active.append(m.data), qos.LATCHED
    )
    statuses = robot.create_publisher(ControlStatus, "control_status", qos.LATCHED)
    told = ControlStatus(engaged=True, reason="no_chunk", level=ControlStatus.LEVEL_HOLD)
    robot.create_timer(0.1, lambda: statuses.publish(told))
    yield active
    assert process.poll() is None
    defaults = {"timeout_s": 30.0, "first_chunk_s": 10.0}
    assert setter.set("task", **defaults) == ["", ""]


def run_to_its_end(robot, text):
    """The result of an instruction that is accepted."""
    client = ActionClient(robot, ExecuteInstruction, "execute_instruction")
    assert client.wait_for_server(60.0)
    for _ in range(100):
        handle = waited(client.send_goal_async(ExecuteInstruction.Goal(instruction=text)))
        if handle.accepted:
            result = waited(handle.get_result_async()).result
            if result.outcome != Result.REFUSED:
                client.destroy()
                return result
        with robot.heard:
            robot.heard.wait(0.05)
    raise AssertionError("never accepted")


def test_the_times_of_the_task_node_act_at_once(setter, follower):
    assert setter.set("task", first_chunk_s=0.5) == [""]
    result = run_to_its_end(setter.robot, "pick up the red cube")
    assert result.outcome == Result.STALE and "0.5 s" in result.message
    assert setter.set("task", timeout_s=0.7, first_chunk_s=60.0) == ["", ""]
    result = run_to_its_end(setter.robot, "pick up the blue cube")
    assert result.outcome == Result.TIMEOUT and "0.7 s" in result.message


@pytest.fixture
def chunk(setter):
    """chunk() -> (seed - candidates * sequence, num_steps, guidance, candidates) that the policy was called with."""
    policy = subprocess.Popen([sys.executable, str(STUB)], cwd="/", env=dict(os.environ))

    def options():
        request = GetActionChunk.Request(instruction="do it")
        for _ in range(200):
            answer = setter.robot.call(GetActionChunk, "/policy/get_action_chunk", request)
            if answer.status == GetActionChunk.Response.OK:
                got = convert.chunk_from_msg(answer.chunk, "chunk")
                (seed, steps, weight), candidates = got.actions[0, :3], got.actions[0, 7]
                return seed - candidates * got.sequence, steps, weight, candidates
            with setter.robot.heard:
                setter.robot.heard.wait(0.05)
        raise AssertionError(answer.message)

    yield options
    policy.terminate()
    assert policy.wait(20.0) == 0


def test_how_the_policy_samples_changes_with_the_next_chunk(setter, chunk):
    assert chunk() == (0.0, -1.0, 10.0, 1.0)
    assert (
        setter.set("policy", seed=1000, num_steps=3, guidance_weight=5.0, candidates=4) == [""] * 4
    )
    assert chunk() == (1000.0, 3.0, 5.0, 4.0)
    [reason] = setter.set("policy", candidates=17)
    assert "candidates" in reason
    [reason] = setter.set("policy", num_steps=1000)
    assert "num_steps" in reason
    [reason] = setter.set("policy", device="cuda")
    assert "cleanup" in reason
    assert chunk() == (1000.0, 3.0, 5.0, 4.0)
