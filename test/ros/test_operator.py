"""`vla stop` and `vla say` with real nodes of several robots: which one is meant, and what is given up."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest

rclpy = pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from vla_policy.action import ExecuteInstruction  # noqa: E402
from vla_policy.msg import ControlStatus, InstructionOutcome  # noqa: E402

from vla_policy.ros.bringup.launch import ARGUMENTS, first_words, specs_of  # noqa: E402
from vla_policy.ros.operator import client as operator_client  # noqa: E402
from vla_policy.ros.operator.client import Client  # noqa: E402
from vla_policy.ros.operator.follow import Progress, acted  # noqa: E402
from vla_policy.ros.process import notes, qos  # noqa: E402
from vla_policy.ros.process.notes import namespace_of  # noqa: E402

B = 76


def vla(folder, *words, domain=None):
    """(exit code, what was printed) of `vla`, without a chosen domain unless one is given."""
    ended = subprocess.run(
        [shutil.which("vla"), *words], capture_output=True, text=True, timeout=60, cwd="/",
        env=environment(folder, domain),
    )  # fmt: skip
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stdout + ended.stderr


def environment(folder, domain=None):
    found = {k: v for k, v in os.environ.items() if k != "ROS_DOMAIN_ID"} | {"TMPDIR": str(folder)}
    return found if domain is None else found | {"ROS_DOMAIN_ID": str(domain)}


@pytest.fixture
def controls(tmp_path):
    """controls(domain, robot, namespace): a control node there, whose note is in folder."""
    processes = []

    def start(domain, robot="vx300s", namespace="/", folder=tmp_path):
        line = [shutil.which("control_node"), "--ros-args", "-p", f"embodiment:={robot}"]
        line += ["-r", f"__ns:={namespace}"] if namespace != "/" else []
        process = subprocess.Popen(
            line, cwd="/", stderr=subprocess.PIPE, text=True, env=environment(folder, domain)
        )
        processes.append(process)
        for told in process.stderr:
            assert "not configured" not in told, told
            if "Hz to" in told:
                return process
        raise AssertionError("the control node ended")

    yield start
    for process in processes:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(20.0)
        process.stderr.close()


def test_the_one_robot_is_stopped_wherever_it_is_and_named(tmp_path, controls):
    process = controls(B)
    code, said = vla(tmp_path, "stop", "--domain", str(B))
    assert code == 0, said
    assert f"stopped: vx300s in domain {B}, namespace / (process {process.pid})" in said
    code, said = vla(tmp_path, "stop", "--reset", "--domain", str(B))
    assert code == 0 and "reset: vx300s" in said
    code, said = vla(tmp_path, "say", "--domain", str(B), "halt!")
    assert code == 0 and f"stopped: vx300s in domain {B}" in said, said


def test_without_a_domain_the_robot_of_another_domain_is_found(tmp_path, controls):
    controls(77, "aloha", "/left")
    code, said = vla(tmp_path, "stop")
    assert code == 0 and "stopped: aloha in domain 77, namespace /left" in said, said


def test_of_several_none_is_stopped_and_the_list_says_how(tmp_path, controls):
    controls(77, "vx300s")
    controls(78, "aloha", "/a")
    code, said = vla(tmp_path, "stop")
    assert code == 1 and "2 robots are running and none was stopped" in said, said
    commands = re.findall(r"vla (stop --domain .*)", said)
    assert commands == ["stop --domain 77 --namespace /", "stop --domain 78 --namespace /a"]
    code, said = vla(tmp_path, *commands[1].split())
    assert code == 0 and "aloha" in said and "vx300s" not in said, said
    code, said = vla(tmp_path, "stop", "--robot", "vx300s")
    assert code == 0 and "stopped: vx300s in domain 77" in said, said
    code, said = vla(tmp_path, "stop", "--all")
    assert code == 0 and said.count("stopped: ") == 2, said
    code, said = vla(tmp_path, "stop", domain=77)
    assert code == 0 and "domain 77" in said and "domain 78" not in said, said
    code, said = vla(tmp_path, "stop", domain=79)  # whose robot would be on another machine
    assert code == 1 and "none was stopped" in said and "--domain 78 --namespace /a" in said, said


def test_for_want_of_a_robot_in_the_chosen_domain_that_of_another_is_stopped_and_not_reset(
    tmp_path, controls
):
    controls(77)
    code, said = vla(tmp_path, "stop", domain=78)
    assert code == 0 and "stopped: vx300s in domain 77" in said, said
    code, said = vla(tmp_path, "stop", "--reset", domain=78)
    assert code == 1 and "no robot fits, and none was reset" in said, said
    code, said = vla(tmp_path, "stop", domain="here")
    assert code == 1 and "ROS_DOMAIN_ID: got 'here', expected a number" in said, said


def test_a_robot_that_only_a_note_names_makes_it_several(tmp_path, controls, monkeypatch):
    controls(77)
    monkeypatch.setattr(notes.tempfile, "tempdir", str(tmp_path))
    notes.announce(notes.Session(os.getpid(), 77, robot="aloha", namespace="/left"))
    (notes.own_folder() / "1.json").write_bytes(b"\0 no note")
    code, said = vla(tmp_path, "stop")
    assert code == 1 and "2 robots are running and none was stopped" in said, said
    assert "stop --domain 77 --namespace /left" in said and "1.json" in said, said
    code, said = vla(tmp_path, "stop", "--all")
    assert code == 1 and said.count("stopped: vx300s") == 1, said
    assert re.search(r"aloha in domain 77.*not heard of: NOT STOPPED", said), said


def test_robots_without_a_note_are_found_and_told_after_the_stop(tmp_path, controls):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    controls(77, "aloha", "/a", folder=elsewhere)  # as of another user, or another machine
    code, said = vla(tmp_path, "stop", "--reset")
    assert code == 0 and "reset: aloha" in said, said
    controls(77, "vx300s")
    code, said = vla(tmp_path, "stop")
    first, _, then = said.partition("\n")
    assert "stopped: vx300s" in first, said
    # In what is left of a second the other one is heard of or not; the command that waits for it is said.
    assert "vla stop --all" in then and code == ("NOT STOPPED" in then), said
    if code:
        assert "stop --domain 77 --namespace /a" in then, said
    code, said = vla(tmp_path, "stop", "--all")
    assert code == 0 and said.count("stopped: ") == 2, said


def test_two_robots_of_one_domain_are_told_apart(tmp_path, controls, mock_robot):
    domain, names = int(os.environ["ROS_DOMAIN_ID"]), {}

    def on_diagnostics(msg):
        with mock_robot.heard:
            for status in msg.status:
                names.setdefault(status.hardware_id, set()).add(status.name)
            mock_robot.heard.notify_all()

    mock_robot.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10)
    for space in ("/a", "/b"):
        controls(domain, "vx300s", space)
    mock_robot.wait(lambda: {"a/vx300s", "b/vx300s"} <= set(names), "diagnostics of both")
    assert names["a/vx300s"] and not names["a/vx300s"] & names["b/vx300s"]
    code, said = vla(tmp_path, "stop", domain=domain)
    assert code == 1 and "2 robots are running and none was stopped" in said, said
    for space in ("/a", "/b"):
        assert f"stop --domain {domain} --namespace {space}" in said
    code, said = vla(tmp_path, "stop", "--namespace", "b", domain=domain)
    assert code == 0 and "namespace /b" in said and "namespace /a" not in said, said


def test_a_node_that_does_not_answer_is_not_called_stopped(tmp_path, controls):
    controls(77).send_signal(signal.SIGSTOP)
    code, said = vla(tmp_path, "stop")
    assert code == 1 and "NOT STOPPED" in said and "emergency stop" in said, said


def test_nothing_to_stop_is_said(tmp_path):
    code, said = vla(tmp_path, "stop", "--domain", "79")
    assert code == 1 and "no control node answers in domain 79" in said


@pytest.mark.parametrize("verb", [["up"], ["say", "pick it up"], ["stop"], ["demo"]])
def test_a_namespace_that_is_none_is_refused_in_a_sentence(tmp_path, verb):
    code, said = vla(tmp_path, verb[0], "--namespace", "1 b", *verb[1:])
    assert code == 1 and "namespace: got '1 b', expected names of letters" in said, said


def test_namespaces_with_and_without_a_slash():
    assert [namespace_of(n) for n in ("", "/", "a", "/a", "/a/b_2/")] == [
        "",
        "",
        "/a",
        "/a",
        "/a/b_2",
    ]
    for wrong in ("a b", "1a", "a//b", "a/-", "~", "a\n"):
        with pytest.raises(ValueError, match="namespace: got"):
            namespace_of(wrong)


class Robot:
    """The control node's word and the policy's silence, beside a real task node."""

    def __init__(self, node):
        self.node, self.active, self.outcomes = node, [], []
        self.status = ControlStatus(engaged=True, level=2, reason="no_chunk")
        self.statuses = node.create_publisher(ControlStatus, "control_status", qos.LATCHED)
        node.create_timer(0.1, lambda: self.statuses.publish(self.status))
        node.create_subscription(String, "active_instruction", self.on_active, qos.LATCHED)
        node.create_subscription(
            InstructionOutcome, "instruction_outcome", self.on_outcome, qos.OUTCOMES
        )

    def on_active(self, msg):
        with self.node.heard:
            self.active.append(msg.data)
            self.node.heard.notify_all()

    def on_outcome(self, msg):
        with self.node.heard:
            self.outcomes.append(msg)
            self.node.heard.notify_all()


@pytest.fixture
def robot(mock_robot, start_node):
    made = Robot(mock_robot)
    made.task = start_node("task_node", first_chunk_s=60.0)
    mock_robot.wait(lambda: made.active, "the task node")
    # This node hears the status too.
    mock_robot.wait(lambda: made.statuses.get_subscription_count() > 1, "who reads the status")
    time.sleep(0.5)  # until the task node has read it
    return made


@pytest.fixture
def say(tmp_path):
    started = []

    def start(*words):
        domain = os.environ["ROS_DOMAIN_ID"]
        process = subprocess.Popen(
            [shutil.which("vla"), "say", *words], cwd="/", text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=environment(tmp_path, domain),
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.stdout.close()
        process.wait()


def ended(process):
    said = process.communicate(timeout=60)[0]
    assert "Traceback" not in said, said
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_interrupted_is_taken_back_and_confirmed(robot, say, number):
    process = say("pick up the red cube")
    robot.node.wait(lambda: robot.active[-1] == "pick up the red cube", "the instruction")
    process.send_signal(number)
    code, said = ended(process)
    assert code == 1 and "canceled after" in said and "the client canceled" in said, said
    robot.node.wait(lambda: robot.active[-1] == "", "the end")


def test_an_interrupt_just_after_sending_cancels_what_was_sent(robot, monkeypatch):
    client = Client("interrupted")
    wait = operator_client._wait

    def interrupted(future, timeout_s, what):
        monkeypatch.setattr(operator_client, "_wait", wait)
        raise KeyboardInterrupt

    try:
        assert client.wait_for_task(10.0)
        monkeypatch.setattr(operator_client, "_wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.start("pick up the red cube", 30.0)
        outcome = client.cancel()
        assert (outcome.code, outcome.message) == ("canceled", "the client canceled")
        robot.node.wait(lambda: robot.active[-1] == "", "the end")
    finally:
        client.close()


def test_a_task_node_that_is_lost_ends_in_a_stop_or_a_warning(robot, say):
    process = say("pick up the red cube")
    robot.node.wait(lambda: robot.active[-1] == "pick up the red cube", "the instruction")
    robot.task.send_signal(signal.SIGSTOP)
    try:
        code, said = ended(process)
    finally:
        robot.task.kill()  # awake again it would first answer a client that is gone
        robot.task.wait()
    assert code == 1 and "silent for 5 s" in said and "NOT STOPPED" in said, said


def test_a_task_node_that_ends_says_how_the_run_ended(robot, say):
    process = say("pick up the red cube")
    robot.node.wait(lambda: robot.active[-1] == "pick up the red cube", "the instruction")
    time.sleep(0.5)  # until it waits for the result
    robot.task.send_signal(signal.SIGTERM)
    code, said = ended(process)
    assert code == 1 and "canceled after" in said and "the task node was shut down" in said, said
    assert robot.task.wait(10) == 0


def test_an_answer_that_comes_at_once_is_not_lost(robot):
    """rclpy notes a request twice, and the second time after it was sent: an answer between is lost."""
    with Client("say") as client:
        assert client.wait_for_task(10.0)

        class Slow(dict):
            def __setitem__(self, key, value):
                time.sleep(0.3)  # rclpy is here between the two notes
                super().__setitem__(key, value)

        client._action._feedback_callbacks = Slow()
        client.start("pick up the red cube", 30.0, lambda feedback: None)
        assert client.cancel().code == "canceled"


def test_the_reason_of_a_refusal_is_said(robot, say):
    robot.status = ControlStatus(engaged=False, reason="disengaged")
    time.sleep(0.5)
    code, said = ended(say("pick up the red cube"))
    assert code == 1 and "refused" in said and "no operator has engaged" in said, said


def test_what_is_held_is_dropped_by_a_stop_by_other_words_and_by_time(robot, say):
    code, said = ended(say("--wait", "8", "pick up the red cube"))
    assert code == 1 and "dropped" in said and "the policy node is not active" in said, said
    process = say("--wait", "60", "pick up the red cube")
    assert "held for at most 60 s" in process.stdout.readline()
    words = robot.node.create_publisher(String, "instruction", qos.WORDS)
    robot.node.wait(
        lambda: words.get_subscription_count() > 1, "who hears words, with the task node"
    )
    words.publish(String(data="put it in the bowl"))
    code, said = ended(process)
    assert code == 1 and "'put it in the bowl' was said" in said, said
    words.publish(String(data=""))
    robot.node.wait(lambda: robot.active[-1] == "", "the end")
    robot.status = ControlStatus(level=3, reason="operator_stop", detail="by hand")
    code, said = ended(say("--wait", "60", "pick up the red cube"))
    assert code == 1 and "the robot is stopped: by hand" in said, said


def test_what_is_held_starts_once_the_policy_is_active(robot, say, start_node, monkeypatch):
    process = say("--wait", "100", "pick up the red cube")
    assert "held" in process.stdout.readline()
    time.sleep(1.0)
    assert robot.active[-1] == ""
    start_node("policy_node")
    robot.node.wait(lambda: robot.active[-1] == "pick up the red cube", "the instruction", 100)


def test_what_is_held_is_dropped_where_the_policy_is_refused(robot, say, start_node):
    start_node("policy_node", policy="no_such_policy")
    said, _ = say("--wait", "100", "pick up the red cube").communicate(timeout=120)
    assert "the policy node says" in said and "no_such_policy" in said, said


def test_the_first_instruction_of_a_launch_file():
    values = {name: default for name, (default, _) in ARGUMENTS.items()}
    values |= {"embodiment": "fr3", "instruction": "pick it up", "namespace": "a", "sim": "mock"}
    assert specs_of(values)[0].namespace == "/a"
    assert first_words(values)[:5] == ["say", "--wait", "120", "--namespace", "/a"]
    with pytest.raises(ValueError, match="real robot, which must not start by itself"):
        specs_of(values | {"sim": "false"})


def test_progress_is_summed_up():
    progress = Progress(0.0)
    lines = []
    for k in range(1000):  # 200 s at 5 Hz: limits act in every other message, and it holds once
        level, reason = (1, "speed") if k % 2 else (0, "")
        if k == 500:
            level, reason = 2, "stale_camera"
        told = ExecuteInstruction.Feedback(subtask="pick it up", level=level, reason=reason)
        lines.append(progress.hear(told, 0.2 * k))
    assert [line for line in lines if line] == [
        "pick it up", "pick it up (holds: stale_camera)", "pick it up",
    ]  # fmt: skip
    assert acted({"speed": 3}, {"speed": 500, "workspace": 2, "old": 0}) == (
        "speed: 497 times", "workspace: 2 times",
    )  # fmt: skip
