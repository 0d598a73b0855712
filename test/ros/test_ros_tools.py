"""What people type: `ros2 launch`, `topic`, `node`, `lifecycle`, `action`, `param`, `service` on real processes.

Every robot's launch file runs on its mock with a scripted model in the policy node. A ROS installation
(Jazzy, Kilted) has these tools; the wheels have not.
"""

import fcntl
import importlib.util
import os
import pty
import re
import shutil
import signal
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest

from vla_policy.embodiment import embodiment_names, load_embodiment
from vla_policy.ros.bringup.endpoints import (
    CALLS,
    HEARS,
    PUBLISHES,
    SERVES,
    command_topics,
    endpoints,
)
from vla_policy.ros.bringup.graph import node_specs
from vla_policy.ros.bringup.launch import ARGUMENTS

LACKING = [n for n in ("launch", "launch_ros", "ros2cli") if importlib.util.find_spec(n) is None]
pytestmark = pytest.mark.skipif(
    bool(LACKING) or shutil.which("ros2") is None,
    reason="no ros2 command here: a sourced ROS installation (Jazzy, Kilted) runs this",
)
SCRIPTED = Path(__file__).parent / "scripted"
READY_S, TOOL_S, END_S = 90.0, 60.0, 30.0
INSTRUCTION = "move a little"
# Headings of `ros2 node info`.
SECTIONS = {
    "Subscribers:": HEARS,
    "Publishers:": PUBLISHES,
    "Service Servers:": SERVES,
    "Service Clients:": CALLS,
    "Action Servers:": SERVES,
    "Action Clients:": CALLS,
}


class Launch:
    """A `ros2 launch` at a terminal of its own, and what it prints."""

    def __init__(self, line, env):
        self._terminal, other = pty.openpty()

        def take_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            line, stdin=other, stdout=other, stderr=other, cwd="/", env=env,
            start_new_session=True, preexec_fn=take_terminal,
        )  # fmt: skip
        os.close(other)
        self._printed = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def printed(self):
        return re.sub(r"\x1b\[\d*m", "", self._printed.decode(errors="replace"))

    def wait_for(self, words, timeout_s=READY_S):
        end_s = time.monotonic() + timeout_s
        while words not in self.printed:
            assert self.process.poll() is None and time.monotonic() < end_s, self.printed[-4000:]
            time.sleep(0.1)

    def nodes(self):
        """Process ids that it has started."""
        return [int(n) for n in re.findall(r"process started with pid \[(\d+)\]", self.printed)]

    def ctrl_c(self):
        """As a person at the terminal does; the exit code."""
        os.write(self._terminal, b"\x03")
        return self.end()

    def end(self):
        try:
            code = self.process.wait(END_S)
        finally:
            self.kill()
        self._reader.join(2.0)
        return code

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _read(self):
        try:
            while data := os.read(self._terminal, 65536):
                self._printed += data
        except OSError:  # all that wrote there have ended
            return


@pytest.fixture(scope="module")
def environment(interfaces, tmp_path_factory):
    """Of the tools and nodes: the scripted model, message packages, logs apart; ends the tools' daemon."""
    env = dict(interfaces)
    env["PYTHONPATH"] = f"{SCRIPTED}{os.pathsep}{env.get('PYTHONPATH', '')}"
    env["ROS_LOG_DIR"] = str(tmp_path_factory.mktemp("ros_log"))
    yield env
    subprocess.run(["ros2", "daemon", "stop"], env=env, capture_output=True, timeout=TOOL_S)


@pytest.fixture(scope="module")
def ros2(environment):
    """ros2(word, ...) -> what the tool prints; it must end with exit code 0."""

    def run(*words):
        ended = subprocess.run(
            ["ros2", *words], env=environment, cwd="/", capture_output=True, text=True, timeout=TOOL_S
        )  # fmt: skip
        assert ended.returncode == 0, (words, ended.stdout, ended.stderr)
        assert "Traceback" not in ended.stderr
        return ended.stdout

    return run


@pytest.fixture
def launched(environment):
    """launched(file, "name:=value", ..., options=()) -> Launch; ended after the test."""
    running = []

    def start(file, *arguments, options=()):
        line = ["ros2", "launch", *options, "vla_policy", file, *arguments]
        running.append(Launch(line, environment))
        return running[-1]

    yield start
    for launch in running:
        launch.kill()


def mock_of(launched, name, *arguments):
    """The launch of a robot's mock, engaged and with its policy."""
    launch = launched(f"{name}.launch.py", "sim:=mock", "web_port:=0", *arguments)
    launch.wait_for("[control]: engaged by itself")
    launch.wait_for("[policy]: policy tiny")
    return launch


def check_clean_end(launch, code):
    """No process is left, none died, and nothing was traced back."""
    assert code == 0, launch.printed[-4000:]
    assert launch.printed.count("process has finished cleanly") == len(launch.nodes())
    assert "Traceback" not in launch.printed and "process has died" not in launch.printed
    assert not [pid for pid in launch.nodes() if Path(f"/proc/{pid}").exists()]


def goal(ros2, name="/execute_instruction"):
    """What `ros2 action` prints of one instruction."""
    kind = "vla_policy/action/ExecuteInstruction"
    text = f"{{instruction: {INSTRUCTION}}}"
    return ros2("action", "send_goal", "--feedback", name, kind, text)


