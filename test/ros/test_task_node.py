"""The task node as a process; the test plays the control node, the policy and the clients."""

import importlib.util
import time
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from action_msgs.msg import GoalStatus  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.event_handler import SubscriptionEventCallbacks  # noqa: E402
from ros_process import ActionClient, waited  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from vla_policy.action import ExecuteInstruction  # noqa: E402
from vla_policy.msg import ControlStatus, InstructionOutcome  # noqa: E402

from vla_policy.ros.process import qos  # noqa: E402

Result = ExecuteInstruction.Result
TIMEOUT_S = 60.0
LEAF = Path(__file__).parents[2] / "examples" / "behavior_tree" / "execute_instruction.py"


class Client:
    """Sends instructions, tells the task node what control and policy say, hears the policy's."""

    def __init__(self, robot):
        self.robot = robot
        self.active, self.feedback, self.outcomes = [], [], []
        self.status = ControlStatus(engaged=True, level=ControlStatus.LEVEL_PASS)
        self.sequence = 0
        self.answering = None  # instruction that the policy answers, and whether it terminates
        self.statuses = robot.create_publisher(ControlStatus, "control_status", qos.LATCHED)
        self.topic = robot.create_publisher(String, "instruction", qos.WORDS)
        robot.create_subscription(String, "active_instruction", self._on_active, qos.LATCHED)
        robot.create_subscription(
            InstructionOutcome, "instruction_outcome", self._on_outcome, qos.OUTCOMES
        )
        robot.create_timer(0.1, self._tell)
        self.actions = ActionClient(robot, ExecuteInstruction, "execute_instruction")
        assert self.actions.wait_for_server(TIMEOUT_S)
        robot.wait(lambda: self.active, "the idle instruction")

    def _on_active(self, msg):
        with self.robot.heard:
            self.active.append(msg.data)
            self.robot.heard.notify_all()

    def _on_outcome(self, msg):
        with self.robot.heard:
            self.outcomes.append(msg)
            self.robot.heard.notify_all()

    def _tell(self):
        if self.status is not None:
            self.statuses.publish(self.status)
        if self.answering is not None:
            text, terminate = self.answering
            self.sequence += 1
            plan = "move to the cube"
            self.robot.send_chunk(
                [0.3], sequence=self.sequence, instruction=text, terminate=terminate, plan=plan
            )

    def send(self, text, timeout_s=0.0):
        """The accepted goal."""
        handle = self.offer(text, timeout_s)
        assert handle.accepted, self.outcomes[-1:]
        return handle

    def offer(self, text, timeout_s=0.0):
        """The goal, accepted or not."""
        goal = ExecuteInstruction.Goal(
            instruction=text, timeout=Duration(seconds=timeout_s).to_msg()
        )
        return waited(self.actions.send_goal_async(goal, self._on_feedback))

    def refused(self, text):
        """Why the goal is rejected: what the topic says of it."""
        count = len(self.outcomes)
        assert not self.offer(text).accepted
        self.robot.wait(lambda: len(self.outcomes) > count, "the reason")
        told = self.outcomes[-1]
        assert (told.outcome, told.instruction) == (Result.REFUSED, text.strip() or text)
        return told.message

    def _on_feedback(self, msg):
        with self.robot.heard:
            self.feedback.append(msg.feedback)
            self.robot.heard.notify_all()

    def following(self, text):
        self.robot.wait(lambda: self.active[-1] == text, f"active instruction {text!r}")


def result_of(handle):
    answer = waited(handle.get_result_async())
    return answer.status, answer.result


@pytest.fixture
def client(mock_robot, shared_nodes):
    shared_nodes("task_node")
    made = Client(mock_robot)
    # Until the task node has heard that the robot is engaged, it refuses.
    for _ in range(50):
        handle = made.offer("warm up", 0.1)
        if handle.accepted:
            result_of(handle)
            break
        with mock_robot.heard:
            mock_robot.heard.wait(0.05)
    made.following("")
    made.active.clear()
    made.active.append("")
    yield made
    made.topic.publish(String(data=""))
    made.actions.destroy()


