"""Each simulated robot runs one instruction to a finished goal, and its base obeys and stands."""

import sys
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import TwistStamped  # noqa: E402
from rclpy.node import Node  # noqa: E402
from ros_process import participant  # noqa: E402
from ros_witness import (  # noqa: E402
    READY_S,
    SCRIPTED_POLICY,
    Witness,
    patient,
    processes,
    spinning,
    wait,
)
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from vla_policy.action import ExecuteInstruction  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402

from vla_policy.embodiment import load_embodiment  # noqa: E402
from vla_policy.ros.bringup.endpoints import endpoints  # noqa: E402
from vla_policy.ros.bringup.graph import command_line, node_specs  # noqa: E402
from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.sim.twin import TWINS  # noqa: E402


@pytest.fixture
def ros():
    """Each robot's nodes have the same names."""
    with participant():
        yield


@pytest.fixture(params=sorted(TWINS))
def running(request, ros, tmp_path):
    """(robot, witness) of the sim, control and task nodes and a scripted policy, in processes."""
    file = patient(request.param, tmp_path)
    robot = load_embodiment(file)
    specs = [s for s in node_specs(str(file), sim=True, web_port=None) if s.name != "policy"]
    lines = [command_line(spec) for spec in specs]
    clock = ["--ros-args", "-p", "use_sim_time:=true"]
    lines.append([sys.executable, str(SCRIPTED_POLICY), str(file), *clock])
    with processes(lines, tmp_path / "nodes.log"), spinning(Witness(robot)) as witness:
        yield robot, witness


def test_one_instruction_to_a_finished_goal(running, running_ends):
    robot, witness = running
    wait(lambda: witness.status is not None and witness.status.engaged, "engaged")
    wait(lambda: set(robot.state_names) <= set(witness.state), "the whole state")
    told = {
        (end.does, f"/{end.name.lstrip('/')}", end.type)
        for end in endpoints(node_specs(robot.name, sim=True, web_port=None), robot)
        if end.node == "sim"
    }

    def found():
        return {end for end in running_ends(witness, "sim") if "parameters" not in end[1]}

    wait(lambda: found() == told, f"what sim does as the data says, {sorted(told)}")
    assert witness.goals.wait_for_server(READY_S)
    before = dict(witness.state)
    result = witness.goal_result()
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
    with spinning(Driver()) as node:
        wait(lambda: node.images and node.now, "the simulation")
        wait(lambda: node.twists.get_subscription_count(), "who takes twists")
        yield node


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