@pytest.mark.parametrize("name", ["demo", *embodiment_names()])
def test_show_args_explains_every_argument(ros2, name):
    told = " ".join(ros2("launch", "vla_policy", f"{name}.launch.py", "--show-args").split())
    for argument, (_, text) in ARGUMENTS.items():
        assert f"'{argument}': {text} (default:" in told


@pytest.mark.parametrize("name", embodiment_names())
def test_every_launch_file_does_an_instruction_on_its_mock(launched, ros2, name):
    launch = mock_of(launched, name)
    for node in ("policy", "control", "task"):
        assert ros2("lifecycle", "get", f"/{node}").startswith("active")
    told = goal(ros2)
    assert "Feedback:" in told and f"subtask: {INSTRUCTION}" in told
    assert "outcome: 0" in told and "SUCCEEDED" in told
    check_clean_end(launch, launch.ctrl_c())


def test_tools_see_and_command_a_running_robot(launched, ros2, environment):
    launch = mock_of(launched, "fr3")
    robot, specs = load_embodiment("fr3"), node_specs("fr3", mock=True, web_port=None)
    ends = endpoints(specs, robot)
    topics = ros2("topic", "list", "-t")
    for end in ends:
        if end.does in (PUBLISHES, HEARS):
            assert f"/{end.name} [{end.type}]" in topics
    for node in ("policy", "control", "task", "mock"):
        told = {(e.does, f"/{e.name}", e.type) for e in ends if e.node == node}
        assert told <= node_info(ros2("node", "info", f"/{node}"))
    arm = robot.outputs["arm"].topic
    assert "Publisher count: 1\n" in ros2("topic", "info", "-v", f"/{arm}")
    # Words on the plain topic, and what they make the arm do.
    with subprocess.Popen(
        ["ros2", "topic", "echo", "--once", f"/{arm}"], env=environment, cwd="/", stdout=subprocess.PIPE, text=True
    ) as echo:  # fmt: skip
        ros2(
            "topic",
            "pub",
            "--once",
            "-w",
            "1",
            "/instruction",
            "std_msgs/msg/String",
            f"data: {INSTRUCTION}",
        )
        assert "positions:" in echo.communicate(timeout=TOOL_S)[0]
    launch.wait_for(
        f"DONE: the policy reports the instruction complete; nothing has verified it ('{INSTRUCTION}')"
    )
    told = ros2("param", "describe", "/control", "scheme", "shadow")
    assert "one of open_loop" in told and "Description: commands go to topics below" in told
    call = ("service", "call")
    stop, reset = (
        (*call, f"/control/{n}", "std_srvs/srv/Trigger", "{}") for n in ("stop", "reset")
    )
    engage = (*call, "/control/engage", "std_srvs/srv/SetBool", "{data: true}")
    assert "success=True" in ros2(*stop)
    refused = ros2(*engage)
    assert "success=False" in refused and "reset first" in refused
    assert "success=True" in ros2(*reset)
    assert "success=True" in ros2(*engage)
    for node in ("policy", "control", "task"):
        for word, state in (("deactivate", "inactive"), ("activate", "active")):
            assert "successful" in ros2("lifecycle", "set", f"/{node}", word)
            assert ros2("lifecycle", "get", f"/{node}").startswith(state)
    check_clean_end(launch, launch.ctrl_c())


def test_namespace_remap_and_shadow(launched, ros2):
    launch = launched(
        "fr3.launch.py", "sim:=mock", "web_port:=0", "namespace:=/left", "shadow:=true",
        "remap:=joint_states:=js,side_camera/color/image_raw:=/eyes/image_raw",
        options=["--noninteractive"],
    )  # fmt: skip
    launch.wait_for("engaged by itself")
    launch.wait_for("policy tiny")
    assert "SUCCEEDED" in goal(ros2, "/left/execute_instruction")
    topics = ros2("topic", "list").split()
    assert {"/left/js", "/eyes/image_raw", "/left/action_chunk"} <= set(topics)
    assert "/left/joint_states" not in topics and "/joint_states" not in topics
    robot = load_embodiment("fr3")
    for topic, _ in command_topics(robot, shadow=True):
        assert "Publisher count: 1\n" in ros2("topic", "info", f"/left/{topic}")
    arm = robot.outputs["arm"].topic
    assert "Publisher count: 0\n" in ros2("topic", "info", f"/left/{arm}")
    assert "Action clients: 0\n" in ros2("action", "info", f"/left/{robot.outputs['hand'].topic}")
    launch.process.send_signal(signal.SIGINT)  # to it alone, as a service manager does
    check_clean_end(launch, launch.end())


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("sim:=yes", "sim: got 'yes', expected one of false, true, mock"),
        ("shadow:=maybe", "launch argument shadow: got 'maybe', expected true or false"),
        ("remap:=joint_states", "launch argument remap: got 'joint_states', expected old:=new"),
        ("web_port:=x", "launch argument web_port: got 'x', expected a whole number"),
        ("planner:=nonsense", "planner: got 'nonsense', expected none, model"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_starts(launched, argument, words):
    launch = launched("fr3.launch.py", argument)
    assert launch.end() != 0
    assert words in launch.printed and not launch.nodes()


def node_info(text):
    """`ros2 node info` as a set of (does, name, type)."""
    found, does = set(), None
    for line in text.splitlines():
        does = SECTIONS.get(line.strip(), does)
        name, sign, kind = line.strip().partition(": ")
        if sign and does is not None:
            found.add((does, name, kind))
    return found