def test_done_after_two_chunks_that_terminate(client):
    handle = client.send("pick up the red cube")
    client.following("pick up the red cube")
    client.answering = ("pick up the red cube", False)
    client.robot.wait(lambda: any(f.plan for f in client.feedback), "feedback with the plan")
    client.answering = ("pick up the red cube", True)
    status, result = result_of(handle)
    client.answering = None
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert result.outcome == Result.DONE
    assert result.chunks >= 2
    assert result.elapsed.sec + result.elapsed.nanosec > 0
    client.following("")
    told = client.feedback[-1]
    assert told.subtask == "move to the cube"
    assert 0.0 <= told.latency < 1.0


@pytest.fixture
def leaf_of(client, monkeypatch):
    """The example's leaf of a behaviour tree, for an instruction."""
    spec = importlib.util.spec_from_file_location("execute_instruction", LEAF)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "ActionClient", ActionClient)
    return lambda words: example.InstructionLeaf(client.robot, words, 20.0)


def ended(leaf):
    """What its ticks give at the end, and what it says."""
    end_s = time.monotonic() + TIMEOUT_S
    while (status := leaf.tick().value) == "running":
        assert time.monotonic() < end_s
        time.sleep(0.02)
    return status, leaf.message


def test_a_leaf_of_a_behaviour_tree_succeeds_is_halted_and_is_refused(client, leaf_of):
    leaf = leaf_of("pick up the red cube")
    leaf.start()
    client.answering = ("pick up the red cube", True)
    assert ended(leaf)[0] == "success"
    client.answering = None
    leaf.start()
    while not client.active[-1]:
        assert leaf.tick().value == "running"
        time.sleep(0.02)
    leaf.halt()
    status, message = ended(leaf)
    assert status == "failure" and "cancel" in message.lower()
    client.following("")
    leaf = leaf_of("")
    leaf.start()
    assert ended(leaf) == ("failure", "refused; the topic instruction_outcome says why")


def test_timeout_of_the_goal(client):
    client.answering = ("take your time", False)
    status, result = result_of(client.send("take your time", 0.5))
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, Result.TIMEOUT)
    assert "0.5 s" in result.message
    client.following("")


def test_cancel(client):
    handle = client.send("pick it up")
    client.following("pick it up")
    waited(handle.cancel_goal_async())
    status, result = result_of(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_CANCELED, Result.CANCELED)
    client.following("")


def test_a_new_goal_preempts_the_old_one(client):
    first = client.send("first")
    client.following("first")
    second = client.send("second")
    status, result = result_of(first)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, Result.PREEMPTED)
    assert "second" in result.message
    client.following("second")
    assert "" not in client.active[1:]  # the policy goes from one to the next without a stop
    waited(second.cancel_goal_async())
    assert result_of(second)[1].outcome == Result.CANCELED


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "empty"), ("   ", "white space"), ("x" * 201, "201"), ("a\nb", "U+000A")],
)
def test_a_bad_instruction_is_refused_and_disturbs_nothing(client, text, words):
    running = client.send("first")
    client.following("first")
    assert words in client.refused(text)
    assert client.active[-1] == "first"
    waited(running.cancel_goal_async())
    assert result_of(running)[1].outcome == Result.CANCELED


def test_not_engaged_is_refused_and_a_stop_ends_the_run(client):
    handle = client.send("pick it up")
    client.following("pick it up")
    client.status = ControlStatus(
        engaged=False, level=ControlStatus.LEVEL_STOP, reason="operator_stop", detail="by hand"
    )
    status, result = result_of(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, Result.STOPPED)
    assert "by hand" in result.message
    client.following("")
    assert "reset it first" in client.refused("pick it up")
    client.status = ControlStatus(engaged=False, reason="disengaged")
    for _ in range(100):  # until the node has heard that status
        why = client.refused("pick it up")
        if "reset" not in why:
            break
        time.sleep(0.05)
    assert "no operator has engaged" in why


def test_every_ending_is_told_on_the_topic_whichever_way_the_instruction_came(client):
    client.topic.publish(String(data="pick up the red cube"))
    client.following("pick up the red cube")
    client.topic.publish(String(data=""))  # not replaced by what follows at once
    client.topic.publish(String(data="123"))
    client.robot.wait(lambda: client.outcomes[-1].instruction == "123", "the refusal")
    ended, refused = client.outcomes[-2:]
    assert (ended.instruction, ended.outcome) == ("pick up the red cube", Result.CANCELED)
    assert refused.outcome == Result.REFUSED and "has no word" in refused.message
    assert refused.header.stamp.sec > 0


