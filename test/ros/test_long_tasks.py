"""Long tasks through the real task and policy nodes, planned by an HTTP server that the test plays."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from chat_stand_in import ChatStandIn  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from ros_process import ActionClient, waited  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from vla_policy.action import ExecuteInstruction  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402
from vla_policy.srv import PlanSubtask  # noqa: E402

from vla_policy.ros.process import qos  # noqa: E402

Result = ExecuteInstruction.Result
STUB = Path(__file__).with_name("stub_policy.py")
TIMEOUT_S = 60.0
FIRST, SECOND = "put the red cube in the tray", "put the blue ball in the tray"


@pytest.fixture(scope="module")
def planned(ros, shared_nodes, tmp_path_factory):
    """The chat server, with the task node and a policy node that asks it; ended after the file."""
    server, mode = ChatStandIn(), tmp_path_factory.mktemp("stub") / "mode"
    mode.write_text("done")
    arguments = ["-p", f"planner:={server.url}", "-p", "planner_model:=stand-in", "-p", "planner_timeout_s:=30.0"]  # fmt: skip
    environment = {**os.environ, "STUB_MODE": str(mode)}
    process = subprocess.Popen([sys.executable, STUB, "--ros-args", *arguments], env=environment, cwd="/")  # fmt: skip
    try:
        shared_nodes("task_node", planner=server.url, think_s=30.0, first_chunk_s=30.0, chunk_gap_s=20.0, status_s=20.0)  # fmt: skip
        yield server
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        server.close()


class Person:
    """Sends instructions, plays the control node, and hears what becomes active."""

    def __init__(self, robot):
        self.robot, self.active, self.said, self.feedback = robot, [], [], []
        self.status = ControlStatus(engaged=True, level=ControlStatus.LEVEL_PASS)
        self.statuses = robot.create_publisher(ControlStatus, "control_status", qos.LATCHED)
        # What is active for a moment only must not give way to the next before it was heard.
        every = QoSProfile(depth=100, reliability=qos.LATCHED.reliability, durability=qos.LATCHED.durability)  # fmt: skip
        robot.create_subscription(String, "active_instruction", self._kept(self.active), every)
        self.words = robot.create_publisher(String, "instruction", qos.WORDS)
        robot.create_subscription(String, "instruction", self._kept(self.said), qos.WORDS)
        robot.create_timer(0.1, lambda: self.statuses.publish(self.status))
        self.actions = ActionClient(robot, ExecuteInstruction, "execute_instruction")

    def _kept(self, texts):
        def keep(msg):
            with self.robot.heard:
                texts.append(msg.data)
                self.robot.heard.notify_all()

        return keep

    def give(self, text):
        """The accepted goal; offered again until the task node has heard that the robot is engaged."""
        goal = ExecuteInstruction.Goal(instruction=text, timeout=Duration(seconds=50).to_msg())
        for _ in range(100):
            handle = waited(self.actions.send_goal_async(goal, self._on_feedback))
            if handle.accepted:
                return handle
            with self.robot.heard:
                self.robot.heard.wait(0.1)
        raise AssertionError("never accepted")

    def _on_feedback(self, msg):
        with self.robot.heard:
            self.feedback.append(msg.feedback)
            self.robot.heard.notify_all()


def result_of(handle):
    return waited(handle.get_result_async()).result


@pytest.fixture
def person(mock_robot, planned):
    made = Person(mock_robot)
    assert made.actions.wait_for_server(TIMEOUT_S)
    assert mock_robot.client(PlanSubtask, "policy/plan_subtask")
    planned.asked.clear()
    yield made
    made.words.publish(String())


def test_sub_tasks_follow_each_other_and_the_robot_holds_in_between(person, planned):
    answers = [f'{{"next": "{FIRST}"}}', f'{{"next": "{SECOND}"}}', '{"finished": "all is away"}']
    planned.answer = lambda body: answers.pop(0)
    result = result_of(person.give("clear the table"))
    assert result.outcome == Result.DONE, result.message
    assert "all is away" in result.message and "2 sub-tasks" in result.message
    person.robot.wait(
        lambda: person.active[-5:] == [FIRST, "", SECOND, "", ""], f"{person.active}"
    )
    told = [f.subtask for f in person.feedback]
    assert told and set(told) <= {"planning", FIRST, SECOND}
    assert result.chunks >= 4
    words = planned.asked[-1]["messages"][1]["content"][0]["text"]
    assert words.index(f"{FIRST!r}, which ended as DONE") < words.index(SECOND)


def test_a_stop_ends_it_at_once_while_the_planner_thinks(person, planned):
    thinks = threading.Event()

    def think(body):
        thinks.set()
        planned.sleep(20.0)
        return f'{{"next": "{FIRST}"}}'

    planned.answer = think
    handle = person.give("sort the blocks by colour")
    assert thinks.wait(TIMEOUT_S)
    person.robot.wait(lambda: any(f.reason == "planning" for f in person.feedback), "planning")
    person.status = ControlStatus(engaged=False, level=ControlStatus.LEVEL_HOLD, reason="disengaged")  # fmt: skip
    result = result_of(handle)
    assert result.outcome == Result.STOPPED and "disengaged" in result.message
    assert not any(person.active), "a sub-task became active"


def test_what_a_planner_may_not_say_moves_nothing(person, planned):
    for answer, outcome, words in (
        ('{"next": "STOP!"}', Result.STOPPED, "the planner said"),
        ('{"engage": true}', Result.STALE, "no answer"),
        ('{"cannot": "it is nailed down"}', Result.REFUSED, "nailed down"),
    ):
        planned.answer = lambda body, answer=answer: answer
        result = result_of(person.give("clear the table"))
        assert result.outcome == outcome and words in result.message
        assert not any(person.active), "a sub-task became active"
    person.robot.wait(lambda: "STOP!" in person.said, "the word, for the control node")
