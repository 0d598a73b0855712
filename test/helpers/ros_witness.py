"""A node beside a running graph that records its topics and sends goals, for system tests."""

import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vla_policy.action import ExecuteInstruction
from vla_policy.msg import ControlStatus

from vla_policy.paths import config_dir
from vla_policy.ros.inputs.policy_inputs import PolicyInputs
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.spinning import spin

SCRIPTED_POLICY = Path(__file__).parents[1] / "ros" / "scripted" / "scripted_policy.py"
READY_S, GOAL_S = 120.0, 180.0


class Witness(Node):
    """Records the robot's reports and the control node's status, and sends goals."""

    def __init__(self, robot):
        super().__init__("witness")
        self.state, self.status, self.levels, self.openings = {}, None, set(), []
        self.inputs = PolicyInputs(self, robot, ChangeLogger(self.get_logger()), self.on_input)
        self.create_subscription(ControlStatus, "control_status", self.on_status, qos.LATCHED)
        self.goals = ActionClient(self, ExecuteInstruction, "execute_instruction")

    def on_input(self, stream, stamp_ns, value):
        for source in self.inputs.states:
            if source.stream is stream:
                values = dict(zip(source.names, value, strict=True))
                self.state = self.state | values
                self.openings += [v for n, v in values.items() if n.endswith("gripper")]

    def on_status(self, msg):
        self.status = msg
        self.levels.add(msg.level)

    def goal_result(self):
        """The result of an instruction; sent again until the task node knows control as engaged.

        A rejected goal has no result: its client would get an empty one, which reads as success.
        """
        goal = ExecuteInstruction.Goal(
            instruction="move a little", timeout=Duration(seconds=30).to_msg()
        )
        end_s = time.monotonic() + READY_S
        while True:
            handle = waited(self.goals.send_goal_async(goal), READY_S)
            if handle.accepted:
                return waited(handle.get_result_async(), GOAL_S).result
            assert time.monotonic() < end_s, "no goal was accepted"
            time.sleep(0.2)


def patient(name, folder):
    """The robot's description for a loaded machine: inputs may be older."""
    text = (config_dir() / "embodiments" / f"{name}.yaml").read_text()
    text = re.sub(r"(max_age_s|camera_max_skew_s): [0-9.]+", r"\1: 1.5", text)
    text = re.sub(r"max_chunk_age_s: [0-9.]+", "max_chunk_age_s: 3.0", text)
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return file


@contextmanager
def spinning(node):
    """The node's callbacks run in a thread; it is destroyed at the end."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=spin, args=(executor,))
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown(timeout_sec=2.0)
        thread.join(timeout=5.0)
        node.destroy_node()


@contextmanager
def processes(lines, log, env=None):
    """Runs the command lines as processes and ends them; prints their output."""
    with log.open("w") as said:
        started = [
            subprocess.Popen(line, stdout=said, stderr=said, cwd="/", env=env) for line in lines
        ]
        try:
            yield
        finally:
            for process in started:
                process.terminate()
            for process in started:
                try:
                    process.wait(10.0)
                except subprocess.TimeoutExpired:
                    process.kill()
            sys.stdout.write(log.read_text())


def wait(condition, what, timeout_s=READY_S):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.02)


def waited(future, timeout_s):
    wait(future.done, "an answer of the task node", timeout_s)
    return future.result()
