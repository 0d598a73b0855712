"""Each simulated robot runs one instruction to a finished goal, and its base obeys and stands."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import TwistStamped  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from vla_policy.action import ExecuteInstruction  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402

from vla_policy.embodiment import load_embodiment  # noqa: E402
from vla_policy.paths import config_dir  # noqa: E402
from vla_policy.ros import convert, qos  # noqa: E402
from vla_policy.ros.endpoints import endpoints  # noqa: E402
from vla_policy.ros.graph import command_line, node_specs  # noqa: E402
from vla_policy.ros.policy_inputs import PolicyInputs  # noqa: E402
from vla_policy.ros.warn import OnChange  # noqa: E402
from vla_policy.sim.twin import TWINS  # noqa: E402

POLICY = Path(__file__).parent / "scripted" / "scripted_policy.py"
READY_S, GOAL_S = 120.0, 180.0


class Witness(Node):
    """Hears what the robot tells and how the control node is, and asks for goals."""

    def __init__(self, robot):
        super().__init__("witness")
        self.state, self.status, self.levels, self.openings = {}, None, set(), []
        self.inputs = PolicyInputs(self, robot, OnChange(self.get_logger()), self.on_input)
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


def patient(name, folder):
    """The robot's description for a machine that does other things as well: inputs may be older."""
    text = (config_dir() / "embodiments" / f"{name}.yaml").read_text()
    text = re.sub(r"(max_age_s|camera_max_skew_s): [0-9.]+", r"\1: 1.5", text)
    text = re.sub(r"max_chunk_age_s: [0-9.]+", "max_chunk_age_s: 3.0", text)
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return file


def spin(executor):
    try:
        executor.spin()
    except ExternalShutdownException:
        return


def wait(condition, what, timeout_s=READY_S):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.02)


def waited(future, timeout_s):
    wait(future.done, "an answer of the task node", timeout_s)
    return future.result()


@pytest.fixture(params=sorted(TWINS))
def running(request, ros, tmp_path):
    """(robot, witness) of the sim, control and task nodes and a scripted policy, in processes."""
    file = patient(request.param, tmp_path)
    robot = load_embodiment(file)
    specs = [s for s in node_specs(str(file), sim=True, web_port=None) if s.name != "policy"]
    lines = [command_line(spec) for spec in specs]
    clock = ["--ros-args", "-p", "use_sim_time:=true"]
    lines.append([sys.executable, str(POLICY), str(file), *clock])
    log = (tmp_path / "nodes.log").open("w")
    processes = [subprocess.Popen(line, stdout=log, stderr=log, cwd="/") for line in lines]
    witness = Witness(robot)
    executor = SingleThreadedExecutor()
    executor.add_node(witness)
    thread = threading.Thread(target=spin, args=(executor,))
    thread.start()
    try:
        yield robot, witness
    finally:
        executor.shutdown(timeout_sec=2.0)
        thread.join(timeout=5.0)
        witness.destroy_node()
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
        sys.stdout.write((tmp_path / "nodes.log").read_text())


def goal_result(witness):
    """Of one instruction; asked again while the task node has not heard of the engagement yet."""
    goal = ExecuteInstruction.Goal(
        instruction="move a little", timeout=Duration(seconds=30).to_msg()
    )
    end_s = time.monotonic() + READY_S
    while True:
        handle = waited(witness.goals.send_goal_async(goal), READY_S)
        result = waited(handle.get_result_async(), GOAL_S).result
        if "has engaged the robot" not in result.message or time.monotonic() > end_s:
            return result
        time.sleep(0.2)


def test_one_instruction_to_a_finished_goal(running, running_ends):
    robot, witness = running
    wait(lambda: witness.status is not None and witness.status.engaged, "engaged")
    wait(lambda: set(robot.state_names) <= set(witness.state), "the whole state")
    told = {
        (end.does, f"/{end.name.lstrip('/')}", end.type)
        for end in endpoints(node_specs(robot.name, sim=True, web_port=None), robot)
        if end.node == "sim"
    }
    found = {end for end in running_ends(witness, "sim") if "parameters" not in end[1]}
    assert found == told
    assert witness.goals.wait_for_server(READY_S)
    before = dict(witness.state)
    result = goal_result(witness)
    assert result.outcome == ExecuteInstruction.Result.DONE, result.message
    after = dict(witness.state)
    assert ControlStatus.LEVEL_STOP not in witness.levels
    for tool in robot.poses:
        assert after[f"{tool}.y"] - before[f"{tool}.y"] > 0.03, (before, after)
    assert min(witness.openings) < 0.3 and max(witness.openings) > 0.7
    assert np.isfinite(list(after.values())).all()


class Driver(Node):
    """Sends twists and sees what the camera on the mast sees."""

    def __init__(self):
        super().__init__("driver")
        self.images, self.now = [], None
        self.twists = self.create_publisher(TwistStamped, "cmd_vel", qos.COMMAND)
        self.create_subscription(Image, "front/image_raw", self.images.append, qos.SENSOR)
        self.create_subscription(Clock, "/clock", self.on_clock, qos.SENSOR)

    def on_clock(self, msg):
        self.now = msg.clock

    def drive(self, wz):
        msg = TwistStamped(header=Header(stamp=self.now, frame_id="base_footprint"))
        msg.twist.angular.z = wz
        self.twists.publish(msg)

    def next_image(self):
        """The next one that comes, int[h, w, 3]."""
        count = len(self.images)
        wait(lambda: len(self.images) > count, "an image")
        return convert.image_from_msg(self.images[-1], "front").astype(int)

    def since(self, stamp_ns):
        """Simulated seconds."""
        return (convert.ns_from_stamp(self.now) - stamp_ns) / 1e9


@pytest.fixture
def driver(ros, start_node):
    start_node("sim_node", embodiment="vx300s_mobile", seed=3)
    node = Driver()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=spin, args=(executor,))
    thread.start()
    wait(lambda: node.images and node.now, "the simulation")
    wait(lambda: node.twists.get_subscription_count(), "who takes twists")
    yield node
    executor.shutdown(timeout_sec=2.0)
    thread.join(timeout=5.0)
    node.destroy_node()


def test_the_base_follows_a_twist_and_stands_when_it_hears_nothing(driver):
    before = driver.next_image()
    assert np.abs(driver.next_image() - before).mean() < 0.5  # it stands, and so does the picture
    driver.drive(float("nan"))
    begun_ns = convert.ns_from_stamp(driver.now)
    while driver.since(begun_ns) < 0.6:
        driver.drive(0.5)
        time.sleep(0.02)
    turned = driver.next_image()
    assert np.abs(turned - before).mean() > 2.0
    silent_ns = convert.ns_from_stamp(driver.now)
    wait(lambda: driver.since(silent_ns) > 1.2, "the watchdog")
    stood = driver.next_image()
    later_ns = convert.ns_from_stamp(driver.now)
    wait(lambda: driver.since(later_ns) > 0.5, "a while")
    assert np.abs(driver.next_image() - stood).mean() < 0.5
