"""The way out of every node: the shutdown transition from each state, and signals at any moment."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest

rclpy = pytest.importorskip("rclpy")

from action_msgs.msg import GoalStatus  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from ros_process import ActionClient, participant, waited  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from vla_policy.action import ExecuteInstruction  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402

from vla_policy.ros.process import qos  # noqa: E402

SHUTDOWN = {
    "unconfigured": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    "inactive": Transition.TRANSITION_INACTIVE_SHUTDOWN,
    "active": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}
ENDS_S = ANSWER_S = 20.0
NODES = {
    "control_node": [],
    "task_node": [],
    "policy_node": [],
    "mock_node": [],
    "web_node": ["-p", "port:=18765"],
    "sim_node": [],
}
ROUNDS = int(os.environ.get("VLA_POLICY_INTERRUPTS", "3"))  # of each node


@pytest.fixture
def ros():
    """Nodes of the same names begin and end in every test."""
    with participant():
        yield


@pytest.fixture
def start(tmp_path):
    """start(executable, *arguments) -> (Popen, function that gives what it wrote); ended after the test."""
    started = []

    def run(executable, *arguments):
        path = tmp_path / f"{executable}_{len(started)}.log"
        with path.open("w") as log:
            process = subprocess.Popen(
                [shutil.which(executable), *(["--ros-args", *arguments] if arguments else [])],
                stdout=log, stderr=subprocess.STDOUT, cwd="/",
            )  # fmt: skip
        started.append(process)
        return process, path.read_text

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def change(robot, node, transition):
    request = ChangeState.Request(transition=Transition(id=transition))
    return robot.call(ChangeState, f"/{node}/change_state", request).success


def ends_well(process, written):
    code = process.wait(ENDS_S)
    text = written()
    assert "Traceback" not in text and "rror" not in text, text
    assert code == 0, text


@pytest.fixture
def others(mock_robot):
    """Two participants that know the graph: a goodbye is one datagram, which a busy one may lose."""
    context = rclpy.Context()
    rclpy.init(context=context)
    bystander = rclpy.create_node("bystander", context=context)
    yield (mock_robot, bystander)
    bystander.destroy_node()
    rclpy.try_shutdown(context=context)


def known(others, node, within_s=20.0):
    """Whether all know a node; who has never heard of it could not tell its goodbye."""
    end_s = time.monotonic() + within_s
    while not all(node in other.get_node_names() for other in others):
        if time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    return True


def said_goodbye(others, node, within_s=5.0):
    """Whether one has forgotten a node whose process has ended; without a goodbye all know it for 20 s."""
    end_s = time.monotonic() + within_s
    while all(node in other.get_node_names() for other in others):
        if time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("state", SHUTDOWN)
@pytest.mark.parametrize("node", ["control", "task", "policy"])
def test_the_shutdown_transition_ends_the_process(mock_robot, others, start, node, state):
    process, written = start(f"{node}_node", "-p", "autostart:=false")
    if state != "unconfigured":
        assert change(mock_robot, node, Transition.TRANSITION_CONFIGURE)
    if state == "active":
        assert change(mock_robot, node, Transition.TRANSITION_ACTIVATE)
    assert known(others, node)
    assert change(mock_robot, node, SHUTDOWN[state])
    process.send_signal(signal.SIGINT)  # as of somebody who does not see that it ends already
    ends_well(process, written)
    assert said_goodbye(others, node), "its node is seen by others after its process has ended"


class Caller:
    """Gives an instruction as an action."""

    def __init__(self, robot):
        self.robot = robot
        self.actions = ActionClient(robot, ExecuteInstruction, "execute_instruction")
        assert self.actions.wait_for_server(60.0)

    def start(self):
        """The goal, accepted: the task node hears of an engaged robot a moment later than the test."""
        for _ in range(100):
            goal = ExecuteInstruction.Goal(instruction="pick up the red cube")
            handle = waited(self.actions.send_goal_async(goal), ANSWER_S)
            if handle.accepted:
                return handle
            time.sleep(0.1)
        raise AssertionError("the goal is not accepted")


@pytest.fixture
def caller(mock_robot):
    made = []

    def make():
        made.append(Caller(mock_robot))
        return made[0]

    yield make
    for one in made:
        one.actions.destroy()


@pytest.mark.parametrize("waits", [True, False], ids=["result asked before", "result asked after"])
def test_a_goal_gets_its_result_before_the_task_node_says_goodbye(
    mock_robot, start, caller, waits
):
    process, written = start("task_node")
    statuses = mock_robot.create_publisher(ControlStatus, "control_status", qos.LATCHED)
    timer = mock_robot.create_timer(0.1, lambda: statuses.publish(ControlStatus(engaged=True)))
    try:
        goal = caller().start()
        asked = [goal.get_result_async()] if waits else []
        time.sleep(0.3 if waits else 0.0)  # until the node knows who waits
        assert change(mock_robot, "task", SHUTDOWN["active"])
        answer = waited((asked or [goal.get_result_async()])[0], ANSWER_S)
    finally:
        mock_robot.destroy_timer(timer)
        mock_robot.destroy_publisher(statuses)
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.outcome == ExecuteInstruction.Result.CANCELED
    assert answer.result.message == "the task node was shut down"
    ends_well(process, written)


def test_a_goal_gets_its_result_when_the_control_node_is_shut_down(mock_robot, start, caller):
    process, written = start("control_node")
    start("task_node")
    engage(mock_robot)
    result = caller().start().get_result_async()
    assert change(mock_robot, "control", SHUTDOWN["active"])
    answer = waited(result, ANSWER_S)
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.outcome in (
        ExecuteInstruction.Result.STALE,
        ExecuteInstruction.Result.STOPPED,
    )
    assert "the control node" in answer.result.message, answer.result.message
    ends_well(process, written)


def engage(mock_robot):
    mock_robot.wait_status(lambda s: s.reason == "disengaged", "active and disengaged")
    mock_robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
    for _ in range(20):  # the cameras may be heard a moment later
        if mock_robot.call(SetBool, "/control/engage", SetBool.Request(data=True)).success:
            return
        mock_robot.wait_ticks(1)
    raise AssertionError("not engaged")


def test_an_arm_in_motion_holds_at_the_shutdown_transition(mock_robot, start):
    process, written = start("control_node")
    mock_robot.client(ChangeState, "/control/change_state")  # found before the arm moves
    engage(mock_robot)
    mock_robot.set_in_motion([0.3 + 0.002 * i for i in range(100)], 10)
    assert change(mock_robot, "control", SHUTDOWN["active"])
    ends_well(process, written)
    time.sleep(0.5)  # what was still on the way has arrived
    last, before = mock_robot.targets[-1][1], mock_robot.targets[-2][1]
    assert abs(last[0] - before[0]) < 0.01, "the last message must not move the arm: must not move"
    assert last[0] < 0.4, "the rest of the plan must not move the arm"


def wait_for_own_code(process):
    """Until then a signal meets the start of Python itself, which nobody can teach manners."""
    while process.poll() is None:
        with open(f"/proc/{process.pid}/status") as status:
            caught = next(line.split()[1] for line in status if line.startswith("SigCgt"))
        if int(caught, 16) & 1 << (signal.SIGTERM - 1):
            return
        time.sleep(0.01)


@pytest.mark.parametrize("executable", NODES)
def test_a_signal_at_any_moment_ends_a_node_without_a_traceback(start, executable):
    rng = random.Random(executable)
    for _ in range(ROUNDS):
        process, written = start(executable, *NODES[executable])
        wait_for_own_code(process)
        time.sleep(rng.uniform(0.0, 6.0))
        process.send_signal(rng.choice([signal.SIGINT, signal.SIGTERM]))
        if rng.random() < 0.3:
            process.send_signal(signal.SIGINT)
        code = process.wait(ENDS_S)
        text = written()
        assert "Traceback" not in text and "wait set" not in text, text
        assert code == 0, text


@pytest.mark.parametrize("file", ["pipe", "folder", "not_yaml", "nothing"])
def test_a_parameter_file_that_is_none_is_refused_in_a_sentence(start, tmp_path, file):
    path = tmp_path / "params.yaml"
    if file == "pipe":
        os.mkfifo(path)
    elif file == "folder":
        path.mkdir()
    elif file == "not_yaml":
        path.write_text("control:\n  ros__parameters: [\n")
    process, written = start("control_node", "--params-file", str(path))
    assert process.wait(ENDS_S) == 2
    text = written()  # ROS has a line of its own
    fatal = [line for line in text.splitlines() if "[FATAL]" in line]
    assert len(fatal) == 1 and str(path) in fatal[0] and "Traceback" not in text, text