def test_a_node_that_is_not_active_rejects_and_says_so(client):
    def change(transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert client.robot.call(ChangeState, "/task/change_state", request).success

    change(Transition.TRANSITION_DEACTIVATE)
    assert "not active" in client.refused("pick it up")
    change(Transition.TRANSITION_ACTIVATE)
    assert client.send("pick it up").accepted


def test_a_control_node_that_falls_silent_ends_the_run(client):
    handle = client.send("pick it up")
    client.following("pick it up")
    client.status = None
    status, result = result_of(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, Result.STALE)
    assert "control node" in result.message


def test_when_the_task_node_is_killed_its_instruction_is_known_to_be_dead(client, shared_nodes):
    alive = []

    def on_liveliness(event):
        with client.robot.heard:
            alive.append(event.alive_count)
            client.robot.heard.notify_all()

    client.robot.create_subscription(
        String,
        "active_instruction",
        lambda msg: None,
        qos.ACTIVE,
        event_callbacks=SubscriptionEventCallbacks(liveliness=on_liveliness),
    )
    client.send("pick it up")
    client.following("pick it up")
    client.robot.wait(lambda: alive and alive[-1] == 1, "the task node alive")
    process = shared_nodes("task_node")
    process.kill()
    process.wait()
    client.robot.wait(lambda: alive[-1] == 0, "the task node gone")


def test_the_plain_topic_starts_repeats_nothing_and_stops(client):
    client.topic.publish(String(data="  pick up the red cube "))
    client.following("pick up the red cube")
    client.topic.publish(String(data="pick up the red cube"))
    client.topic.publish(String(data="put it in the bowl"))
    client.following("put it in the bowl")
    assert client.active[1:] == ["pick up the red cube", "put it in the bowl"]
    client.topic.publish(String(data=""))
    client.following("")
    client.topic.publish(String(data="pick up the blue cube"))
    client.following("pick up the blue cube")
    handle = client.send("a goal takes over")
    client.following("a goal takes over")
    client.topic.publish(String(data="\n"))  # refused, and nothing else happens
    client.topic.publish(String(data="the topic takes over again"))
    assert result_of(handle)[1].outcome == Result.PREEMPTED
    client.following("the topic takes over again")


@pytest.mark.parametrize("text", ["STOP!", "halt the robot", "cancel", "never mind"])
def test_a_word_to_stop_as_a_goal_ends_the_other_and_is_passed_on(client, text):
    heard = []
    listening = client.robot.create_subscription(
        String, "instruction", lambda m: heard.append(m.data), 10
    )
    first = client.send("first")
    client.following("first")
    status, result = result_of(client.send(text))
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, Result.STOPPED)
    assert text in result.message
    assert result_of(first)[1].outcome == Result.STOPPED
    client.following("")
    if text in ("STOP!", "halt the robot"):  # the others are told by the empty active instruction
        client.robot.wait(lambda: text in heard, "the word passed on to the control node")
    client.robot.destroy_subscription(listening)


def test_a_word_to_stop_on_the_topic_ends_the_run(client):
    goal = client.send("first")
    client.following("first")
    client.topic.publish(String(data="please stop"))
    assert result_of(goal)[1].outcome == Result.STOPPED
    client.following("")


def test_a_word_to_stop_is_heeded_while_nothing_could_start(client):
    client.status = ControlStatus(
        engaged=False, level=ControlStatus.LEVEL_HOLD, reason="disengaged"
    )
    for _ in range(50):
        if not (offered := client.offer("pick it up", 0.1)).accepted:
            break
        result_of(offered)
    assert "no operator has engaged" in client.refused("pick it up")
    for _ in range(2):
        assert result_of(client.send("stop"))[1].outcome == Result.STOPPED


def test_what_the_policy_refuses_ends_as_refused(client):
    refusals = client.robot.create_publisher(InstructionOutcome, "instruction_refused", qos.WORDS)
    handle = client.send("pick up the banana")
    client.following("pick up the banana")
    client.robot.wait(lambda: refusals.get_subscription_count(), "who listens to refusals")
    refusals.publish(InstructionOutcome(instruction="pick up the apple", message="another"))
    why = "the policy refuses: this policy does not know 'banana'"
    refusals.publish(InstructionOutcome(instruction="pick up the banana", message=why))
    status, result = result_of(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, Result.REFUSED)
    assert result.message == why
    client.following("")
    client.robot.destroy_publisher(refusals)
